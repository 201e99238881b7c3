"""Another voice with the same words and timing: time-scale modification and resampling of the waveform.

WSOLA (Verhelst and Roelands 1993; Driedger and Mueller 2016), which C-DSVAE names for its motion views, stretches the
waveform by a factor without changing its pitch; resampling it back to its length multiplies pitch and formants by
that factor. Frame t of the copy is frame t of the original. Factors are ratios of small numbers, so that waveforms
with one factor are stretched and resampled together: the loop is over synthesis frames, not over utterances.

Shape legend: B waveforms, S samples, N frame length.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FRAME_SECONDS = 0.040  # overlapping by half
TOLERANCE_SECONDS = 0.010  # a period of the deepest voices
"""The natural continuation is always the best match, so frames are taken from the edge of the search range until it
forces a jump: with the usual 32 ms the copies would lead or lag by three feature frames, with 10 ms by less than one.
The range is moved by `LEAN` of its half width against that, which leaves a fraction of a frame."""
LEAN = 0.6
FACTORS = tuple(Fraction(*pair) for pair in ((12, 11), (10, 9), (8, 7), (7, 6), (6, 5), (5, 4), (13, 10), (4, 3)))
"""Between 1.08 and 1.35; the inverses are used as often. Factors near one would change nothing."""


def draw_factors(n: int, rng: np.random.Generator) -> list[Fraction]:
    """A factor for each of n utterances: up or down with equal chance."""
    every = [*FACTORS, *(1 / factor for factor in FACTORS)]
    return [every[i] for i in rng.integers(0, len(every), n)]


def shift_voices(waveforms: list[NDArray[np.float32]], factors: list[Fraction], rate: int) -> list[NDArray[np.float32]]:
    """Waveforms with pitch and formants multiplied by their factors, each of its old length.

    Args:
        waveforms: each (S,).
        factors: one each.
        rate: in Hz.
    """
    from scipy.signal import resample_poly

    shifted: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(waveforms)
    for factor in set(factors):
        chosen = [i for i, own in enumerate(factors) if own == factor]
        lengths = [len(waveforms[i]) for i in chosen]
        batch = torch.zeros(len(chosen), max(lengths))
        for row, i in enumerate(chosen):
            batch[row, : lengths[row]] = torch.from_numpy(waveforms[i])
        stretched = stretch(
            batch, float(factor), frame=round(FRAME_SECONDS * rate) // 2 * 2, tolerance=round(TOLERANCE_SECONDS * rate)
        )
        squeezed = resample_poly(stretched.numpy(), factor.denominator, factor.numerator, axis=1).astype(np.float32)
        for row, i in enumerate(chosen):
            shifted[i] = squeezed[row, : lengths[row]]
    return shifted


def stretch(x: Tensor, factor: float, *, frame: int, tolerance: int) -> Tensor:
    """Waveforms (B, S) made `factor` times as long, pitch kept: (B, ceil(factor * S)) and a little more.

    Frames of `frame` samples are laid half over one another. Each is taken from within `tolerance` samples of where
    the time scale puts it: at the place that is most like the natural continuation of the frame before (largest
    normalised cross-correlation).
    """
    n_clips, n_samples = x.shape
    hop = frame // 2
    n_steps = int(np.ceil(factor * n_samples / hop)) + 1
    window = torch.hann_window(frame, periodic=True)
    # Before and behind there must be room for every search.
    padded = torch.nn.functional.pad(x, (frame, 2 * frame + 2 * tolerance + int(hop / factor) + 2))
    n_fft = 1 << int(np.ceil(np.log2(frame + 2 * tolerance + frame)))
    squares = torch.nn.functional.pad(padded.square().cumsum(1), (1, 0))
    taps = torch.arange(frame)
    lags = torch.arange(2 * tolerance + 1)
    out = torch.zeros(n_clips, (n_steps + 1) * hop)
    place = torch.full((n_clips,), frame + round(hop / factor) - hop)  # middle on middle
    last = padded.shape[1] - frame - hop
    lean = round(math.copysign(LEAN * tolerance, factor - 1))
    for step in range(n_steps):
        if step:
            goal = min(frame + round((step * hop + hop) / factor) - hop - lean, last - tolerance)
            natural = padded.gather(1, (place + hop)[:, None] + taps)
            region = padded[:, goal - tolerance : goal + tolerance + frame]
            spectrum = torch.fft.rfft(region, n_fft) * torch.fft.rfft(natural, n_fft).conj()
            likeness = torch.fft.irfft(spectrum, n_fft)[:, : 2 * tolerance + 1]
            energy = squares[:, goal - tolerance + lags + frame] - squares[:, goal - tolerance + lags]
            place = goal - tolerance + (likeness / (energy.clamp(min=0) + 1e-6).sqrt()).argmax(1)
        out[:, step * hop : step * hop + frame] += window * padded.gather(1, place[:, None] + taps)
    out[:, :hop] /= window[:hop].clamp(min=0.05)  # nothing is laid over the first half frame
    return out
