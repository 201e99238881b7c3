"""What a running cell last said of itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import read_json
from seqdis.bench.records.store import PROGRESS


@dataclasses.dataclass(frozen=True)
class Progress:
    """A cell's progress.json, as far as it is shown.

    Attributes:
        phase: what it does: data, judge, train, evaluate, ...; empty before it said anything.
        epoch: from 0.
        step, steps: optimiser steps done, and in all.
        loss: of the last logged step.
        sequences_per_second: since it began to train.
        seconds_left: of training.
    """

    phase: str = ""
    epoch: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    sequences_per_second: float = 0.0
    seconds_left: float | None = None

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Progress:
        """What one of another version does not have, or has as null, is the default."""
        names = (field.name for field in dataclasses.fields(cls))
        return cls(**{name: stored[name] for name in names if stored.get(name) is not None})


def read_progress(folder: Path, since: float = 0.0) -> Progress:
    """What the cell in `folder` last said; the default if it said nothing, or only before `since` (seconds)."""
    path = folder / PROGRESS
    try:
        if path.stat().st_mtime >= since:
            return Progress.from_json(read_json(path))
    except (UserError, OSError, AttributeError):
        pass
    return Progress()
