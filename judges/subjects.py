"""What the protocol examines: something that rebuilds clips with one code kept and the other drawn anew.

A trained method is examined through `MethodSubject`; the oracle control (`controls.py`) has its own. All go through
the same code of `protocol.py`, which is what makes the controls a proof of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from seqdis.bench.core.seeds import derive
from seqdis.datasets.base import Spec, Split
from seqdis.judges.settings import Direction, EvaluationConfig
from seqdis.methods.base import Method

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


class Control(Protocol):
    """What is examined like a method but has its own way to rebuild clips."""

    def subject(self, split: Split, device: torch.device) -> Subject: ...


class MethodSubject:
    """A method with an encoder. Clips are encoded once, as posterior means; codes stay on the device.

    Args:
        method: in evaluation mode, on `device`.
        split: the clips to examine.
        means: decode the step means of the dynamic prior's roll instead of its draws.
        batch_size: clips encoded at once.
    """

    def __init__(
        self, method: Method, split: Split, spec: Spec, device: torch.device, *, means: bool, batch_size: int
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
        return self.method.decode(self.codes[position])

    def draw(self, direction: Direction, generator: torch.Generator) -> Rebuild:
        if direction == "fix_dynamic":
            drawn = dataclasses.replace(self.codes, static=self.method.sample_static(self.n_clips, generator))
        else:
            dynamic = self.method.sample_dynamic(self.n_clips, self.n_frames, generator, means=self.means)
            drawn = dataclasses.replace(self.codes, dynamic=dynamic)
        return lambda position: self.method.decode(drawn[position])


def positions(split: Split, batch_size: int) -> Iterator[Tensor]:
    """All positions of a split in order, in batches (B,), on its device; the last may be smaller."""
    yield from torch.split(torch.arange(len(split), device=split.device), batch_size)


def spread(split: Split, n_clips: int) -> Tensor:
    """Positions (n_clips,) evenly spread over a split, on its device."""
    return torch.linspace(0, len(split) - 1, n_clips).round().long().to(split.device)


def examined_clips(split: Split, max_clips: int) -> Split:
    """At most `max_clips` clips, evenly spread over the split and the same for every method; 0 is all."""
    if not 0 < max_clips < len(split):
        return split
    # An even stride could fall in step with the classes of an ordered split; a seeded choice cannot.
    generator = torch.Generator().manual_seed(derive("examined clips", len(split)))
    chosen = torch.randperm(len(split), generator=generator)[:max_clips].sort().values
    return split.subset(chosen.to(split.device))


def subject_of(
    method: Method | Control, split: Split, spec: Spec, config: EvaluationConfig, device: torch.device
) -> Subject:
    """The subject that stands for a method or a control."""
    if isinstance(method, Method):
        return MethodSubject(method, split, spec, device, means=config.sample == "means", batch_size=config.batch_size)
    return method.subject(split, device)
