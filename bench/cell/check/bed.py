"""What methods are checked on: small nets, random clips of every kind of data, and training steps as the trainer's.

Shape legend: B clips, T frames, C, H, W image, F features.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from seqdis.bench.plan.plugins import files_of
from seqdis.methods.base import Batch, Context, Method, Needs, Shape, SignalShape

TINY = {
    "width": 4,
    "embedding_dim": 12,
    "hidden_dim": 10,
    "static_dim": 6,
    "dynamic_dim": 4,
    "critic_dim": 8,
    "critic_layers": 2,
}
"""Fields of a config that make nets small, where it has them."""

KINDS = {
    "video": Shape(
        frame=(3, 32, 32),
        n_frames=8,
        n_train=40,
        n_sequences=20,
        n_motions=3,
        signal=SignalShape(dim=9, kind="multilabel"),
    ),
    "large-video": Shape(
        frame=(1, 64, 64),
        n_frames=8,
        n_train=40,
        n_sequences=20,
        n_motions=3,
        signal=SignalShape(dim=3, kind="regression"),
    ),
    "audio": Shape(frame=(20,), n_frames=20, n_train=40, n_sequences=20, signal=SignalShape(dim=1, kind="multilabel")),
    "bare-video": Shape(frame=(3, 32, 32), n_frames=8, n_train=40, n_sequences=40),
}
"""Kinds of data. The bare one has no signal, no motion classes and one clip a sequence."""

EVERYTHING = Needs(content_view=True, motion_view=True, signal=True, motion_labels=True, segments=True)


def make_batch(shape: Shape, size: int = 6, *, seed: int = 0, n_frames: int = 0, needs: Needs = EVERYTHING) -> Batch:
    """Random clips with what a method asks for; as many clips of each sequence as the shape has."""
    generator = torch.Generator().manual_seed(seed)
    n_frames, n_segments = n_frames or shape.n_frames, shape.n_train // max(shape.n_sequences, 1)
    draw = torch.rand if shape.is_video else torch.randn
    x = draw(size, n_frames, *shape.frame, generator=generator)
    view = torch.rand(size, n_frames, generator=generator).argsort(1)
    motions = torch.randint(max(shape.n_motions, 1), (size,), generator=generator)
    batch = Batch(
        x=x,
        index=torch.arange(size),
        sequence=torch.arange(size) // n_segments % max(shape.n_sequences, 1),
        n_segments=torch.full((size,), n_segments),
        content_view=view if needs.content_view else None,
        motion_view=0.7 * x + 0.1 if needs.motion_view else None,
        motion_labels=motions if needs.motion_labels else None,
    )
    if shape.signal is not None and needs.signal:
        signal = torch.rand(size, n_frames, shape.signal.dim, generator=generator)
        batch.signal = signal.round() if shape.signal.kind == "multilabel" else signal
    return batch


def make_context(shape: Shape, *, seed: int = 0, step: int = 0, capacity: Mapping[str, float] | None = None) -> Context:
    """A context at the given step, its generator freshly seeded; `segments` gives two clips of each sequence."""

    def segments(sequences: Tensor) -> Iterator[Batch]:
        batch = make_batch(shape, 2 * len(sequences), seed=99)
        batch.sequence = sequences.repeat_interleave(2)
        yield batch

    return Context(
        n_train=shape.n_train,
        step=step,
        epoch=0,
        n_steps=100,
        segments=segments,
        generator=torch.Generator().manual_seed(seed),
        capacity=capacity or {},
    )


def train(
    method: Method, shape: Shape, n_steps: int, *, size: int = 6, lr: float = 0.0, needs: Needs = EVERYTHING
) -> list[dict[str, float]]:
    """Trains on one batch as the trainer does, every player in turn. Returns the players' totals at each step."""
    batch = make_batch(shape, size, needs=needs)
    method.train()
    method.on_epoch(make_context(shape))
    optimisers = {}
    for player in method.players:
        adam = method.optimisation(player)
        optimisers[player] = torch.optim.Adam(method.player_parameters(player), lr=lr or adam.lr, betas=adam.betas)
    history = []
    for step in range(n_steps):
        ctx, totals = make_context(shape, seed=step, step=step), {}
        for player, optimiser in optimisers.items():
            losses = method.loss(batch, player, ctx)
            optimiser.zero_grad(set_to_none=True)
            losses["total"].backward(inputs=method.player_parameters(player))
            optimiser.step()
            totals[player] = losses["total"].item()
        method.on_step_end(ctx)
        history.append(totals)
    return history


def weights_in_total(terms: dict[str, Tensor]) -> dict[str, float]:
    """The weight of each logged term in the total, as the graph has it: d total / d term."""
    names = [name for name, value in terms.items() if name != "total" and value.requires_grad]
    found = torch.autograd.grad(terms["total"], [terms[name] for name in names], allow_unused=True, retain_graph=True)
    return {name: weight.item() for name, weight in zip(names, found, strict=True) if weight is not None and weight}


def state(method: Method) -> dict[str, Tensor]:
    """A copy of the parameters and buffers."""
    return {name: value.detach().clone() for name, value in method.state_dict().items()}


class ReadBacks(TorchDispatchMode):
    """Notes each operation that copies a value to the host (`item`, a branch on it, `nonzero`).

    A GPU is waited for there, and can be given no further work meanwhile.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        if func in (aten._local_scalar_dense.default, aten.is_nonzero.default, aten.nonzero.default):
            self.operations.append(str(func))
        return func(*args, **(kwargs or {}))


@dataclasses.dataclass(frozen=True)
class Row:
    """A method under one variant ("" is the plain one), as a table's row would be."""

    name: str
    method: type[Method]
    variant: str = ""

    @property
    def where(self) -> str:
        return f"{self.name}:{self.variant}" if self.variant else self.name

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(map(str, files_of(Path(inspect.getfile(self.method)))))

    def config(self, **changes: Any) -> Any:
        """Its config with small nets and the given changes."""
        fields = {field.name for field in dataclasses.fields(self.method.Config)}
        small = {key: value for key, value in TINY.items() if key in fields}
        return self.method.Config(**{**small, **self.method.variants.get(self.variant, {}), **changes})

    def build(self, shape: Shape, *, seed: int = 0, **changes: Any) -> Method:
        """A small model in training mode, initialised from `seed` without a trace in the global generator."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.method(self.config(**changes), shape)


@dataclasses.dataclass(frozen=True)
class Bed:
    """A row on a kind of data: what most checks examine."""

    row: Row
    kind: str

    @property
    def where(self) -> str:
        return f"{self.row.where} on {self.kind}"

    @property
    def files(self) -> tuple[str, ...]:
        return self.row.files

    @property
    def shape(self) -> Shape:
        return KINDS[self.kind]

    @functools.cached_property
    def needs(self) -> Needs:
        return self.row.method.needs(self.row.config())

    @functools.cached_property
    def encodes(self) -> bool:
        return self.row.method.capabilities(self.row.config()).encodes

    def build(self, seed: int = 0) -> Method:
        return self.row.build(self.shape, seed=seed)

    def batch(self, size: int = 6, n_frames: int = 0) -> Batch:
        return make_batch(self.shape, size, n_frames=n_frames, needs=self.needs)

    def clips(self, size: int, n_frames: int = 0) -> Tensor:
        """Clips (B, T, C, H, W) or (B, T, F) to encode."""
        return self.batch(size, n_frames).x

    def context(self, capacity: Mapping[str, float] | None = None) -> Context:
        return make_context(self.shape, capacity=capacity)

    def ready(self) -> Method:
        """A new model at the start of its first epoch."""
        method = self.build()
        method.on_epoch(self.context())
        return method

    def train(self, method: Method, n_steps: int, *, lr: float = 0.0) -> list[dict[str, float]]:
        return train(method, self.shape, n_steps, lr=lr, needs=self.needs)

    def few_steps(self) -> Method:
        """A model of its own in evaluation mode, after `first_steps`."""
        method = self.build()
        method.load_state_dict(self.first_steps.state)
        return method.eval()

    @functools.cached_property
    def first_steps(self) -> Steps:
        """What three steps of a new model did; several checks look at the same ones."""
        method, before = self.build(), generators()
        history = self.train(method, 3)
        after = generators()
        return Steps(history, state(method), [name for name in before if before[name] != after[name]])


@dataclasses.dataclass(frozen=True)
class Steps:
    """A few training steps: their losses, the state after them, the global generators that were drawn from."""

    history: list[dict[str, float]]
    state: dict[str, Tensor]
    drawn_from: list[str]


def generators() -> dict[str, str]:
    """States of the global generators, by package."""
    return {
        "torch": torch.get_rng_state().numpy().tobytes().hex(),
        "NumPy": str(np.random.get_state()),
        "Python": str(random.getstate()),
    }
