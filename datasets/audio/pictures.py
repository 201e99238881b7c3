"""Pictures of audio features: spectrograms, and a sheet of whole utterances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqdis.datasets.audio.features import HOP_SECONDS
from seqdis.datasets.audio.segments import SegmentSplit

_COLOURS = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], np.float64)


def spectrogram(features: NDArray[Any], *, low: float, high: float, zoom: int = 2) -> NDArray[np.uint8]:
    """A picture (zoom * F, zoom * n, 3) of features (n, F): time to the right, frequency upwards, dark to light."""
    level = np.clip((np.asarray(features, np.float64).T[::-1] - low) / max(high - low, 1e-9), 0, 1)
    place = level * (len(_COLOURS) - 1)
    below = np.minimum(place.astype(int), len(_COLOURS) - 2)
    part = (place - below)[..., None]
    colour = _COLOURS[below] * (1 - part) + _COLOURS[below + 1] * part
    return np.rint(colour).astype(np.uint8).repeat(zoom, 0).repeat(zoom, 1)


def utterances(split: SegmentSplit, *, n_rows: int = 6, seconds: float = 2.4, zoom: int = 2) -> NDArray[np.uint8]:
    """A sheet (H, W, 3) of whole utterances, one speaker a row, two utterances side by side."""
    speakers = split.speaker_of.cpu().numpy()
    chosen = [np.flatnonzero(speakers == speaker)[:2] for speaker in np.unique(speakers)[:n_rows]]
    width = min(round(seconds / HOP_SECONDS), max(int(split.lengths[number]) for pair in chosen for number in pair))
    rows = []
    for pair in chosen:
        cells = []
        for utterance in pair:
            shown = split.utterance(int(utterance))[:width].float().cpu().numpy()
            picture = spectrogram(shown, low=-2.5, high=2.5, zoom=zoom)
            blank = np.full((picture.shape[0], width * zoom, 3), 255, np.uint8)
            blank[:, : picture.shape[1]] = picture
            cells.append(np.pad(blank, ((0, 6), (0, 6), (0, 0)), constant_values=255))
        while len(cells) < 2:
            cells.append(np.full_like(cells[0], 255))
        rows.append(np.concatenate(cells, 1))
    return np.concatenate(rows)
