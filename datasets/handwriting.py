"""Digits written a little differently, and windows of frames with one of them in the middle: what judges train on.

The few thousand digits at hand do not show all handwriting. A varied digit is turned, sheared, stretched and bent; it
stays the same digit, so labels hold. Methods never see varied digits.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from seqdis.datasets.moving import CANVAS, DIGIT, EDGE, render

LINEAR = 0.15  # largest change of an entry of the linear map
BEND = 0.06  # standard deviation of the bend at 4 x 4 knots, of half a digit's side
PLACES = 9  # windows in each direction: every fourth pixel of 0..32
STEP = EDGE // (PLACES - 1)
NOTHING = 0.35  # share of the windows with no digit in their middle
NEAR = 0.7  # share of those that lie near one all the same


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
    where there is one.

    Args:
        digits: (D, 32, 32) uint8.
        labels: (D,) in [0, 10).
        size: of the frames, 64 or 32.

    Returns:
        Windows (n, 1, size / 2, size / 2) in [0, 1) and labels (n,) in [0, 10], 10 for none.
    """
    device = digits.device

    def integers(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator, device=device)

    def chance(share: float) -> Tensor:
        return torch.rand((n, 1), generator=generator, device=device) < share

    pick = integers(len(digits), n, 2)
    position = integers(EDGE, n, 2, 2)
    frames = render(vary(digits[pick], generator), position[:, None], size)[:, 0, 0]
    place = (position + STEP // 2) // STEP
    beside = (place[:, 0] + integers(5, n, 2) - 2).clamp(0, PLACES - 1)
    other = torch.where(chance(NEAR), beside, integers(PLACES, n, 2))
    where = torch.where(chance(NOTHING), other, place[:, 0])
    is_first, is_second = ((where == place[:, k]).all(1) for k in range(2))
    seen = labels[pick]
    label = torch.where(is_first, seen[:, 0], torch.where(is_second, seen[:, 1], 10))
    pixels = torch.arange(DIGIT * size // CANVAS, device=device)
    columns, rows = ((where * STEP * size // CANVAS)[:, k, None] + pixels for k in range(2))
    cut = frames[torch.arange(n, device=device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return cut[:, None].float() / 256, label
