"""What a search of settings leaves (`bench tune`), typed: the study, its trials, and how far each has come. No torch.

<out>/tuning/<study>/study.json                 what is searched and how, what each trial drew and how it scored
                     cells/<cell id>/           a trial: a cell's folder (see `store`), and beside its files
                                     trial.json     that it is one, and the step that it is to train to
                                     standing.json  its validation at each rung that it has reached

A trial is scored on validation clips only. Those that trained to the end have a record, which says that it is a trial's.
"""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from seqdis.bench.core import schema
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import read_json, write_json
from seqdis.bench.core.rules import LONGEST_TEXT, Length, Range, Text
from seqdis.bench.core.schema import OPTIONAL, Open
from seqdis.bench.records.config import Name, Settings, Source, Variant
from seqdis.judges.settings import Count, Positive

T = TypeVar("T")
STUDY, TRIAL, STANDING = "study.json", "trial.json", "standing.json"

Share = Annotated[float, Range(0, 1)]
Rungs = Annotated[
    tuple[Positive, ...], Length(1, 20), "steps at which trials are compared, the last is the whole length"
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning(Open):
    """Of which search a record is a trial. It is scored on validation clips only and stands in no table."""

    study: Annotated[str, Text(200, empty=False)]
    trial: Annotated[Count, "its number; 0 has the settings as they were before the search"]
    stage: Annotated[Literal["search", "final"], "final: a further seed of one of the best"]
    rungs: Rungs
    sampler: Annotated[str, Text(100), "what drew its settings"]
    seed: Annotated[Count, "of the sampler"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assignment:
    """What trial.json holds: that the cell is a trial, and how far it is to train now."""

    tuning: Tuning
    until: Annotated[Positive, "step that it is to train to"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rung:
    """A trial at a rung: the best validation so far, by whose score trials are compared."""

    step: Positive
    score: Share
    validation: Annotated[Settings, "{step, score, ...} of that validation"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """What standing.json holds: a trial's rungs, and why it will reach no further one."""

    rungs: Annotated[tuple[Rung, ...], Length(0, 20)] = ()
    reason: Annotated[str | None, OPTIONAL, Text(LONGEST_TEXT, lines=True), "its settings cannot be trained"] = None

    def at(self, step: int) -> Rung | None:
        """The rung at a step; None if it was not reached."""
        return next((rung for rung in self.rungs if rung.step == step), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Final:
    """A further seed of one of the best trials, trained to the end."""

    seed: Count
    cell: Annotated[str, Text(200)]
    standing: Standing = Standing()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial of a study."""

    number: Count
    cell: Annotated[str, Text(200)]
    settings: Annotated[Settings, "what it changes, by key"]
    places: Annotated[dict[str, Any], "what the sampler drew, by key; {} where nothing was drawn"]
    standing: Standing = Standing()
    finals: Annotated[tuple[Final, ...], Length(0, 1000)] = ()

    def score(self, step: int) -> float:
        """Its score at a rung; 0, below all others, where its settings cannot be trained."""
        rung = self.standing.at(step)
        return 0.0 if rung is None else rung.score

    def final_scores(self, step: int) -> list[float]:
        """The scores of its further seeds that have trained to `step`; 0 for one that failed on the way."""
        ended = (final.standing for final in self.finals if final.standing.at(step) or final.standing.reason)
        return [rung.score if (rung := standing.at(step)) else 0.0 for standing in ended]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is searched, and how: a study goes on only under the very same."""

    method: Name
    variant: Variant
    dataset: Name
    source: Source
    preset: Name
    title: Annotated[str, Text(100), "the method's name in tables"]
    plugin_digest: Annotated[str, Text(128), "SHA-256 of a method's files outside of the suite; empty for its own"]
    base: Annotated[str, Text(200), "cell of the settings as they were before the search"]
    space: Annotated[Settings, "values or range by setting"]
    start: Annotated[Settings, "the values that were there before the search, by setting"]
    fixed: Annotated[Settings, "settings of every trial, by key"]
    rungs: Rungs
    trials: Positive
    keep: Annotated[float, Range(0, 1), "share of the trials of a rung that goes on to the next"]
    finalists: Count
    seeds: Annotated[Count, "further seeds of each finalist"]
    sampler: Annotated[str, Text(100)]
    seed: Annotated[Count, "of the sampler"]

    @property
    def steps(self) -> int:
        """The whole length of a training."""
        return self.rungs[-1]

    def counts(self) -> list[int]:
        """Trials that train to each rung."""
        counts = [self.trials]
        for _ in self.rungs[1:]:
            counts.append(min(counts[-1], max(round(counts[-1] * self.keep), self.finalists, 1)))
        return counts

    def total_steps(self) -> int:
        """Optimiser steps of the whole study: what it costs, if a step of every trial costs the same."""
        lengths = (rung - before for before, rung in zip((0, *self.rungs), self.rungs, strict=False))
        searched = sum(count * length for count, length in zip(self.counts(), lengths, strict=True))
        return searched + (min(self.finalists, self.trials) + 1) * self.seeds * self.steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """What study.json holds."""

    schema: Literal[1] = 1
    name: Annotated[str, Text(200, empty=False)]
    plan: Plan
    trials: Annotated[tuple[Trial, ...], Length(0, 10_000)] = ()

    def at(self, rung: int) -> list[Trial]:
        """The trials that train to a rung (its position), best of the one before first; [] while that is not decided."""
        if rung == 0:
            return list(self.trials)
        before, step = self.at(rung - 1), self.plan.rungs[rung - 1]
        counts = self.plan.counts()
        if len(before) < counts[rung - 1] or any(not has_ended(trial.standing, step) for trial in before):
            return []
        return ranked(before, step)[: counts[rung]]

    def finalists(self) -> list[Trial]:
        """The best trials at the whole length, best first, then the first trial; [] while that is not decided."""
        last = self.at(len(self.plan.rungs) - 1)
        if not last or any(not has_ended(trial.standing, self.plan.steps) for trial in last):
            return []
        best = [trial for trial in ranked(last, self.plan.steps) if trial.standing.reason is None]
        best = best[: self.plan.finalists]
        return best if any(trial.number == 0 for trial in best) else [*best, self.trials[0]]

    def chosen(self) -> list[Trial]:
        """The finalists by the mean over their further seeds, best first; [] while some have not ended."""
        found = self.finalists()
        if not found or any(len(trial.final_scores(self.plan.steps)) < self.plan.seeds for trial in found):
            return []
        if not self.plan.seeds:
            return ranked(found, self.plan.steps)
        return sorted(found, key=lambda trial: (-statistics.fmean(trial.final_scores(self.plan.steps)), trial.number))


def has_ended(standing: Standing, step: int) -> bool:
    """Whether a trial has reached a rung, or will reach no further one."""
    return standing.reason is not None or standing.at(step) is not None


def ranked(trials: list[Trial], step: int) -> list[Trial]:
    """Trials by their score at a rung, best first, earlier ones before later ones of the same."""
    return sorted(trials, key=lambda trial: (-trial.score(step), trial.number))


def read_assignment(folder: Path) -> Assignment | None:
    """What a cell's folder says of the trial that it is; None of a cell that is none.

    Raises:
        UserError: its file is damaged.
    """
    return _read(Assignment, folder / TRIAL) if (folder / TRIAL).exists() else None


def read_standing(folder: Path) -> Standing:
    """How far a trial has come.

    Raises:
        UserError: its file is damaged.
    """
    return _read(Standing, folder / STANDING) if (folder / STANDING).exists() else Standing()


def read_study(folder: Path) -> Study | None:
    """The study in a folder; None if there is none.

    Raises:
        UserError: its file is damaged, or of another version.
    """
    return _read(Study, folder / STUDY) if (folder / STUDY).exists() else None


def write(path: Path, value: Assignment | Standing | Study) -> None:
    """Writes one of these files, whole or not at all."""
    write_json(path, schema.to_json(value))


def _read(kind: type[T], path: Path) -> T:
    try:
        return schema.from_json(kind, read_json(path))
    except ValueError as error:
        raise UserError(f"{path} cannot be used ({error}): remove it and type the line that made it again.") from None
