"""`bench cancel`: stop cells. What they saved stays, and `bench run` goes on from there."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE, say

if TYPE_CHECKING:
    from seqdis.bench.launch.slurm.scheduler import Job
    from seqdis.bench.launch.slurm.submissions import Submission
    from seqdis.bench.records.store import Store

HELP = "Stops cells: their jobs in the queue, and processes on this machine. Saved states are kept."
PATIENCE = 90.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("filter", nargs="?", default="", help="only cells whose id starts with or contains this")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="output folder (default: ./runs)")


def run(args: argparse.Namespace) -> int:
    from seqdis.bench.launch.slurm import submissions
    from seqdis.bench.launch.slurm.scheduler import SchedulerUnknown, cancel, queue
    from seqdis.bench.launch.state import match
    from seqdis.bench.records.store import Store

    store = Store(args.out)
    wanted = set(match(store, args.filter)) if args.filter else set(store.ids())
    known = submissions.load_all(store.out)
    targets: list[str] = []
    if known:
        try:
            jobs = [job for job in queue(submissions.PREFIX) if job.is_live]
            targets, shared = _targets(known, jobs, wanted, whole=not args.filter)
            for cell in sorted(shared):
                print(f"{cell} is packed into the same job and stops too")
            _mark(known, jobs, wanted | shared)
            cancel(targets)
            _wait(known, targets)
        except SchedulerUnknown as error:
            raise UserError(f"SLURM does not answer ({error}); run the same line again later.") from None
    stopped = _stop_processes(store, wanted)
    print(f"cancelled {len(targets)} jobs or array tasks and {stopped} processes on this machine")
    return DONE


def _targets(
    known: Sequence[Submission], jobs: Sequence[Job], wanted: set[str], *, whole: bool
) -> tuple[list[str], set[str]]:
    """What to cancel, by ids that the queue itself gives under our names; and cells that share such a task."""
    by_name = {submission.name: submission for submission in known}
    targets: list[str] = []
    shared: set[str] = set()
    for job in jobs:
        submission = by_name.get(job.name)
        if submission is None:
            continue
        if not submission.is_cells:
            targets += [job.job_id] if whole else []
            continue
        for index in sorted(job.tasks):
            task = set(submission.manifest.tasks[index]) if index < len(submission.manifest.tasks) else set()
            if task & wanted:
                targets.append(f"{job.job_id}_{index}")
                shared |= task - wanted
        if whole and job.tasks == frozenset(range(len(submission.manifest.tasks))):
            targets[len(targets) - len(job.tasks) :] = [job.job_id]
    return targets, shared


def _mark(known: Sequence[Submission], jobs: Sequence[Job], wanted: set[str]) -> None:
    names = {job.name for job in jobs}
    for submission in known:
        cells = {cell for task in submission.manifest.tasks for cell in task} & wanted
        if submission.name in names and cells:
            submission.cancel(cells)


def _wait(known: Sequence[Submission], targets: Sequence[str]) -> None:
    """Waits until the cancelled jobs are out of the queue, so that a following `bench run` sees them gone."""
    from seqdis.bench.launch.slurm.scheduler import queue
    from seqdis.bench.launch.slurm.submissions import PREFIX

    names = {submission.name for submission in known}
    aimed = set(targets)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        left = [
            job
            for job in queue(PREFIX)
            if job.is_live
            and job.name in names
            and (job.job_id in aimed or any(f"{job.job_id}_{index}" in aimed for index in job.tasks))
        ]
        if not left:
            return
        time.sleep(1)
    print("some jobs are still ending; 'bench status' shows them")


def _stop_processes(store: Store, wanted: set[str]) -> int:
    """Asks processes of this machine that no SLURM job runs to save and stop."""
    from seqdis.bench.core.lease import process_identity, read_lease

    stopped = 0
    for cell in wanted:
        try:
            seen = read_lease(store.folder(cell))
        except OSError as error:
            say(f"{cell} is left out: its folder cannot be read ({error.strerror})")
            continue
        if seen is None or seen[0].get("job"):
            continue
        pid = int(seen[0].get("pid") or 0)
        identity = seen[0].get("process")
        if pid and identity and process_identity(pid) == identity:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)
                stopped += 1
    return stopped
