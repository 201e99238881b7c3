"""Contact sheets: a few clips of each class of a factor; spectrograms of whole utterances for speech."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray

from seqdis.datasets.audio.pictures import utterances
from seqdis.datasets.audio.segments import SegmentSplit
from seqdis.datasets.base import Factor, Spec, Split

GAP = 2
MAX_ROWS = 24


def contact_sheet(split: Split, spec: Spec, *, columns: int = 2, seed: int = 0) -> bytes:
    """A PNG: up to 24 rows of `columns` clips, one row for each class of the factor that the headline scores.

    Speech shows whole utterances instead of clips, two of each of six speakers: a clip of 0.2 s tells nothing.
    """
    if isinstance(split, SegmentSplit):
        return _png(utterances(split))
    factor = spec.factor(spec.headline[1]) if spec.headline[1] in split.labels else spec.factors[-1]
    index = choose(split, factor, columns, seed)
    clips = split.clips(index).float()
    pictures = _film_strips(clips) if spec.modality == "video" else _spectrograms(clips)
    rows = [_joined(pictures[start : start + columns], axis=1) for start in range(0, len(pictures), columns)]
    return _png(_joined(rows, axis=0))


def choose(split: Split, factor: Factor, columns: int, seed: int) -> torch.Tensor:
    """Clips to show, row by row: `columns` of each class in label order, as many classes as fit."""
    generator = torch.Generator().manual_seed(seed)
    labels = split.labels[factor.name].cpu()
    chosen = []
    for value in labels.unique().tolist()[:MAX_ROWS]:
        members = (labels == value).nonzero()[:, 0]
        chosen.append(members[torch.randint(len(members), (columns,), generator=generator)])
    return torch.cat(chosen)


def _film_strips(clips: torch.Tensor) -> list[NDArray[np.uint8]]:
    """Each clip (T, C, H, W) as its frames side by side, (H, T * W, 3); small frames are doubled."""
    frames = (clips * 256).clamp(0, 255).byte().numpy()
    if frames.shape[3] < 64:
        frames = frames.repeat(64 // frames.shape[3], axis=3).repeat(64 // frames.shape[4], axis=4)
    frames = np.broadcast_to(frames, (*frames.shape[:2], 3, *frames.shape[3:]))
    return [np.concatenate(list(clip.transpose(0, 2, 3, 1)), axis=1) for clip in frames]


def _spectrograms(clips: torch.Tensor) -> list[NDArray[np.uint8]]:
    """Each clip (T, F) as a picture with time to the right and frequency upwards, on a common scale."""
    import matplotlib

    low, high = torch.quantile(clips.flatten()[:100_000], torch.tensor([0.01, 0.99])).tolist()
    scaled = ((clips - low) / max(high - low, 1e-6)).clamp(0, 1).numpy()
    colours = matplotlib.colormaps["magma"](scaled.transpose(0, 2, 1)[:, ::-1])[..., :3]
    pictures = (colours * 255).astype(np.uint8)
    return list(pictures.repeat(2, axis=1).repeat(6, axis=2))


def _joined(pictures: list[NDArray[np.uint8]], *, axis: int) -> NDArray[np.uint8]:
    shape = list(pictures[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, 90, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=axis)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
