"""A judge against its contract: its card, its heads, its answers."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from seqdis.bench.cell.check.findings import Check, Failure, Finding, Skipped, checks_of, examined, require
from seqdis.bench.core.errors import UserError
from seqdis.bench.plan import catalog
from seqdis.datasets.base import DataSet, Source, Spec
from seqdis.judges.cards import Card, read_card, shipped_folder, train_command, trained_folder
from seqdis.judges.judge import Judge, load_card
from seqdis.judges.subjects import examined_clips
from seqdis.judges.training import accuracies

PAGE = "docs/judges.md"
CLIPS = 256
"""Held-out clips that the accuracy is measured on again."""

TOLERANCE = 0.002


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A judge's card and where it lies; `root` is the folder of prepared data."""

    path: Path
    root: Path

    @property
    def where(self) -> str:
        return self.path.stem

    @property
    def files(self) -> tuple[str, ...]:
        return ()

    @functools.cached_property
    def card(self) -> Card:
        return read_card(self.path, "bench judge train NAME --again")

    @property
    def kind(self) -> type[DataSet]:
        return catalog.load_dataset(self.card.dataset)

    @property
    def source(self) -> Source:
        return cast("Source", self.card.source)

    @functools.cached_property
    def spec(self) -> Spec:
        """What the data of the card are now."""
        card = self.card
        return self.kind.describe(self.source, card.size, **card.options)

    @functools.cached_property
    def judge(self) -> Judge:
        return load_card(self.path, self.card, self.card.command)

    @functools.cached_property
    def dataset(self) -> DataSet | None:
        """The prepared data, if they are there."""
        card = self.card
        try:
            return self.kind.open(self.root, self.source, card.size, **card.options)
        except UserError:
            return None

    def clips(self, n: int) -> Tensor:
        """Held-out clips, or random ones where no data are prepared: (n, T, C, H, W) or (n, T, F)."""
        if self.dataset is not None:
            return self.dataset.test.clips(torch.arange(n))
        shape = (n, self.card.n_frames, *self.card.frame)
        return torch.rand(shape, generator=torch.Generator().manual_seed(0))


CHECKS: list[Check[Candidate]] = []
check = checks_of(PAGE, CHECKS)


def find_judge(name: str, root: Path) -> Path | None:
    """The card that a name (`sprites-real-64`), its file or its weights' file stands for; None if there is none."""
    path = Path(name)
    if path.suffix == ".json":
        return path if path.is_file() else None
    if path.suffix == ".safetensors":
        cards = sorted(path.parent.glob("*.json"))
        return next((card for card in cards if read_card(card, "bench judge train").weights == path.name), None)
    found = (folder / f"{name}.json" for folder in (shipped_folder(), trained_folder(root)))
    return next((card for card in found if card.is_file()), None)


def judge_names(root: Path) -> list[str]:
    """The judges at hand, shipped or trained."""
    return [path.stem for folder in (shipped_folder(), trained_folder(root)) for path in sorted(folder.glob("*.json"))]


def check_judge(candidate: Candidate) -> Iterator[Finding]:
    """Every check of the contract, one finding at a time; none after the first if the judge does not load."""
    loading, *others = CHECKS
    (loaded,) = examined([loading], [candidate])
    yield loaded
    if loaded.state == "holds":
        yield from examined(others, [candidate])


@check("what-a-judge-must-do")
def its_weights_are_those_that_its_card_names(candidate: Candidate) -> None:
    """The weights have the SHA-256 of the card and fit the network that it describes.

    Records name the judge by it: scores of other weights would stand under its name.
    """
    try:
        judge = candidate.judge
    except UserError as error:
        raise Failure(str(error)) from error
    require(not judge.training, "it is in training mode")
    require(not any(p.requires_grad for p in judge.parameters()), "its parameters are not frozen")
    size = sum(p.numel() for p in judge.parameters())
    require(size == candidate.card.parameters, f"it has {size} parameters, the card says {candidate.card.parameters}")


@check("what-a-judge-must-do")
def its_heads_are_factors_of_the_data(candidate: Candidate) -> None:
    """Each head is a factor of the data set with its role and number of classes, and the revision is today's.

    A judge of an older revision may have seen the test clips of this one.
    """
    card, spec = candidate.card, candidate.spec
    require(
        card.data.revision == spec.revision,
        f"it was trained on revision {card.data.revision!r} of the data, which are {spec.revision!r} now: "
        f"{train_command(spec, candidate.root, card.judge)}",
    )
    require(tuple(card.frame) == spec.frame, f"it takes frames {tuple(card.frame)}, the data's are {spec.frame}")
    require(card.n_frames == spec.n_frames, f"it takes {card.n_frames} frames, the data have {spec.n_frames}")
    known = {factor.name: [factor.n_classes, factor.role] for factor in spec.factors}
    for name, said in card.factors.items():
        require(name in known, f"head {name} is no factor of {spec.name}")
        require(list(said) == known[name], f"head {name} has {said}, the factor has {known[name]}")
        require(name in card.accuracy, f"the card has no accuracy of head {name}")


@check("what-a-judge-must-do")
def it_answers_with_logits(candidate: Candidate) -> None:
    """Each head gives finite float32 logits (B, K).

    Entropies are computed from them; one that is not finite ends the cell.
    """
    x = candidate.clips(4)
    for name, logits in candidate.judge.classify(x).items():
        classes = candidate.judge.factors[name][0]
        require(tuple(logits.shape) == (4, classes), f"head {name} gives {tuple(logits.shape)}, not (4, {classes})")
        require(logits.dtype == torch.float32, f"head {name} gives {logits.dtype}, not float32")
        require(torch.isfinite(logits).all(), f"head {name} gives logits that are not finite")


@check("what-a-judge-must-do")
def its_answers_hang_on_the_clip_alone(candidate: Candidate) -> None:
    """The same clips get the same answers again, and each clip those that it gets alone.

    Scores would otherwise change with the batch size, and from one evaluation to the next.
    """
    x, judge = candidate.clips(6), candidate.judge
    together, again = judge.classify(x), judge.classify(x)
    alone = [judge.classify(x[i : i + 1]) for i in range(len(x))]
    for name, logits in together.items():
        require(torch.equal(logits, again[name]), f"head {name} answers otherwise when it is asked again")
        single = torch.cat([answer[name] for answer in alone])
        gap = (single - logits).abs().max().item()
        near = torch.allclose(single, logits, rtol=1e-3, atol=1e-3)
        require(near, f"head {name} answers otherwise to a clip alone than in a batch of {len(x)} (by up to {gap:.3g})")


@check("what-a-judge-must-do")
def its_accuracy_is_that_of_its_card(candidate: Candidate) -> str:
    """On a few held-out clips it is right as often as its card says.

    The card's accuracy is the ceiling of every score. `bench judge verify` measures it on all clips.
    """
    card, dataset = candidate.card, candidate.dataset
    if dataset is None:
        raise Skipped("the data are not prepared here")
    require(
        dataset.digest == card.data.digest,
        f"it was trained on other data of the same revision (digest {card.data.digest[:12]}, prepared is "
        f"{dataset.digest[:12]})",
    )
    clips = examined_clips(dataset.test, CLIPS)
    found, _ = accuracies(candidate.judge, clips, dataset.spec)
    for name, value in found.items():
        said = card.accuracy[name]
        chance = 4 * math.sqrt(said * (1 - said) / len(clips))
        near = abs(value - said) <= TOLERANCE + chance
        require(near, f"it is right on {value:.2%} of {name} and its card says {said:.2%}")
    return f"{len(clips)} clips: {', '.join(f'{name} {value:.1%}' for name, value in found.items())}"
