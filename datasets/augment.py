"""Augmentations for contrastive methods: batched, on the clips' device, drawn once a clip and anew at each call.

A content view keeps what stays (frames shuffled or reversed), a motion view keeps what moves (crop, colour, blur; for
speech a vocal-tract warp and a spectral tilt): Bai, Wang and Gomes (2021), section 2.3, with the parameters of
SimCLR-like colour distortion. Crop and blur are two small matrices a clip, one an axis; brightness, contrast,
saturation, hue and greyscale are one affine map of the three channels. So a view costs three matrix products and one
clamp, with no loop over clips and no transfer to the host.

Shape legend: B batch, T frames, C, H, W image, F features.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import torch
from torch import Tensor

from seqdis.datasets.base import AugmentPolicy

CROP_AREA = (0.8, 1.0)
JITTER = 0.8
HUE = 0.2
P_COLOUR, P_GREY, P_BLUR = 0.8, 0.2, 0.5
SIGMA = (0.1, 2.0)
WARP = (0.85, 1.18)
WARP_KNEE = 0.8
TILT_DB = 6.0
LUMA = (0.299, 0.587, 0.114)
# Columns of the uniform draws of a clip.
_AREA, _TOP, _LEFT, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _COLOUR, _GREY, _BLUR, _SIGMA, _N = range(12)


def content_view(
    batch_size: int, n_frames: int, generator: torch.Generator, mode: Literal["shuffle", "reverse"] = "shuffle"
) -> Tensor:
    """A frame order for each clip, (B, T) int64 on the generator's device: a random permutation, or time reversed.

    `clip[order]` is the content view. A permutation may be the identity (1 in T!), which does no harm.
    """
    if mode == "shuffle":
        return torch.rand(batch_size, n_frames, generator=generator, device=generator.device).argsort(dim=1)
    if mode == "reverse":
        return torch.arange(n_frames - 1, -1, -1, device=generator.device).expand(batch_size, -1).contiguous()
    raise ValueError(f"content view {mode!r}: it is 'shuffle' or 'reverse'")


@torch.no_grad()
def motion_view(x: Tensor, policy: AugmentPolicy, generator: torch.Generator) -> Tensor:
    """The clips with their content changed and their motion kept; every frame of a clip is changed alike.

    Args:
        x: (B, T, C, H, W) in [0, 1], or (B, T, F) features.
        policy: which augmentations keep the motion on this data set.
        generator: draws the parameters.

    Returns:
        Like x; video stays in [0, 1].
    """
    with torch.autocast(device_type=x.device.type, enabled=False):
        if x.ndim == 3:
            return _audio_view(x, policy, generator)
        draws = torch.rand(len(x), _N, generator=generator, device=generator.device).to(x.device)
        if policy.crop or policy.blur:
            x = _resampled(x, policy, draws)
        return _recoloured(x, draws) if policy.colour else x


def _between(draw: Tensor, bounds: tuple[float, float]) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * draw


def _resampled(x: Tensor, policy: AugmentPolicy, draws: Tensor) -> Tensor:
    """Crop and blur, as rows @ clip @ columns with one (H, H) and one (W, W) matrix a clip."""
    b, t, c, h, w = x.shape
    side = _between(draws[:, _AREA], CROP_AREA).sqrt() if policy.crop else torch.ones_like(draws[:, 0])
    rows, columns = _crop(h, side, draws[:, _TOP]), _crop(w, side, draws[:, _LEFT])
    if policy.blur:
        spread = torch.exp(-0.5 / _between(draws[:, _SIGMA], SIGMA) ** 2) * (draws[:, _BLUR] < P_BLUR)
        rows, columns = _blurred(rows, spread), _blurred(columns, spread)
    x = torch.bmm(x.reshape(b, t * c * h, w), columns.mT).reshape(b, t * c, h, w)
    return torch.matmul(rows[:, None], x).reshape(b, t, c, h, w)


def _crop(size: int, side: Tensor, place: Tensor) -> Tensor:
    """(B, size, size) bilinear resampling of the box of length `side` (a fraction) at `place` of what is left over."""
    grid = torch.arange(size, device=side.device, dtype=side.dtype)
    centres = (grid + 0.5) * side[:, None] + (place * (1 - side) * size)[:, None] - 0.5
    return _linear(centres.clamp(0, size - 1), grid)


def _linear(positions: Tensor, grid: Tensor) -> Tensor:
    """(B, I, J) weights that interpolate linearly between the values at `grid` (J,) for `positions` (B, I)."""
    return (1 - (positions[:, :, None] - grid).abs()).clamp(min=0)


def _blurred(rows: Tensor, spread: Tensor) -> Tensor:
    """A resampling matrix followed by the kernel (spread, 1, spread) / sum along its axis, mirrored at the edges."""
    before = torch.cat([rows[:, 1:2], rows[:, :-1]], dim=1)
    after = torch.cat([rows[:, 1:], rows[:, -2:-1]], dim=1)
    spread = spread[:, None, None]
    return (rows + spread * (before + after)) / (1 + 2 * spread)


def _recoloured(x: Tensor, draws: Tensor) -> Tensor:
    """Brightness, contrast, saturation, hue (p = 0.8, together) and greyscale (p = 0.2), then clamped to [0, 1].

    Contrast is about the mean luminance of the clip; hue turns the chrominance plane (YIQ). Grey-scale clips get
    brightness and contrast only.
    """
    b, t, c, h, w = x.shape
    on = (draws[:, _COLOUR] < P_COLOUR).to(x.dtype)
    factor = (1 - JITTER * on[:, None]) + 2 * JITTER * on[:, None] * draws[:, _BRIGHTNESS : _SATURATION + 1]
    brightness, contrast, saturation = factor.unbind(1)
    gain = brightness * contrast
    mean = x.mean(dim=(1, 3, 4))
    if c == 1:
        offset = ((1 - contrast) * brightness)[:, None] * mean
        view = x * gain.view(b, 1, 1, 1, 1) + offset.view(b, 1, 1, 1, 1)
        return view.clamp_(0, 1)
    saturation = torch.where(draws[:, _GREY] < P_GREY, 0, saturation)
    angle = 2 * math.pi * HUE * (2 * draws[:, _HUE] - 1) * on
    to_yiq, from_yiq = _yiq(x.device)
    matrix = gain[:, None, None] * (from_yiq @ _turn(saturation, angle) @ to_yiq)
    offset = (1 - contrast) * brightness * (mean @ to_yiq[0])
    view = torch.matmul(matrix[:, None], x.reshape(b, t, c, h * w)).add_(offset.view(b, 1, 1, 1))
    return view.clamp_(0, 1).reshape(b, t, c, h, w)


@functools.cache
def _yiq(device: torch.device) -> tuple[Tensor, Tensor]:
    """The map from RGB to luminance and two chrominances, and its inverse. Kept, so that no call copies to a GPU."""
    to_yiq = torch.tensor([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)], dtype=torch.float64)
    return to_yiq.float().to(device), torch.linalg.inv(to_yiq).float().to(device)


def _turn(saturation: Tensor, angle: Tensor) -> Tensor:
    """(B, 3, 3) maps of YIQ that scale the chrominance by `saturation` and turn it by `angle`; luminance is kept."""
    cos, sin = saturation * angle.cos(), saturation * angle.sin()
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    return torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1).reshape(-1, 3, 3)


def _audio_view(x: Tensor, policy: AugmentPolicy, generator: torch.Generator) -> Tensor:
    if policy.audio == "vtlp":
        return vtlp(x, generator, db_per_unit=policy.db_per_unit)
    if policy.audio:
        raise ValueError(f"audio augmentation {policy.audio!r} works on waveforms, not on features; 'vtlp' does")
    return x


@torch.no_grad()
def vtlp(x: Tensor, generator: torch.Generator, *, db_per_unit: float) -> Tensor:
    """Another voice with the same words: the frequency axis warped and tilted, alike in every frame of a clip.

    Args:
        x: (B, T, F) log magnitudes, low to high frequency.
        generator: draws a warp factor (0.85 to 1.18, log-uniform) and three levels (each within 6 dB) a clip; the
            tilt is the parabola through the levels at the lowest, middle and highest band.
        db_per_unit: decibels that one unit of x stands for.

    Returns:
        (B, T, F).
    """
    n_bands = x.shape[-1]
    draws = torch.rand(len(x), 4, generator=generator, device=generator.device).to(x.device)
    factor = torch.exp(_between(draws[:, 0], (math.log(WARP[0]), math.log(WARP[1]))))
    low, middle, high = (TILT_DB / db_per_unit * (2 * draws[:, 1:] - 1)).unbind(1)
    place = torch.linspace(0, 1, n_bands, device=x.device)
    tilt = (
        low[:, None] * (2 * place - 1) * (place - 1)
        + middle[:, None] * 4 * place * (1 - place)
        + high[:, None] * place * (2 * place - 1)
    )
    warped = torch.bmm(x.float(), _warp(n_bands, factor).mT)
    return (warped + tilt[:, None]).to(x.dtype)


def _warp(n_bands: int, factor: Tensor) -> Tensor:
    """(B, F, F): band j is read at j / factor below the knee, then along the line to the last band (Jaitly and Hinton
    2013, with the knee where both stay inside the axis)."""
    grid = torch.arange(n_bands, device=factor.device, dtype=factor.dtype)
    last = n_bands - 1
    knee = WARP_KNEE * last * factor.clamp(max=1)
    start = knee / factor
    slope = (last - start) / (last - knee)
    positions = torch.where(
        grid < knee[:, None], grid / factor[:, None], start[:, None] + (grid - knee[:, None]) * slope[:, None]
    )
    return _linear(positions.clamp(0, last), grid)
