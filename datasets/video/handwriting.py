"""Digits written a little differently, and windows of frames with one of them in the middle: what judges train on.

The few thousand digits at hand do not show all handwriting. A varied digit is turned, sheared, stretched and bent; it
stays the same digit, so labels hold. Methods never see varied digits.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from seqdis.datasets.video.moving import CANVAS, DIGIT, EDGE, render

LINEAR = 0.15  # largest change of an entry of the linear map
BEND = 0.06  # standard deviation of the bend at 4 x 4 knots, of half a digit's side
PLACES = 9  # windows in each direction: every fourth pixel of 0..32
STEP = EDGE // (PLACES - 1)
NEAR = 0.7  # share of the other windows that lie near a digit
PER_FRAME = 3  # windows of a frame: on the first digit, on the second, and another


def vary(digits: Tensor, generator: torch.Generator) -> Tensor:
    """Digits (..., 32, 32) uint8, each moved by its own linear map and bent smoothly."""
    flat = digits.reshape(-1, 1, *digits.shape[-2:]).float()
    n, device = len(flat), flat.device
    entries = 2 * torch.rand((n, 2, 2), generator=generator, device=device) - 1
    maps = functional.pad(torch.eye(2, device=device) + LINEAR * entries, (0, 1))
    knots = BEND * torch.randn((n, 2, 4, 4), generator=generator, device=device)
    bend = functional.interpolate(knots, size=flat.shape[-2:], mode="bicubic", align_corners=False)
    grid = functional.affine_grid(maps, list(flat.shape), align_corners=False) + bend.permute(0, 2, 3, 1)
    moved = functional.grid_sample(flat, grid, align_corners=False)
    return moved.clamp(0, 255).round().to(torch.uint8).reshape(digits.shape)


def windows(digits: Tensor, labels: Tensor, n: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Windows half as large as a frame, cut from frames of two varied digits at random places.

    Windows lie every fourth pixel (of 64). A window's label is the digit that it lies closest to among all windows,
    where there is one. Of each frame there are the windows of both digits and one more.

    Args:
        digits: (D, 32, 32) uint8.
        labels: (D,) in [0, 10).
        n: windows; a multiple of 3.
        size: of the frames, 64 or 32.

    Returns:
        Windows (n, 1, size / 2, size / 2) in [0, 1) and labels (n,) in [0, 10], 10 for none.
    """
    device = digits.device
    n_frames = n // PER_FRAME

    def integers(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator, device=device)

    pick = integers(len(digits), n_frames, 2)
    position = integers(EDGE, n_frames, 2, 2)
    frames = render(vary(digits[pick], generator), position[:, None], size)[:, 0, 0]
    place = (position + STEP // 2) // STEP
    beside = (place[:, 0] + integers(5, n_frames, 2) - 2).clamp(0, PLACES - 1)
    is_near = torch.rand((n_frames, 1), generator=generator, device=device) < NEAR
    other = torch.where(is_near, beside, integers(PLACES, n_frames, 2))
    # (n_frames, 3, 2), and for each of the three whether a digit's own window is that (n_frames, 3, 2 digits)
    where = torch.cat([place, other[:, None]], 1)
    is_there = (where[:, :, None] == place[:, None]).all(3)
    seen = labels[pick][:, None].expand(-1, PER_FRAME, -1)
    label = torch.where(is_there[..., 0], seen[..., 0], torch.where(is_there[..., 1], seen[..., 1], 10))
    label[:, 1] = seen[:, 1, 1]  # where both digits share a window, each is its label once
    pixels = torch.arange(DIGIT * size // CANVAS, device=device)
    columns, rows = ((where * STEP * size // CANVAS)[..., k].flatten()[:, None] + pixels for k in range(2))
    frame = torch.arange(n_frames, device=device).repeat_interleave(PER_FRAME)
    cut = frames[frame[:, None, None], rows[:, :, None], columns[:, None, :]]
    return cut[:, None].float() / 256, label.flatten()
