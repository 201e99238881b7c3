"""The SLURM launcher: what is missing is submitted, what is under way is left alone. Safe to repeat at any time.

Truth is files. The scheduler is asked only whether somebody already works on a cell; the jobs need nothing from this
process once sbatch has returned. The parts: `profile` (what jobs ask for), `requests` (arrays and their text),
`submissions` (the manifests), `scheduler` (SLURM's commands), `worker` (the job's side), `state` (where cells stand).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import make_folder
from seqdis.bench.core.lease import MISSED_BEATS, Lease, LeaseHeld, read_lease
from seqdis.bench.launch.request import Planned, Request
from seqdis.bench.launch.slurm import requests, scheduler, submissions
from seqdis.bench.launch.slurm.profile import Options
from seqdis.bench.launch.slurm.requests import Executor, JobRequest, Prerequisite
from seqdis.bench.launch.slurm.scheduler import Job, SchedulerUnknown
from seqdis.bench.launch.slurm.submissions import CELLS, Submission
from seqdis.bench.launch.state import shared_now
from seqdis.bench.records.store import ERROR, Store

DEFAULT_MAX_ARRAY = 1001
WAIT_FOR_OTHER_LAUNCH = 300.0


@dataclasses.dataclass
class Summary:
    """What one launch did."""

    submitted: list[Submission] = dataclasses.field(default_factory=list)
    job_ids: list[str] = dataclasses.field(default_factory=list)
    cells: int = 0
    done: int = 0
    live: int = 0
    failed: int = 0
    elsewhere: int = 0
    refused: str = ""

    def lines(self) -> list[str]:
        """For people."""
        arrays = sum(one.is_cells for one in self.submitted)
        text = [
            f"submitted {self.cells} cells in {arrays} job arrays"
            + (f" (jobs {', '.join(self.job_ids)})" if self.job_ids else "")
        ]
        if self.live:
            text.append(f"{self.live} cells are in the queue already")
        if self.elsewhere:
            text.append(f"{self.elsewhere} cells are being worked on by processes outside of SLURM")
        if self.failed:
            text.append(f"{self.failed} cells have failed: 'bench status' says why, 'bench retry' runs them again")
        return text


def submit(
    store: Store,
    cells: Sequence[Planned],
    options: Options,
    *,
    prerequisites: Sequence[Prerequisite] = (),
    cell_arguments: Sequence[str] = (),
    tables: Sequence[str] = (),
) -> Summary:
    """Submits those of `cells` that nobody works on. Their folders, with config.json, must be there.

    Args:
        cells: planned cells.
        options: what their jobs ask for.
        prerequisites: what some cells wait for; one that is in the queue already is not submitted again.
        cell_arguments: arguments of each cell's process, see `cell_arguments`.
        tables: arguments of the interpreter that write the tables at the end; empty for none.

    Raises:
        UserError: SLURM does not answer, or another launch does not end.
    """
    with _one_launch_at_a_time(store.out):
        try:
            jobs = scheduler.queue(submissions.PREFIX)
            max_array = scheduler.max_array_size()
        except SchedulerUnknown as error:
            raise UserError(
                f"SLURM does not answer ({error}); nothing was submitted. Run the same line again later, "
                "or use --launcher local."
            ) from None
        known = submissions.load_all(store.out)
        adopt(known, jobs)
        summary = Summary()
        todo = _todo(store, cells, known, jobs, summary)
        live = _live_commands(known, jobs)
        wanted = [
            needed
            for needed in prerequisites
            if needed.title not in live and any(cell.id in needed.cells for cell in todo)
        ]
        waiting = [needed for needed in prerequisites if needed.title in live]
        built = requests.build(todo, options, [*wanted, *waiting], max_array=max_array, tables=tables)
        built = [request for request in built if request.kind == CELLS or request.title not in live]
        _submit_all(store, built, options, dict(live), list(cell_arguments), summary)
    return summary


def render(store: Store, missing: Sequence[Planned], request: Request, tables: Sequence[str]) -> list[str]:
    """The sbatch requests of a launch as text; touches nothing and needs no SLURM."""
    options = Options.of(request.jobs)
    try:
        max_array = scheduler.max_array_size()
        note = ""
    except SchedulerUnknown as error:
        max_array, note = DEFAULT_MAX_ARRAY, f"# MaxArraySize is taken to be {DEFAULT_MAX_ARRAY} ({error})\n"
    prerequisites = missing_prerequisites(store, missing, request.root)
    built = requests.build(missing, options, prerequisites, max_array=max_array, tables=tables)
    ids = {one.title: f"<job of request {number}>" for number, one in enumerate(built, 1)}
    texts = []
    for number, one in enumerate(built, 1):
        folder = submissions.root(store.out) / f"ID-{number}"
        text = requests.executor(one, folder, options, requests.dependency(one, ids)).text()
        texts.append(f"{note}# request {number} of {len(built)}: {describe(one)}\n{text}")
        note = ""
    return texts


def describe(request: JobRequest) -> str:
    """One line: what a request is."""
    if request.kind != CELLS:
        return request.title
    n_cells = sum(map(len, request.tasks))
    return f"{n_cells} cells in {len(request.tasks)} tasks, at most {request.parallelism} at once"


def adopt(known: Sequence[Submission], jobs: Sequence[Job]) -> None:
    """Settles submissions whose launcher died around sbatch: in the queue by name, or given up.

    A job of a submission that was given up and arrives all the same reads so in its folder, and ends.
    """
    by_name = {job.name: job for job in jobs}
    for submission in known:
        if submission.outcome() is None:
            job = by_name.get(submission.name)
            if job is not None:
                submission.settle("submitted", job_id=job.job_id, adopted=True)
            else:
                submission.settle("abandoned")


def _todo(
    store: Store, cells: Sequence[Planned], known: Sequence[Submission], jobs: Sequence[Job], summary: Summary
) -> list[Planned]:
    live = submissions.jobs_by_cell(known, [job for job in jobs if job.is_live])
    now = shared_now(store.out)
    todo = []
    for cell in cells:
        folder = store.folder(cell.id)
        if store.is_done(cell.id):
            summary.done += 1
        elif cell.id in live:
            summary.live += 1
        elif (folder / ERROR).exists():
            summary.failed += 1
        elif _worked_on_outside(folder, now):
            summary.elsewhere += 1
        else:
            todo.append(cell)
    return todo


def _worked_on_outside(folder: Path, now: float) -> bool:
    """Whether a process outside of SLURM beats on the cell's lease.

    A lease of a SLURM job is not counted: the queue says whether that job lives, and a lease that beats without one
    (its controller lost it) is found by the new job's cell, which leaves it alone.
    """
    seen = read_lease(folder)
    if seen is None or seen[0].get("job"):
        return False
    return now - seen[1] / 1e9 < MISSED_BEATS * float(seen[0].get("interval") or 10)


def _live_commands(known: Sequence[Submission], jobs: Sequence[Job]) -> Mapping[str, str]:
    by_name = {job.name: job for job in jobs if job.is_live}
    return {
        one.manifest.title: by_name[one.name].job_id
        for one in known
        if not one.is_cells and one.name in by_name and one.manifest.title != requests.TABLES
    }


def missing_prerequisites(store: Store, cells: Sequence[Planned], root: Path) -> list[Prerequisite]:
    """Generated data and judges that are not there yet, each with the cells that wait for it."""
    from seqdis.bench.cell import prerequisites
    from seqdis.bench.plan import presets

    found = []
    for config in prerequisites.wanted([cell.config for cell in cells]):
        if prerequisites.are_there(config, root):
            continue
        part = config.cell
        users = [cell.id for cell in cells if cell.config.data_key == config.data_key]
        found.append(
            Prerequisite(
                title=f"prepare {part.dataset} ({part.source}, {part.size} pixels)",
                argv=(
                    "-m",
                    "seqdis.bench.launch.slurm.prepare",
                    str(store.folder(users[0])),
                    "--data-dir",
                    str(root.absolute()),
                ),
                gpu=presets.get(part.preset).needs_gpu,
                cells=frozenset(users),
            )
        )
    return found


def cell_arguments(device: str, root: Path) -> list[str]:
    """Arguments of every cell's process of a launch, after its folder."""
    return ["--device", device, "--data-dir", str(root.absolute())]


def _submit_all(
    store: Store,
    built: Sequence[JobRequest],
    options: Options,
    job_ids: dict[str, str],
    cell_arguments: Sequence[str],
    summary: Summary,
) -> None:
    from seqdis.bench.core.provenance import code_version

    ids_of: dict[str, str] = {}
    for request in built:
        submission = submissions.create(
            store.out,
            kind=request.kind,
            title=request.title,
            needs=request.needs,
            options=options,
            tasks=request.tasks,
            argv=request.argv,
            cell_arguments=cell_arguments,
            prerequisites=[ids_of.get(title, title) for title in request.after_ok],
            code=code_version()._asdict(),
        )
        made = requests.executor(request, submission.folder, options, requests.dependency(request, job_ids))
        try:
            job_id = _sbatch(made)
        except OSError as error:
            summary.refused = _settle_failure(submission, str(error))
        if summary.refused:
            return
        submission.settle("submitted", job_id=job_id)
        job_ids[request.title], ids_of[request.title] = job_id, submission.id
        summary.submitted.append(submission)
        summary.job_ids.append(job_id)
        summary.cells += sum(map(len, request.tasks))


def _sbatch(made: Executor) -> str:
    from submitit.core.utils import FailedSubmissionError, UncompletedJobError

    try:
        with _outside_of_jobs(), contextlib.redirect_stderr(io.StringIO()):
            return made.submit_request()
    except (UncompletedJobError, FailedSubmissionError) as error:
        raise OSError(str(error).strip() or "sbatch failed without a word") from None


def _settle_failure(submission: Submission, message: str) -> str:
    """sbatch failed, or its answer was lost: the queue knows which. Returns the reason of a refusal."""
    text = " ".join(line.removeprefix("sbatch: ").removeprefix("error: ") for line in message.splitlines())
    with contextlib.suppress(SchedulerUnknown):
        found = [job for job in scheduler.queue(submission.name) if job.name == submission.name]
        if found:
            submission.settle("submitted", job_id=found[0].job_id, adopted=True)
        else:
            submission.settle("refused", message=text)
    return text.rstrip(".") + "."


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hides an outer job's variables from sbatch, which would inherit its memory and CPU options."""
    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    from submitit.helpers import clean_env

    conf = {key: os.environ[key] for key in ("SLURM_CONF",) if key in os.environ}
    with clean_env():
        os.environ.update(conf)
        yield


@contextlib.contextmanager
def _one_launch_at_a_time(out: Path) -> Iterator[None]:
    """Two launches on one folder: the second waits, looks again, and finds nothing left to submit."""
    folder = submissions.root(out)
    try:
        make_folder(folder)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}. Choose another folder with --out.") from None
    deadline = time.monotonic() + WAIT_FOR_OTHER_LAUNCH
    said = False
    while True:
        try:
            lease = Lease(folder, interval=1.0, counted=False).__enter__()
        except LeaseHeld as held:
            if time.monotonic() > deadline:
                raise UserError(f"another launch on {out} does not end ({held}); wait, or end it.") from None
            if not said:
                print(f"another launch on {out} is submitting; waiting for it", file=sys.stderr, flush=True)
                said = True
            continue
        try:
            yield
        finally:
            lease.release()
        return
