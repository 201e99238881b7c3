"""What the protocol examines: something that rebuilds clips with one code kept and the other drawn anew.

A trained method is examined through `MethodSubject`; the oracle control (`controls.py`) has its own. All go through
the same code of `protocol.py`, which is what makes the controls a proof of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from seqdis.datasets.base import Spec, Split

Direction = Literal["fix_dynamic", "fix_static"]
DIRECTIONS: tuple[Direction, Direction] = ("fix_dynamic", "fix_static")
Rebuild = Callable[[Tensor], Tensor]
"""Positions (B,) among the examined clips -> clips (B, T, C, H, W) or (B, T, F)."""


class Subject(Protocol):
    """Rebuilds the N examined clips. Positions are on the device of the subject."""

    def reconstruct(self, position: Tensor) -> Tensor:
        """Both codes kept."""
        ...

    def draw(self, direction: Direction, generator: torch.Generator) -> Rebuild:
        """One prior draw for every examined clip at once, so that it does not depend on the batch size.

        `fix_dynamic` keeps the dynamic code and draws the static one, `fix_static` the other way about.
        """
        ...


@runtime_checkable
class HasSubject(Protocol):
    """A control that is examined like a method but has its own way to rebuild clips."""

    def subject(self, split: Split, device: torch.device) -> Subject: ...


class MethodSubject:
    """A method with an encoder. Clips are encoded once, as posterior means; codes stay on the device.

    Args:
        method: a `seqdis.methods.base.Method` in evaluation mode, on `device`.
        split: the clips to examine.
        means: decode the step means of the dynamic prior's roll instead of its draws.
        batch_size: clips encoded at once.
    """

    def __init__(
        self, method: Any, split: Split, spec: Spec, device: torch.device, *, means: bool, batch_size: int
    ) -> None:
        self.method = method
        self.n_frames = spec.n_frames
        self.means = means
        codes = [method.encode(split.clips(index).to(device)) for index in positions(split, batch_size)]
        self.codes = dataclasses.replace(
            codes[0],
            static=torch.cat([code.static for code in codes]),
            dynamic=torch.cat([code.dynamic for code in codes]),
        )
        self.n_clips = len(self.codes.static)

    def reconstruct(self, position: Tensor) -> Tensor:
        clips: Tensor = self.method.decode(self.codes[position])
        return clips

    def draw(self, direction: Direction, generator: torch.Generator) -> Rebuild:
        if direction == "fix_dynamic":
            drawn = dataclasses.replace(self.codes, static=self.method.sample_static(self.n_clips, generator))
        else:
            dynamic = self.method.sample_dynamic(self.n_clips, self.n_frames, generator, means=self.means)
            drawn = dataclasses.replace(self.codes, dynamic=dynamic)
        decode: Rebuild = lambda position: self.method.decode(drawn[position])  # noqa: E731
        return decode


def positions(split: Split, batch_size: int) -> Iterator[Tensor]:
    """All positions of a split in order, in batches (B,), on its device; the last may be smaller."""
    yield from torch.split(torch.arange(len(split), device=split.device), batch_size)


def shuffle_change(
    method: Any, split: Split, device: torch.device, generator: torch.Generator, *, n_clips: int, batch_size: int
) -> float:
    """How far the static code moves when a clip's frames are shuffled.

    Root mean square distance between the codes of a clip and of its shuffled self, relative to that between the codes
    of two clips: 0 is invariant, 1 means that a shuffled clip is as far as another clip. A constant code gives 0.
    """
    kept: list[Tensor] = []
    moved: list[Tensor] = []
    count = min(n_clips, len(split))
    chosen = torch.linspace(0, len(split) - 1, count).round().long().to(split.device)
    for index in torch.split(chosen, batch_size):
        x = split.clips(index).to(device)
        order = torch.rand(x.shape[:2], generator=generator, device=generator.device).argsort(1).to(device)
        shuffled = x[torch.arange(len(x), device=device)[:, None], order]
        kept.append(method.encode(x).static.double())
        moved.append(method.encode(shuffled).static.double())
    static = torch.cat(kept)
    between = 2 * (static - static.mean(0)).square().sum(1).mean() * count / max(count - 1, 1)
    within = (static - torch.cat(moved)).square().sum(1).mean()
    return float((within / between).sqrt()) if between > 0 else 0.0
