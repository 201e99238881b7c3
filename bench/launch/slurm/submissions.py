"""What was handed to SLURM: one folder a submission, complete before sbatch is called.

    <out>/submissions/<utc>-<random>/manifest.json   what each task does; never changed
                                     outcome.json    what became of the sbatch call; absent = it may have happened
                                     cancelled.json  ids of cells that the user cancelled
                                     *_submission.sh the request, *_log.out what the tasks printed

A task finds its work in the manifest by its array index, so that no job needs the launcher after sbatch, and a job
is known by its name, which holds the submission's id: SLURM's own ids come again after a controller lost its state.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import publish, read_json, write_json
from seqdis.bench.launch.slurm.scheduler import Job

PREFIX = "bench-"
MANIFEST, OUTCOME, CANCELLED = "manifest.json", "outcome.json", "cancelled.json"
CELLS, COMMAND = "cells", "command"


@dataclasses.dataclass(frozen=True)
class Submission:
    """One sbatch call: an array of cells, or a single command."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def name(self) -> str:
        """The job's name."""
        return PREFIX + self.id

    @property
    def is_cells(self) -> bool:
        return bool(self.manifest["kind"] == CELLS)

    @property
    def tasks(self) -> list[list[str]]:
        """Cell ids by array index (for a command: none)."""
        tasks: list[list[str]] = self.manifest.get("tasks", [])
        return tasks

    def outcome(self) -> dict[str, Any] | None:
        """What became of the sbatch call: {"state": "submitted", "job_id"}, "refused" or "abandoned"; None: unknown."""
        with contextlib.suppress(UserError):
            found: dict[str, Any] = read_json(self.folder / OUTCOME)
            return found
        return None

    def settle(self, state: str, **more: Any) -> dict[str, Any]:
        """Writes the outcome once. Returns the one that stands."""
        outcome = {"state": state, "when": utc_now(), **more}
        text = canonical(outcome)
        return outcome if publish(self.folder / OUTCOME, text) else (self.outcome() or outcome)

    def cancelled(self) -> set[str]:
        """The cells of it that the user cancelled."""
        with contextlib.suppress(UserError):
            return set(read_json(self.folder / CANCELLED))
        return set()

    def cancel(self, cells: Iterable[str]) -> None:
        write_json(self.folder / CANCELLED, sorted(self.cancelled() | set(cells)))

    def error(self) -> str:
        """The last line of why a command failed; empty if it did not."""
        with contextlib.suppress(UserError):
            return str(read_json(self.folder / "error.json").get("reason", ""))
        return ""


def canonical(value: Any) -> bytes:
    import json

    return (json.dumps(value, indent=1) + "\n").encode()


def utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def new_id() -> str:
    """An id that sorts by time and is never given twice."""
    # Milliseconds: arrays of one launch follow each other within a second.
    return datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%f")[:-3] + "-" + secrets.token_hex(4)


def root(out: Path) -> Path:
    return out / "submissions"


def create(
    out: Path,
    *,
    kind: str,
    needs: Mapping[str, Any],
    options: Mapping[str, Any],
    title: str,
    tasks: Sequence[Sequence[str]] = (),
    argv: Sequence[str] = (),
    prerequisites: Sequence[str] = (),
    cell_arguments: Sequence[str] = (),
    code: Mapping[str, Any] | None = None,
) -> Submission:
    """Makes a submission's folder and manifest, before sbatch is called.

    Raises:
        UserError: it cannot be written.
    """
    folder = root(out) / new_id()
    manifest = {
        "schema": 1,
        "id": folder.name,
        "kind": kind,
        "title": title,
        "created": utc_now(),
        "tasks": [list(task) for task in tasks],
        "argv": list(argv),
        "cell_arguments": list(cell_arguments),
        "prerequisites": list(prerequisites),
        "needs": dict(needs),
        "options": dict(options),
        "code": dict(code or {}),
    }
    write_json(folder / MANIFEST, manifest)
    return Submission(folder, manifest)


def load_all(out: Path) -> list[Submission]:
    """All submissions, oldest first. A folder whose manifest was never finished never reached sbatch: left out."""
    try:
        with os.scandir(root(out)) as entries:
            folders = sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
    found = []
    for folder in folders:
        with contextlib.suppress(UserError):
            found.append(Submission(folder, read_json(folder / MANIFEST)))
    return found


def jobs_by_cell(submissions: Iterable[Submission], jobs: Iterable[Job]) -> dict[str, list[tuple[Job, int]]]:
    """The queue's lines (with the array index) that each cell is in, oldest submission first."""
    by_name: dict[str, list[Job]] = {}
    for job in jobs:
        by_name.setdefault(job.name, []).append(job)
    cells: dict[str, list[tuple[Job, int]]] = {}
    for submission in submissions:
        tasks = submission.tasks
        for job in by_name.get(submission.name, []):
            for index in job.tasks:
                for cell in tasks[index] if index < len(tasks) else ():
                    cells.setdefault(cell, []).append((job, index))
    return cells
