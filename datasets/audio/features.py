"""Audio features: log-mel and log-spectrum frames of waveforms.

Frames are 25 ms long and 10 ms apart, so a 20-frame segment spans 200 ms (as TIMIT is used since FHVAE). No frame
is padded: a waveform of n samples has 1 + (n - window) // hop frames.

Shape legend: S samples, n frames, W window, F features.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqdis.bench.core.errors import UserError
from seqdis.datasets.audio.files import Waveform

FeatureName = Literal["mel80", "spec200"]

WINDOW_SECONDS = 0.025
HOP_SECONDS = 0.010
PRE_EMPHASIS = 0.97
FLOOR = -20.0  # of the natural logarithm
N_MELS = 80
LOUD_RANGE = (0.05, 0.95)
CHUNK = 512  # frames that are transformed together: what fits in a core's cache


@dataclasses.dataclass(frozen=True)
class Features:
    """How frames become features.

    Attributes:
        name: `mel80`, 80 log-mel bands of the magnitude, or `spec200`, the log magnitude without the DC bin (16 kHz).
        rate: of the waveforms, in Hz.
    """

    name: FeatureName = "mel80"
    rate: int = 16_000

    def __post_init__(self) -> None:
        if self.name not in ("mel80", "spec200"):
            raise UserError(f"unknown audio features {self.name!r}; they are mel80 or spec200.")
        if self.name == "spec200" and self.rate != 16_000:
            raise UserError(f"spec200 needs audio of 16000 Hz, not {self.rate} Hz; use mel80.")

    @property
    def window(self) -> int:
        return round(WINDOW_SECONDS * self.rate)

    @property
    def hop(self) -> int:
        return round(HOP_SECONDS * self.rate)

    @property
    def n_fft(self) -> int:
        """For mel80 at least twice the window: with fewer points the lowest bands would hold no bin at all."""
        return self.window if self.name == "spec200" else 1 << math.ceil(math.log2(2 * self.window))

    @property
    def size(self) -> int:
        """F."""
        return self.window // 2 if self.name == "spec200" else N_MELS

    def n_frames(self, n_samples: int) -> int:
        """Frames of a waveform; 0 if it is shorter than one window."""
        return max(0, 1 + (n_samples - self.window) // self.hop)


def log_features(waveforms: list[Waveform], features: Features) -> tuple[Tensor, Tensor]:
    """Features of all frames of some waveforms, one after another.

    Pre-emphasis 0.97, Hamming window, magnitude, (mel bands with unit peak,) natural logarithm floored at -20.

    Args:
        waveforms: each (S,) float32, together no more than fits in memory as overlapping frames.

    Returns:
        Features (n, F) float32, and the frames' log mean squares (n,) before the pre-emphasis.
    """
    samples = np.concatenate(waveforms)
    lengths = np.array([len(waveform) for waveform in waveforms])
    begins = np.cumsum(lengths) - lengths
    emphasised = np.empty_like(samples)
    np.multiply(samples[:-1], -PRE_EMPHASIS, out=emphasised[1:])
    emphasised[1:] += samples[1:]
    emphasised[begins] = samples[begins]
    counts = [features.n_frames(length) for length in lengths]
    starts = np.concatenate(
        [begin + features.hop * np.arange(n, dtype=np.int64) for begin, n in zip(begins, counts, strict=True)]
    )
    squares = np.append(0.0, np.cumsum(np.square(samples, dtype=np.float64)))
    energy = torch.from_numpy((squares[starts + features.window] - squares[starts]) / features.window).float()
    windows = np.lib.stride_tricks.sliding_window_view(emphasised, features.window)
    values = torch.empty(len(starts), features.size)
    for at in range(0, len(starts), CHUNK):
        frames = torch.from_numpy(windows[starts[at : at + CHUNK]]) * _hamming(features.window)
        # numpy's magnitude of complex numbers is ten times as fast as torch's.
        spectrum = torch.from_numpy(np.abs(torch.fft.rfft(frames, n=features.n_fft).numpy()))
        values[at : at + CHUNK] = spectrum[:, 1:] if features.name == "spec200" else spectrum @ mel_filters(features)
    floor = math.exp(FLOOR)
    return values.clamp_(min=floor).log_(), energy.clamp_(min=floor).log_()


@functools.cache
def _hamming(window: int) -> Tensor:
    return torch.hamming_window(window, periodic=False)


@functools.cache
def mel_filters(features: Features) -> Tensor:
    """(n_fft / 2 + 1, 80) triangles with peak 1, evenly spaced in mel = 2595 log10(1 + f / 700) from 0 to rate / 2."""
    top = 2595 * math.log10(1 + features.rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, N_MELS + 2) / 2595) - 1)
    frequency = np.arange(features.n_fft // 2 + 1)[:, None] * features.rate / features.n_fft
    rise = (frequency - corners[:-2]) / (corners[1:-1] - corners[:-2])
    fall = (corners[2:] - frequency) / (corners[2:] - corners[1:-1])
    return torch.from_numpy(np.clip(np.minimum(rise, fall), 0, None).astype(np.float32))


def loud_frames(energy: NDArray[Any]) -> NDArray[np.uint8]:
    """Which frames (n,) of one utterance are loud: log energy above the middle between its 5 and 95 % quantiles."""
    if not len(energy):
        return np.zeros(0, np.uint8)
    low, high = np.quantile(energy, LOUD_RANGE)
    return (energy > (low + high) / 2).astype(np.uint8)
