"""How far a cell has come, as its folder tells it to whoever looks."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

from seqdis.bench.core.files import write_json
from seqdis.bench.records.store import PROGRESS


@dataclasses.dataclass(frozen=True)
class Update:
    """What a cell is at: `data`, `train`, `judge`, `done` or `failed`."""

    phase: str


@dataclasses.dataclass(frozen=True)
class TrainingUpdate(Update):
    """How far training has come: `seconds` of it so far, and what is left of them at this rate.

    `loss` and `recon` are the last player's, None where it has no term of that name.
    """

    step: int
    steps: int
    epoch: int
    loss: float | None
    recon: float | None
    seconds: float
    sequences_per_second: float
    seconds_left: float


@dataclasses.dataclass(frozen=True)
class FailureUpdate(Update):
    """Why the cell failed."""

    reason: str


Report = Callable[[Update], None]


class ProgressFile:
    """progress.json of a cell, rewritten at most every `interval` seconds (30 on a shared file system)."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / PROGRESS
        self.interval = float(os.environ.get("SEQDIS_PROGRESS_SECONDS", "1"))
        self.last = -1e9
        self.phase = ""

    def __call__(self, update: Update) -> None:
        if update.phase == self.phase and time.monotonic() - self.last < self.interval:
            return
        self.last, self.phase = time.monotonic(), update.phase
        place = {"updated": time.time(), "pid": os.getpid(), "host": platform.node()}
        write_json(self.path, {**dataclasses.asdict(update), **place})
