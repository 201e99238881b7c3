"""How far a cell has come: what it writes into its folder, and what others read there. No torch here."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from seqdis.bench.core.environment import number
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import read_json, write_json
from seqdis.bench.core.rules import MOST_COUNTED
from seqdis.bench.records.store import PROGRESS


@dataclasses.dataclass(frozen=True)
class Update:
    """What a cell is at: `data`, `train`, `judge`, `done` or `failed`."""

    phase: str


@dataclasses.dataclass(frozen=True)
class TrainingUpdate(Update):
    """How far training has come: `seconds` of it so far, and what is left of them at this rate.

    `loss` and `recon` are the last player's, None where it has no term of that name. `warning` says in a few words what goes
    wrong, see `alarms`.
    """

    step: int
    steps: int
    epoch: int
    loss: float | None
    recon: float | None
    seconds: float
    sequences_per_second: float
    seconds_left: float
    warning: str = ""


@dataclasses.dataclass(frozen=True)
class FailureUpdate(Update):
    """Why the cell failed."""

    reason: str


Report = Callable[[Update], None]


class ProgressFile:
    """progress.json of a cell, rewritten at most every `interval` seconds (30 on a shared file system)."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / PROGRESS
        self.interval = number("SEQDIS_PROGRESS_SECONDS", 1, 0, 86_400)
        self.last = -1e9
        self.phase = ""

    def __call__(self, update: Update) -> None:
        if update.phase == self.phase and time.monotonic() - self.last < self.interval:
            return
        self.last, self.phase = time.monotonic(), update.phase
        place = {"updated": time.time(), "pid": os.getpid(), "host": platform.node()}
        write_json(self.path, {**dataclasses.asdict(update), **place})


@dataclasses.dataclass(frozen=True)
class Progress:
    """A cell's progress.json, as far as it is read.

    Attributes:
        phase: as in `Update`; empty before it said anything.
        epoch: from 0.
        step, steps: optimiser steps done, and in all.
        loss: of the last logged step.
        seconds: of training so far.
        sequences_per_second: since it began to train.
        seconds_left: of training.
        warning: what goes wrong in it, in a few words.
    """

    phase: str = ""
    epoch: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    seconds: float = 0.0
    sequences_per_second: float = 0.0
    seconds_left: float | None = None
    warning: str = ""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Progress:
        """What one of another version does not have, or has as null or as another type, is the default."""
        found: dict[str, Any] = {
            field.name: stored.get(field.name) for field in dataclasses.fields(cls) if _fits(field, stored)
        }
        return cls(**found)


def _fits(field: dataclasses.Field[Any], stored: Mapping[str, Any]) -> bool:
    """Whether a value is of its field's type, and a number that can be shown."""
    value = stored.get(field.name)
    if field.type == "str":
        return isinstance(value, str)
    kinds = int if field.type == "int" else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and abs(value) < MOST_COUNTED


def read_progress(folder: Path, since: float = 0.0) -> Progress:
    """What the cell in `folder` last said; the default if it said nothing, or only before `since` (seconds)."""
    path = folder / PROGRESS
    try:
        if path.stat().st_mtime >= since:
            return Progress.from_json(read_json(path))
    except (UserError, OSError, AttributeError):
        pass
    return Progress()
