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
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import publish, read_json, write_json
from seqdis.bench.core.times import utc_now
from seqdis.bench.launch.slurm.profile import Needs, Options
from seqdis.bench.launch.slurm.scheduler import Job
from seqdis.bench.records.store import ERROR

PREFIX = "bench-"
MANIFEST, OUTCOME, CANCELLED = "manifest.json", "outcome.json", "cancelled.json"
SCHEMA = 1

Kind = Literal["cells", "command"]
CELLS: Final = "cells"
COMMAND: Final = "command"
OutcomeState = Literal["submitted", "refused", "abandoned"]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What each task of a submission does; never changed once it is written.

    Attributes:
        schema: the version of this form.
        id: the submission's.
        kind: an array of cells, or a single command.
        created: when, in UTC.
        tasks: ids of cells by array index (for a command: none).
        argv: a command's arguments of the interpreter.
        cell_arguments: arguments of each cell's process after its folder.
        prerequisites: ids of submissions, or titles of live ones, that had to succeed first.
        needs: what its jobs ask for.
        options: how the whole launch was submitted, for another day's `retry`.
        code: which code submitted it, as `core.provenance` says it.
    """

    schema: int
    id: str
    kind: Kind
    title: str
    created: str
    tasks: Sequence[Sequence[str]]
    argv: Sequence[str]
    cell_arguments: Sequence[str]
    prerequisites: Sequence[str]
    needs: Needs
    options: Options
    code: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest in a submission's folder.

        Raises:
            UserError: none, or not one of ours.
        """
        stored: dict[str, Any] = read_json(folder / MANIFEST)
        try:
            if not all(
                isinstance(cell, str)
                for task in (*stored.get("tasks", []), stored.get("prerequisites", []))
                for cell in task
            ):
                raise ValueError("tasks and prerequisites are not lists of names")
            return cls(
                **{name: stored[name] for name in ("schema", "id", "kind", "title", "created")},
                **{name: stored.get(name, []) for name in ("tasks", "argv", "cell_arguments", "prerequisites")},
                needs=Needs.from_json(stored["needs"]),
                options=Options.from_json(stored["options"]),
                code=stored.get("code", {}),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{folder / MANIFEST} is not a manifest of ours ({error!r}).") from None

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "options": self.options.to_json()}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of an sbatch call.

    Attributes:
        when: when that was known, in UTC.
        job_id: of what SLURM took.
        adopted: its launcher had died; it was found in the queue by its name.
        message: why SLURM refused.
    """

    state: OutcomeState
    when: str
    job_id: str = ""
    adopted: bool = False
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        more = {"job_id": self.job_id, "adopted": self.adopted, "message": self.message}
        return {"state": self.state, "when": self.when, **{key: value for key, value in more.items() if value}}


@dataclasses.dataclass(frozen=True)
class Submission:
    """One sbatch call: an array of cells, or a single command."""

    folder: Path
    manifest: Manifest

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def name(self) -> str:
        """The job's name."""
        return PREFIX + self.id

    @property
    def is_cells(self) -> bool:
        return self.manifest.kind == CELLS

    def outcome(self) -> Outcome | None:
        """What became of the sbatch call; None: unknown."""
        with contextlib.suppress(UserError, KeyError, TypeError):
            stored: dict[str, Any] = read_json(self.folder / OUTCOME)
            more = {key: stored[key] for key in ("job_id", "adopted", "message") if key in stored}
            return Outcome(stored["state"], stored["when"], **more)
        return None

    def settle(self, state: OutcomeState, *, job_id: str = "", adopted: bool = False, message: str = "") -> Outcome:
        """Writes the outcome once. Returns the one that stands."""
        outcome = Outcome(state, utc_now(), job_id, adopted, message)
        text = json.dumps(outcome.to_json(), indent=1) + "\n"
        return outcome if publish(self.folder / OUTCOME, text.encode()) else (self.outcome() or outcome)

    def cancelled(self) -> set[str]:
        """The cells of it that the user cancelled."""
        with contextlib.suppress(UserError, TypeError):
            return {str(cell) for cell in read_json(self.folder / CANCELLED)}
        return set()

    def cancel(self, cells: Iterable[str]) -> None:
        write_json(self.folder / CANCELLED, sorted(self.cancelled() | set(cells)))

    def error(self) -> str:
        """The last line of why a command failed; empty if it did not."""
        with contextlib.suppress(UserError, AttributeError):
            return str(read_json(self.folder / ERROR).get("reason", ""))
        return ""


def new_id() -> str:
    """An id that sorts by time and is never given twice."""
    # Milliseconds: arrays of one launch follow each other within a second.
    return datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S%f")[:-3] + "-" + secrets.token_hex(4)


def root(out: Path) -> Path:
    return out / "submissions"


def create(
    out: Path,
    *,
    kind: Kind,
    title: str,
    needs: Needs,
    options: Options,
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
    manifest = Manifest(
        schema=SCHEMA,
        id=folder.name,
        kind=kind,
        title=title,
        created=utc_now(),
        tasks=tasks,
        argv=argv,
        cell_arguments=cell_arguments,
        prerequisites=prerequisites,
        needs=needs,
        options=options,
        code=code or {},
    )
    write_json(folder / MANIFEST, manifest.to_json())
    return Submission(folder, manifest)


def load_all(out: Path) -> list[Submission]:
    """All submissions, oldest first. A folder whose manifest was never finished never reached sbatch: left out."""
    try:
        with os.scandir(root(out)) as entries:
            folders = sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{root(out)} cannot be read ({error.strerror}).") from None
    found = []
    for folder in folders:
        with contextlib.suppress(UserError):
            found.append(Submission(folder, Manifest.read(folder)))
    return found


def jobs_by_cell(submissions: Iterable[Submission], jobs: Iterable[Job]) -> dict[str, list[tuple[Job, int]]]:
    """The queue's lines (with the array index) that each cell is in, oldest submission first."""
    by_name: dict[str, list[Job]] = {}
    for job in jobs:
        by_name.setdefault(job.name, []).append(job)
    cells: dict[str, list[tuple[Job, int]]] = {}
    for submission in submissions:
        tasks = submission.manifest.tasks
        for job in by_name.get(submission.name, []):
            for index in job.tasks:
                for cell in tasks[index] if index < len(tasks) else ():
                    cells.setdefault(cell, []).append((job, index))
    return cells
