"""What a command asks of a launcher: how and where cells are to run, whatever words that was typed in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from seqdis.bench.core.places import data_root
from seqdis.bench.records.config import RunConfig

Place = Literal["local", "slurm"]
Setting = str | int
"""The value of a setting of a job, as it is typed or stands in a profile."""


class Planned(Protocol):
    """A cell that is to run: its id, its name for people and its resolved config."""

    @property
    def id(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def config(self) -> RunConfig: ...


@dataclasses.dataclass(frozen=True)
class JobWishes:
    """What the user says of SLURM jobs. What is None or empty was not said.

    Attributes:
        profile: a table of the profile file, or another file.
        needs: settings of `slurm.profile.Needs` by name.
        max_jobs: at most so many jobs run at the same time; 0 is no bound.
        setup: shell lines that each job runs first, after those of the profile.
        hold: submit everything held.
    """

    profile: str | None = None
    needs: Mapping[str, Setting] = dataclasses.field(default_factory=dict)
    max_jobs: int | None = None
    setup: tuple[str, ...] = ()
    hold: bool = False


@dataclasses.dataclass(frozen=True)
class Request:
    """How and where cells are to run.

    Attributes:
        out: the output folder.
        data_dir: prepared data; None is the usual folder, see `root`.
        device: auto, cpu, cuda or cuda:N.
        launcher: where; auto is SLURM where it answers.
        workers: cells at once on this machine; None is `per_device` a GPU, else as the cores have threads.
        threads: CPU threads of each cell; None is OMP_NUM_THREADS, else one.
        per_device: cells side by side on each GPU, where `workers` does not say.
        budget: seconds in which a run on this machine is to end; None sets no end.
        jobs: what is said of SLURM jobs.
    """

    out: Path
    data_dir: Path | None = None
    device: str = "auto"
    launcher: Place | Literal["auto"] = "auto"
    workers: int | None = None
    threads: int | None = None
    per_device: int = 1
    budget: float | None = None
    jobs: JobWishes = dataclasses.field(default_factory=JobWishes)

    @property
    def root(self) -> Path:
        """The folder of prepared data."""
        return self.data_dir or data_root()
