"""Where every cell stands, from its folder and the queue. Reads only; keeps nothing.

    done       its record is there
    running    a process beats on its lease
    queued     its job waits for its turn, or has not come to it yet
    held       its job waits for a person (held, launch failed, a dependency that never comes true)
    waiting    its job waits for data or a judge, or had to leave because they were missing
    failed     it failed; `bench retry` runs it again
    cancelled  the user cancelled it; `bench run` submits it again
    lost       it was started or submitted, and neither a process nor a job works on it any more
    missing    it was planned and never started
    unknown    it was submitted, and SLURM does not answer; or its folder cannot be read

The scheduler only adds what it knows: when it does not answer, nothing is called lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from seqdis.bench.cell.progress import Progress, read_progress
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import read_json
from seqdis.bench.core.lease import LEASE, MISSED_BEATS, Holder, is_gone, read_attempts, read_lease
from seqdis.bench.core.rules import printable
from seqdis.bench.core.times import duration
from seqdis.bench.launch.logs import LONGEST_REASON, last_line
from seqdis.bench.launch.slurm import submissions
from seqdis.bench.launch.slurm.scheduler import RUNNING, Job, SchedulerUnknown, queue
from seqdis.bench.launch.slurm.submissions import Submission
from seqdis.bench.records.record import RECORD
from seqdis.bench.records.store import CHECKPOINT, ERROR, LOG, Store

State = Literal["done", "running", "queued", "held", "waiting", "failed", "cancelled", "lost", "missing", "unknown"]
STATES: tuple[State, ...] = get_args(State)
BEAT_SLACK = 5.0  # seconds: a beat that is late by a shared file system's cache


@dataclasses.dataclass
class CellState:
    """Where one cell stands.

    Attributes:
        detail: one line for people: epoch and time left, the queue's reason, or the error's last lines.
        beat_age: seconds since the heartbeat, for running cells.
    """

    id: str
    state: State
    detail: str = ""
    host: str = ""
    job: str = ""
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    beat_age: float | None = None
    phase: str = ""


@dataclasses.dataclass
class Survey:
    """All cells of an output folder."""

    cells: list[CellState]
    scheduler: str  # "ok", "none" (nothing was ever submitted), or why it did not answer
    commands: list[tuple[str, str]]  # title and state of live helper jobs

    @property
    def counts(self) -> dict[State, int]:
        """How many cells are in each state, states without any left out."""
        found = Counter(cell.state for cell in self.cells)
        return {state: found[state] for state in STATES if found[state]}

    @property
    def is_complete(self) -> bool:
        return all(cell.state == "done" for cell in self.cells)

    def to_json(self) -> dict[str, Any]:
        return {
            "counts": self.counts,
            "total": len(self.cells),
            "scheduler": self.scheduler,
            "helpers": [{"title": title, "state": state} for title, state in self.commands],
            "cells": [dataclasses.asdict(cell) for cell in self.cells],
        }


def survey(store: Store, *, only: Iterable[str] | None = None) -> Survey:
    """Looks at all cells (or those in `only`): a look into each folder, and one call of squeue.

    Raises:
        UserError: nothing was ever planned there.
    """
    ids = sorted(store.ids()) if only is None else list(only)
    if not ids and not os.path.isdir(store.cells):
        raise UserError(
            f"{store.out} holds no cells; start with: bench run --methods all --datasets sprites,mug --out {store.out}"
        )
    known = submissions.load_all(store.out)
    jobs, scheduler = _ask(known)
    look = _Look(store, known, jobs, scheduler)
    return Survey([look.at(cell) for cell in ids], scheduler, _helpers(known, jobs))


def match(store: Store, pattern: str) -> list[str]:
    """The ids of cells that start with or contain `pattern` (all, if it is empty).

    Raises:
        UserError: none does.
    """
    ids = sorted(store.ids())
    if pattern in ids:
        return [pattern]
    found = (
        [cell for cell in ids if cell.startswith(pattern)]
        or [cell for cell in ids if f"-{pattern}-" in f"-{cell}-"]  # dsvae is not cdsvae
        or [cell for cell in ids if pattern in cell]
    )
    if not found:
        raise UserError(f"no cell of {store.out} is called {pattern!r}; see: bench status --all --out {store.out}")
    return found


def _ask(known: Sequence[Submission]) -> tuple[list[Job], str]:
    if not known:
        return [], "none"
    try:
        return queue(submissions.PREFIX), "ok"
    except SchedulerUnknown as error:
        return [], str(error)


def _helpers(known: Sequence[Submission], jobs: Sequence[Job]) -> list[tuple[str, str]]:
    titles = {one.name: one.manifest.title for one in known if not one.is_cells}
    return [
        (titles[job.name], f"{job.state.lower()}{_because(job)}") for job in jobs if job.is_live and job.name in titles
    ]


def _because(job: Job) -> str:
    return f" ({job.reason})" if job.reason not in ("None", "") and job.state == "PENDING" else ""


class _Look:
    """One look at all cells, with what is read once."""

    def __init__(self, store: Store, known: Sequence[Submission], jobs: Sequence[Job], scheduler: str) -> None:
        self.store, self.scheduler = store, scheduler
        self.jobs = submissions.jobs_by_cell(known, jobs)
        self.last: dict[str, Submission] = {}
        for submission in known:
            for task in submission.manifest.tasks:
                self.last.update(dict.fromkeys(task, submission))
        self.cancelled = {one.id: one.cancelled() for one in known if one.is_cells}
        self.by_id = {one.id: one for one in known}
        self.now = shared_now(store.out)

    def at(self, cell: str) -> CellState:
        try:
            return self._at(cell)
        except OSError as error:
            return CellState(cell, "unknown", f"its folder cannot be read ({error.strerror})")

    def _at(self, cell: str) -> CellState:
        folder = self.store.folder(cell)
        try:
            names = {entry.name for entry in os.scandir(folder)}
        except FileNotFoundError:
            names = set()
        if RECORD in names:
            return CellState(cell, "done")
        job, index = self._job(cell)
        found = self._running(cell, folder, job) if LEASE in names else None
        found = found or self._queued(cell, job) or self._idle(cell, folder, names)
        if job is not None and not found.job:
            found.job = f"{job.job_id}_{index}"
        return found

    def _job(self, cell: str) -> tuple[Job | None, int]:
        found = self.jobs.get(cell, [])
        live = [(job, index) for job, index in found if job.is_live]
        return max(live, key=lambda one: one[0].state in RUNNING) if live else (None, 0)

    def _running(self, cell: str, folder: Path, job: Job | None) -> CellState | None:
        seen = read_lease(folder)
        if seen is None:
            return None
        holder, beat = seen
        age = max(0.0, self.now - beat / 1e9)
        silent = age > MISSED_BEATS * float(holder.get("interval") or 10) + BEAT_SLACK
        if _certainly_gone(holder) or (silent and (job is None or job.state != "RUNNING")):
            return None
        progress = read_progress(folder)
        state = CellState(
            cell,
            "running",
            host=str(holder.get("host", "")),
            job=str(holder.get("job", "")),
            step=progress.step,
            steps=progress.steps,
            seconds_left=progress.seconds_left,
            beat_age=age,
            phase=progress.phase or "starting",
        )
        state.detail = _progress_text(state, progress) + (f"; no heartbeat for {age:.0f} s" if silent else "")
        return state

    def _queued(self, cell: str, job: Job | None) -> CellState | None:
        if job is None:
            return None
        if job.is_held:
            return CellState(cell, "held", f"{job.reason}; {_release_hint(job)}")
        if "Dependency" in job.reason and job.state == "PENDING":
            return CellState(cell, "waiting", f"for {self._prerequisites(cell)}")
        if job.state in RUNNING:
            return CellState(cell, "queued", f"its job is {job.state.lower()} on {job.nodes}", host=job.nodes)
        return CellState(cell, "queued", job.reason if job.reason != "None" else job.state.lower())

    def _prerequisites(self, cell: str) -> str:
        names = self.last[cell].manifest.prerequisites if cell in self.last else ()
        titles = [self.by_id[name].manifest.title if name in self.by_id else name for name in names]
        return ", ".join(titles) or "an earlier array"

    def _idle(self, cell: str, folder: Path, names: set[str]) -> CellState:
        """Nothing works on it, as far as is known."""
        if ERROR in names:
            return CellState(cell, "failed", error_text(folder))
        submission = self.last.get(cell)
        if submission is not None and self.scheduler not in ("ok", "none"):
            return CellState(cell, "unknown", self.scheduler)
        if submission is not None and cell in self.cancelled.get(submission.id, ()):
            return CellState(cell, "cancelled", "state saved" if CHECKPOINT in names else "")
        blocked = self._blocked(submission)
        if blocked:
            return CellState(cell, "waiting", blocked)
        if LEASE in names or LOG in names:
            attempts = read_attempts(folder)
            if attempts and attempts[-1].get("waiting"):
                return CellState(cell, "waiting", last_line(folder / LOG))
            return CellState(cell, "lost", self._ending(cell) + (", state saved" if CHECKPOINT in names else ""))
        outcome = submission.outcome() if submission is not None else None
        if submission is None or (outcome is not None and outcome.state != "submitted"):
            return CellState(cell, "missing")
        return CellState(cell, "lost", self._ending(cell))

    def _blocked(self, submission: Submission | None) -> str:
        for name in submission.manifest.prerequisites if submission is not None else ():
            if name in self.by_id and (reason := self.by_id[name].error()):
                return f"{reason}; put it right and run the same line again"
        return ""

    def _ending(self, cell: str) -> str:
        ended = [job.state.lower().replace("_", " ") for job, _ in self.jobs.get(cell, [])]
        return f"its job ended: {ended[-1]}" if ended else "no process or job works on it"


def _certainly_gone(holder: Holder) -> bool:
    # `is_gone` also asks whether this very process is a later start of the holder's job; a person's shell is not.
    return is_gone(holder)


def _release_hint(job: Job) -> str:
    if "DependencyNeverSatisfied" in job.reason:
        return "cancel it and run the same line again"
    return f"scontrol release {job.job_id}"


def _progress_text(state: CellState, progress: Progress) -> str:
    if not state.steps:
        return state.phase
    text = f"{state.phase}, epoch {progress.epoch + 1}, step {state.step} of {state.steps}"
    text += f", {duration(state.seconds_left)} left" if state.seconds_left is not None else ""
    return text + (f"; warning: {printable(progress.warning)[:LONGEST_REASON]}" if progress.warning else "")


def error_text(folder: Path) -> str:
    """Why a cell failed, in one line."""
    reason = ""
    with contextlib.suppress(UserError, AttributeError):
        reason = str(read_json(folder / ERROR).get("reason") or "").strip()
    return printable(reason.splitlines()[-1])[:LONGEST_REASON] if reason else "no reason was written; see its log"


def shared_now(out: Path) -> float:
    """The time by the clock of the file system that holds `out`: heartbeats are measured by it."""
    with contextlib.suppress(OSError), tempfile.NamedTemporaryFile(prefix=".clock.", dir=out) as file:
        return os.fstat(file.fileno()).st_mtime
    return time.time()
