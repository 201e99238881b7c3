"""A toy data set with known factors, a judge of it, and exact methods whose codes hold what we choose."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from seqdis.datasets.base import DataSet, Factor, Joint, Spec, Split
from seqdis.judges.cards import trained_stem
from seqdis.judges.judge import Judge, save_judge
from seqdis.judges.settings import Architecture, Recipe
from seqdis.judges.training import fit_judge
from seqdis.methods.base import Latents, Method, Shape

torch.set_num_threads(1)

SIDE, FRAMES = 16, 6
COLOURS = torch.tensor([[1.0, 0.1, 0.1], [0.1, 1.0, 0.1], [0.1, 0.1, 1.0]]) * 0.9
SPEC = Spec(
    name="toy",
    title="Toy blocks",
    source="synthetic",
    modality="video",
    frame=(3, SIDE, SIDE),
    n_frames=FRAMES,
    factors=(
        Factor(name="motion", classes=("left", "still", "right"), role="dynamic"),
        Factor(name="colour", classes=("red", "green", "blue"), role="static"),
        Factor(name="row", classes=("top", "bottom"), role="static"),
    ),
    joints=(Joint(name="look", factors=("colour", "row")),),
    headline=("fix_dynamic", "motion"),
    split_rule="independent draws",
    revision="toy-1",
    licence="none",
    citation="none",
)


def render(track: Tensor, colour: Tensor, row: Tensor) -> Tensor:
    """Clips (B, T, 3, S, S): a 4x4 block at columns `track` (B, T), of a colour (B, 3), in a row (B,) in [0, 1]."""
    grid = torch.arange(SIDE)
    across = (grid >= track[..., None]) & (grid < track[..., None] + 4)
    top = (row * (SIDE - 6)).round() + 1
    down = (grid >= top[:, None]) & (grid < top[:, None] + 4)
    mask = across[:, :, None, :] & down[:, None, :, None]
    return mask[:, :, None].float() * colour[:, None, :, None, None]


def draw_split(n: int, seed: int) -> Split:
    """Independent factors; the start column is free, so that one frame does not tell the motion."""
    generator = torch.Generator().manual_seed(seed)
    labels = {f.name: torch.randint(f.n_classes, (n,), generator=generator) for f in SPEC.factors}
    start = torch.randint(3, 9, (n, 1), generator=generator)
    track = (start + (labels["motion"] - 1)[:, None] * (torch.arange(FRAMES) - FRAMES // 2)).clamp(0, SIDE - 4)
    x = render(track, COLOURS[labels["colour"]], labels["row"].float())
    return Split((x * 256).to(torch.uint8), labels, torch.arange(n))


class Toy(DataSet):
    """The toy data set, made in memory."""

    name = "toy"

    def __init__(self, spec: Spec = SPEC, n_test: int = 300) -> None:
        self.spec = spec
        self.train, self.validation, self.test = draw_split(600, 0), draw_split(120, 1), draw_split(n_test, 2)


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    """Nothing to configure."""


class Exact(Method):
    """A lossless autoencoder with no weights to train: `split` says which of its two codes holds what.

    Priors are the aggregate posterior: codes of random training clips.
    """

    title: ClassVar[str] = "Exact"
    paper: ClassVar[str] = "none"
    Config: ClassVar[type[Any]] = ToyConfig

    def __init__(self, bank: Tensor, split: Callable[[Tensor], Latents], join: Callable[[Latents], Tensor]) -> None:
        super().__init__(ToyConfig(), Shape(frame=SPEC.frame, n_frames=FRAMES, n_train=len(bank)))
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.split, self.join = split, join
        self.bank = split(bank)

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Latents:
        return self.split(x)

    def decode(self, latents: Latents) -> Tensor:
        return self.join(latents)

    def sample_static(self, n: int, generator: torch.Generator) -> Tensor:
        return self.bank.static[torch.randint(len(self.bank.static), (n,), generator=generator)]

    def sample_dynamic(self, n: int, n_frames: int, generator: torch.Generator, *, means: bool = False) -> Tensor:
        return self.bank.dynamic[torch.randint(len(self.bank.dynamic), (n,), generator=generator)]


def _true_factors(x: Tensor) -> Latents:
    """Colour and row of the first frame, and the column of each frame, measured in the pixels."""
    lit = x.amax(2)
    track = lit.amax(2).argmax(2)
    row = (lit.amax(3)[:, 0].argmax(1) - 1) / (SIDE - 6)
    colour = x[:, 0].flatten(2).amax(2)
    return Latents(static=torch.cat([colour, row[:, None]], 1), dynamic=track[..., None].float())


METHODS: dict[str, tuple[Callable[[Tensor], Latents], Callable[[Latents], Tensor]]] = {
    "perfect": (_true_factors, lambda c: render(c.dynamic[..., 0].long(), c.static[:, :3], c.static[:, 3])),
    "all-in-z": (
        lambda x: Latents(static=x.new_zeros(len(x), 2), dynamic=x.flatten(2)),
        lambda c: c.dynamic.unflatten(2, SPEC.frame),
    ),
    "all-in-s": (
        lambda x: Latents(static=x.flatten(1), dynamic=x.new_zeros(len(x), FRAMES, 1)),
        lambda c: c.static.unflatten(1, (FRAMES, *SPEC.frame)),
    ),
}


@pytest.fixture(scope="session")
def toy() -> Toy:
    return Toy()


@pytest.fixture
def other_spec() -> Callable[..., Spec]:
    """The toy's spec with something else in it."""
    return lambda **changes: dataclasses.replace(SPEC, **changes)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe(steps=300, check_every=50, good_checks=2)


@pytest.fixture(scope="session")
def narrow() -> Architecture:
    return Architecture(width=8, max_width=16, embedding=24, hidden=16)


@pytest.fixture(scope="session")
def judge(toy: Toy, recipe: Recipe, narrow: Architecture) -> Judge:
    return fit_judge(toy, recipe=recipe, architecture=narrow)


@pytest.fixture(scope="session")
def exact(toy: Toy) -> Callable[[str], Exact]:
    """Makes an exact method by name: perfect, all-in-z or all-in-s."""
    bank = toy.train.clips(torch.arange(400))
    return lambda name: Exact(bank, *METHODS[name])


@pytest.fixture
def root(tmp_path: Path, toy: DataSet, judge: Judge) -> Path:
    """A data root that holds the toy's judge."""
    save_judge(judge, tmp_path / "judges", trained_stem(toy.spec))
    return tmp_path


@pytest.fixture
def weights(root: Path) -> Path:
    """The toy judge's weights."""
    (path,) = (root / "judges").glob("*.safetensors")
    return path
