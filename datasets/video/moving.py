"""The moving-digit generator: two digits that bounce around a 64 x 64 canvas, whole batches at a time on any device.

The motion is that of the field's generator in its stochastic mode (SVG, Denton and Fergus 2018): a digit that leaves
the canvas is put back on its edge and draws a new velocity, away from the edge that it hit and free along it.

Shape legend: B clips, T frames, 2 digits, S = 32 side of a digit, H = W = 64 side of the canvas.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

CANVAS = 64
DIGIT = 32
EDGE = CANVAS - DIGIT  # positions run over 0..31
SPEED = 4  # velocities run over -4..4 pixels a frame
GRID = 3
TOP_CELLS = 3


@dataclasses.dataclass(frozen=True)
class Motion:
    """Where the two digits of B clips are. `position` and `velocity`: (B, T, 2, 2) int64, pixels as (x, y).

    `velocity[:, t]` is what moves a digit from frame t to frame t + 1.
    """

    position: Tensor
    velocity: Tensor


def draw_motion(n_clips: int, n_frames: int, generator: torch.Generator) -> Motion:
    """Draws trajectories on the generator's device.

    Args:
        n_clips: B.
        n_frames: T; frames are one pixel-step apart.
        generator: of the device that the clips are wanted on.
    """
    device = generator.device

    def integers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high + 1, shape, generator=generator, device=device)

    position = integers(0, EDGE - 1, n_clips, 2, 2)
    velocity = integers(-SPEED, SPEED, n_clips, 2, 2)
    # All bounces are drawn beforehand, so that the number of draws does not depend on what happens.
    away = integers(1, SPEED, n_frames, n_clips, 2, 2)
    along = integers(-SPEED, SPEED, n_frames, n_clips, 2, 2)
    positions, velocities = [], []
    for t in range(n_frames):
        for hit, free in ((1, 0), (0, 1)):  # the vertical check comes first, then the horizontal one
            position, velocity = _bounce(position, velocity, away[t, ..., hit], along[t, ..., free], hit)
        positions.append(position)
        velocities.append(velocity)
        position = position + velocity
    return Motion(torch.stack(positions, 1), torch.stack(velocities, 1))


def _bounce(position: Tensor, velocity: Tensor, away: Tensor, along: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Puts digits that left the canvas along `axis` back on its edge, with a new velocity. All (B, 2[, 2])."""
    low, high = position[..., axis] < 0, position[..., axis] >= EDGE
    hit = low | high
    toward = torch.where(low, away, torch.where(high, -away, velocity[..., axis]))
    other = torch.where(hit, along, velocity[..., 1 - axis])
    velocity = torch.stack((other, toward) if axis == 1 else (toward, other), -1)
    inside = position[..., axis].clamp(0, EDGE - 1)
    return torch.stack((position[..., 0], inside) if axis == 1 else (inside, position[..., 1]), -1), velocity


def render(digits: Tensor, position: Tensor, size: int = CANVAS) -> Tensor:
    """Draws clips: the digits' bytes are added and clipped at 255.

    Args:
        digits: (B, 2, 32, 32) uint8.
        position: (B, T, 2, 2) int64, the left upper corners as (x, y), in 0..31.
        size: 64, or 32 for the rounded 2 x 2 mean of the 64-pixel canvas.

    Returns:
        (B, T, 1, size, size) uint8.
    """
    n_clips, n_frames = position.shape[:2]
    steps = torch.arange(DIGIT, device=digits.device)
    patch = (steps[:, None] * CANVAS + steps).flatten()
    corner = (position[..., 1] * CANVAS + position[..., 0]).flatten(0, 1)
    canvas = torch.zeros(n_clips * n_frames, CANVAS * CANVAS, dtype=torch.int16, device=digits.device)
    for k in range(2):
        # Integer sums: the result does not depend on the order of a device's atomic additions.
        source = digits[:, None, k].flatten(2).to(torch.int16).expand(-1, n_frames, -1).flatten(0, 1)
        canvas.scatter_add_(1, corner[:, k, None] + patch, source)
    clips = canvas.clamp_(max=255).view(n_clips, n_frames, 1, CANVAS, CANVAS)
    if size == CANVAS // 2:
        pairs = clips[..., ::2, :] + clips[..., 1::2, :]
        clips = (pairs[..., ::2] + pairs[..., 1::2] + 2) // 4
    elif size != CANVAS:
        raise ValueError(f"clips are 64 or 32 pixels wide, not {size}")
    return clips.to(torch.uint8)


def moving_cells(digits: Tensor, motion: Motion) -> Tensor:
    """S3VAE's signal, from the generator itself: which cells of a 3 x 3 grid hold the most motion.

    A cell's motion is the sum over digits of (brightness of the digit in the cell) x (its speed). The three largest
    non-zero cells are marked. An exact stand-in for gridded optical flow, and privileged: no camera can measure it.

    Args:
        digits: (B, 2, 32, 32) uint8.
        motion: of the same clips.

    Returns:
        (B, T, 9) float32 in {0, 1}, cells along rows.
    """
    cell_of_pixel = torch.arange(CANVAS, device=digits.device) * GRID // CANVAS
    pixels = torch.arange(DIGIT, device=digits.device)
    # (B, T, 2 digits, 2 axes, 32 pixels, 3 cells)
    cells = functional.one_hot(cell_of_pixel[motion.position[..., None] + pixels], GRID).float()
    mass = torch.einsum("btkyr,bkyx,btkxc->btkrc", cells[..., 1, :, :], digits.float(), cells[..., 0, :, :])
    speed = motion.velocity.float().norm(dim=-1)
    moved = torch.einsum("btkrc,btk->btrc", mass, speed).flatten(2)
    top = moved.topk(TOP_CELLS, dim=-1)
    return torch.zeros_like(moved).scatter(-1, top.indices, (top.values > 0).float())
