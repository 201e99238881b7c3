"""Small models and random batches for the tests of methods."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import seqdis.methods
from seqdis.methods.base import Batch, Context, Method, Shape, SignalShape

TINY = {
    "width": 4,
    "embedding_dim": 12,
    "hidden_dim": 10,
    "static_dim": 6,
    "dynamic_dim": 4,
    "critic_dim": 8,
    "critic_layers": 2,
}
SHAPES = {
    "video32": Shape(
        frame=(3, 32, 32),
        n_frames=8,
        n_train=40,
        n_sequences=20,
        n_motions=3,
        signal=SignalShape(dim=9, kind="multilabel"),
    ),
    "video64": Shape(
        frame=(1, 64, 64),
        n_frames=8,
        n_train=40,
        n_sequences=20,
        n_motions=3,
        signal=SignalShape(dim=3, kind="regression"),
    ),
    "audio": Shape(
        frame=(20,), n_frames=20, n_train=40, n_sequences=20, n_motions=0, signal=SignalShape(dim=1, kind="multilabel")
    ),
}


def method_classes() -> dict[str, type[Method]]:
    """Every method of the package, by module name."""
    found = {}
    for module in pkgutil.iter_modules(seqdis.methods.__path__):
        method = getattr(importlib.import_module(f"seqdis.methods.{module.name}"), "METHOD", None)
        if method is not None:
            found[module.name] = method
    return found


def rows() -> list[str]:
    """Every method and variant, as typed: `rwae`, `rwae:gan`."""
    return [
        f"{name}:{variant}" if variant else name
        for name, method in method_classes().items()
        for variant in ("", *method.variants)
    ]


def config_of(row: str, **changes: Any) -> Any:
    """The config of a row with small nets and the given changes."""
    name, _, variant = row.partition(":")
    method = method_classes()[name]
    fields = {field.name for field in dataclasses.fields(method.Config)}
    small = {key: value for key, value in TINY.items() if key in fields}
    return method.Config(**{**small, **method.variants.get(variant, {}), **changes})


def build(row: str, shape: Shape, *, seed: int = 0, **changes: Any) -> Method:
    """A small model of a row, in training mode. Initialised from `seed`, without a trace in the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return method_classes()[row.partition(":")[0]](config_of(row, **changes), shape)


def make_batch(shape: Shape, size: int = 6, *, seed: int = 0, n_frames: int = 0) -> Batch:
    """Random clips with everything that any method may ask for; two clips of each sequence."""
    generator = torch.Generator().manual_seed(seed)
    n_frames = n_frames or shape.n_frames
    draw = torch.rand if shape.is_video else torch.randn
    x = draw(size, n_frames, *shape.frame, generator=generator)
    batch = Batch(
        x=x,
        index=torch.arange(size),
        sequence=torch.arange(size) // 2 % max(shape.n_sequences, 1),
        n_segments=torch.full((size,), 2),
        content_view=torch.rand(size, n_frames, generator=generator).argsort(1),
        motion_view=0.7 * x + 0.1,
        motion_labels=torch.randint(max(shape.n_motions, 1), (size,), generator=generator),
    )
    if shape.signal is not None:
        signal = torch.rand(size, n_frames, shape.signal.dim, generator=generator)
        batch.signal = signal.round() if shape.signal.kind == "multilabel" else signal
    return batch


def make_context(shape: Shape, *, seed: int = 0, step: int = 0) -> Context:
    """A context at the given step, its generator freshly seeded; `segments` gives two clips of each sequence."""

    def segments(sequences: torch.Tensor) -> Iterator[Batch]:
        size = 2 * len(sequences)
        batch = make_batch(shape, size, seed=99)
        batch.sequence = sequences.repeat_interleave(2)
        yield batch

    return Context(
        n_train=shape.n_train,
        step=step,
        epoch=0,
        n_steps=100,
        segments=segments,
        generator=torch.Generator().manual_seed(seed),
    )


def train(method: Method, shape: Shape, n_steps: int, *, size: int = 6, lr: float = 0.0) -> list[dict[str, float]]:
    """Trains on one batch as the trainer does, every player in turn. Returns the players' totals at each step."""
    batch = make_batch(shape, size)
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


_ELBO = {"recon", "kl_static", "kl_dynamic"}
_RWAE = {"recon", "penalty_static", "penalty_dynamic"}
_FHVAE = {*_ELBO, "table_prior", "discriminative"}
_CONTRASTIVE = {"contrastive_static", "contrastive_dynamic"}
TERMS: dict[str, dict[str, set[str]]] = {
    "dsvae": {"model": _ELBO},
    "dsvae:mws": {"model": {*_ELBO, "mi_static", "mi_dynamic", "mi_cross"}},
    "s3vae": {"model": {*_ELBO, "triplet", "prediction", "mi_cross"}},
    "rwae": {"model": _RWAE},
    "rwae:gan": {"model": _RWAE, "critic": {"critic_static", "critic_dynamic"}},
    "rwae:weak": {"model": {*_RWAE, "kl_action"}},
    "cdsvae": {"model": {*_ELBO, *_CONTRASTIVE, "mi_cross"}},
    "cdsvae:no-content-aug": {"model": {*_ELBO, "contrastive_dynamic", "mi_cross"}},
    "cdsvae:no-motion-aug": {"model": {*_ELBO, "contrastive_static", "mi_cross"}},
    "cdsvae:gamma0": {"model": {*_ELBO, *_CONTRASTIVE}},
    "fhvae": {"model": _FHVAE},
    "fhvae:alpha0": {"model": _FHVAE - {"discriminative"}},
    "mocogan": {
        "image_discriminator": {"adversarial_image"},
        "video_discriminator": {"adversarial_video", "category"},
        "generator": {"adversarial_image", "adversarial_video", "category"},
    },
    "autoencoder": {"model": {"recon", "kl_dynamic"}},
    "autoencoder:all-in-s": {"model": {"recon", "kl_static"}},
}
"""The terms that each player of each row minimises. A variant that is not listed has those of its plain row."""


def minimised(row: str, player: str, shape: Shape) -> set[str]:
    """The terms that the player of a row minimises on data of this shape."""
    terms = TERMS.get(row) or TERMS[row.partition(":")[0]]
    has_categories = shape.n_motions and row != "mocogan:no-categories"
    return terms[player] if has_categories else terms[player] - {"category"}


@dataclasses.dataclass(frozen=True)
class Kit:
    """The helpers above, for test modules (which cannot import one another)."""

    shapes: dict[str, Shape] = dataclasses.field(default_factory=lambda: SHAPES)
    build: Callable[..., Method] = build
    batch: Callable[..., Batch] = make_batch
    context: Callable[..., Context] = make_context
    config: Callable[..., Any] = config_of
    train: Callable[..., list[dict[str, float]]] = train
    terms: Callable[..., set[str]] = minimised
    classes: Callable[[], dict[str, type[Method]]] = method_classes


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()


@pytest.fixture(autouse=True)
def _one_thread_and_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


# Rows that refuse a kind of data, and a word of the reason.
REFUSALS = {("rwae:weak", "audio"): "number of actions", ("mocogan:labels", "audio"): "motion classes"}


def combinations() -> list[tuple[str, str]]:
    """Every row on 32x32 video and on audio, every plain method on 64x64 video too, less the refusals."""
    return [
        (row, data)
        for row in rows()
        for data in SHAPES
        if (row, data) not in REFUSALS and (data != "video64" or ":" not in row)
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that name `each_row` run on every method and variant; those that also name `each_data`, on data too."""
    if "each_data" in metafunc.fixturenames:
        metafunc.parametrize(("each_row", "each_data"), combinations())
    elif "each_row" in metafunc.fixturenames:
        metafunc.parametrize("each_row", rows())
    if "refusal" in metafunc.fixturenames:
        metafunc.parametrize("refusal", [(*where, reason) for where, reason in REFUSALS.items()])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints the numbers that the contract reports and does not require."""
    lines = [
        f"  {name}: {value:.3f}"
        for report in terminalreporter.stats.get("passed", ())
        for name, value in report.user_properties
        if name.startswith("static change of")
    ]
    if lines:
        terminalreporter.section("Change of the static code under frame shuffles, small nets after ten steps (0: none)")
        terminalreporter.write_line("\n".join(lines))
