"""Clips of two moving digits, rendered when they are asked for: `moving` moves them, `handwriting` varies them.

Shape legend: D digits, N clips, B batch, T frames.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from seqdis.bench.core.seeds import derive
from seqdis.datasets.base import Drawn, Split
from seqdis.datasets.video import handwriting, moving

N_FRAMES = 15


class MovingDigits(Split):
    """Clips rendered when asked for: stored trajectories, or fresh ones for every request.

    Args:
        digits: (D, 32, 32) uint8.
        digit_labels: (D,) int64.
        pairs: (N, 2) int64, the two digits of each clip.
        size: 64 or 32 pixels.
        motion: trajectories (N, T, 2, 2) of fixed clips; None draws fresh ones for each request.
        sequence: (N,) the sequence that each clip is cut from.
    """

    def __init__(
        self,
        digits: Tensor,
        digit_labels: Tensor,
        pairs: Tensor,
        size: int,
        *,
        motion: moving.Motion | None = None,
        sequence: Tensor | None = None,
    ) -> None:
        self.digits = digits
        self.digit_labels = digit_labels
        self.pairs = pairs
        self.size = size
        self.position = None if motion is None else motion.position.to(torch.int8)
        self.velocity = None if motion is None else motion.velocity.to(torch.int8)
        low_high = digit_labels[pairs].sort(dim=1).values
        self.labels = {"digit_low": low_high[:, 0].clone(), "digit_high": low_high[:, 1].clone()}
        self.identity = torch.arange(len(pairs))
        self._number_sequences(sequence)
        self._frame_labels: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def device(self) -> torch.device:
        return self.pairs.device

    @property
    def is_fixed(self) -> bool:
        """Whether a clip is the same whenever it is asked for."""
        return self.position is not None

    @property
    def x(self) -> Tensor:
        """All clips, (N, T, 1, size, size) uint8: rendered anew at each access. Prefer `clips`."""
        index = torch.arange(len(self), device=self.device)
        return torch.cat([self._render(part, self._motion(part, None)) for part in index.split(512)])

    @property
    def signal(self) -> Tensor | None:
        """(N, T, 9) of fixed clips; None where clips are drawn afresh (see `draw`)."""
        if not self.is_fixed:
            return None
        index = torch.arange(len(self), device=self.device)
        return torch.cat(
            [moving.moving_cells(self.digits[self.pairs[part]], self._motion(part, None)) for part in index.split(512)]
        )

    def clips(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Clips (B, T, 1, size, size) in [0, 1). Without a generator, fresh motion comes from a fixed seed."""
        return self._render(index, self._motion(index, generator)).float() / 256

    def draw(self, index: Tensor, generator: torch.Generator) -> DrawnDigits:
        """Clips (B, T, 1, size, size) with the trajectories that they were rendered from."""
        motion = self._motion(index, generator)
        return DrawnDigits(
            self, index, self._render(index, motion).float() / 256, self.digits[self.pairs[index]], motion
        )

    def varied_clips(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Clips (B, T, 1, size, size) as `clips` gives them, each of their digits written a little differently."""
        motion = self._motion(index, generator)
        digits = handwriting.vary(self.digits[self.pairs[index]], generator)
        return moving.render(digits, motion.position, self.size).float() / 256

    def windows(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Cut-outs of frames with varied digits, (n, 1, size / 2, size / 2), and labels: see `handwriting.windows`."""
        return handwriting.windows(self.digits, self.digit_labels, n, self.size, generator)

    def subset(self, index: Tensor) -> MovingDigits:
        """A split of the clips at `index`; sequences are numbered anew."""
        motion = self._motion(index, None) if self.is_fixed else None
        return MovingDigits(
            self.digits,
            self.digit_labels,
            self.pairs[index],
            self.size,
            motion=motion,
            sequence=torch.unique(self.sequence[index], return_inverse=True)[1],
        )

    def _motion(self, index: Tensor, generator: torch.Generator | None) -> moving.Motion:
        if self.position is not None and self.velocity is not None:
            return moving.Motion(self.position[index].long(), self.velocity[index].long())
        if generator is None:
            generator = torch.Generator(self.device).manual_seed(derive("smmnist", "no generator"))
        drawn = moving.draw_motion(len(index), N_FRAMES, generator)
        return moving.Motion(drawn.position.to(self.device), drawn.velocity.to(self.device))

    def _render(self, index: Tensor, motion: moving.Motion) -> Tensor:
        return moving.render(self.digits[self.pairs[index]], motion.position, self.size)


@dataclasses.dataclass(frozen=True)
class DrawnDigits(Drawn):
    """Clips of moving digits, with the digits (B, 2, 32, 32) uint8 and the trajectories that they were rendered from."""

    digits: Tensor
    motion: moving.Motion

    def signal(self) -> Tensor:
        """The moving cells (B, T, 9)."""
        return moving.moving_cells(self.digits, self.motion)
