"""The sbatch requests of a grid: which cells share an array, what waits for what, and the exact text."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from seqdis.bench.core.environment import MALLOC
from seqdis.bench.core.exits import INTERRUPTED
from seqdis.bench.core.inherited import SLEEPING
from seqdis.bench.launch.request import Planned
from seqdis.bench.launch.slurm.profile import Needs, Options
from seqdis.bench.launch.slurm.submissions import CELLS, COMMAND, PREFIX, Kind
from seqdis.bench.plan import presets

TABLES = "tables"
"""Title of the last job."""


@dataclasses.dataclass(frozen=True)
class Prerequisite:
    """Something that cells wait for: a prepared data set and its judge."""

    title: str
    argv: tuple[str, ...]
    gpu: bool
    cells: frozenset[str]


@dataclasses.dataclass
class JobRequest:
    """One sbatch call that is to be made.

    Attributes:
        after_ok: titles of requests (or ids of live jobs) that must succeed first.
        after_any: titles of requests that must have ended first.
        parallelism: at most so many tasks of the array at the same time.
    """

    kind: Kind
    title: str
    needs: Needs
    tasks: list[list[str]] = dataclasses.field(default_factory=list)
    argv: tuple[str, ...] = ()
    after_ok: tuple[str, ...] = ()
    after_any: tuple[str, ...] = ()
    parallelism: int = 0


def build(
    cells: Sequence[Planned],
    options: Options,
    prerequisites: Sequence[Prerequisite],
    *,
    max_array: int,
    tables: Sequence[str] = (),
) -> list[JobRequest]:
    """All requests of a launch, in the order in which they are submitted.

    Args:
        cells: what is to run, in the plan's order.
        options: what jobs ask for.
        prerequisites: what some of the cells wait for.
        max_array: SLURM's MaxArraySize.
        tables: the command that writes the tables when all has ended; empty for none.
    """
    helpers = [
        JobRequest(COMMAND, needed.title, options.helper_needs(gpu=needed.gpu), argv=needed.argv)
        for needed in prerequisites
    ]
    arrays = _arrays(cells, options, prerequisites, max_array)
    _throttle(arrays, options.max_jobs)
    last = []
    if tables and arrays:
        ended = tuple(request.title for request in arrays)
        last = [JobRequest(COMMAND, TABLES, options.helper_needs(), argv=tuple(tables), after_any=ended)]
    return [*helpers, *arrays, *last]


def _arrays(
    cells: Sequence[Planned], options: Options, prerequisites: Sequence[Prerequisite], max_array: int
) -> list[JobRequest]:
    groups: dict[tuple[Needs, tuple[str, ...]], list[str]] = {}
    for cell in cells:
        part = cell.config.cell
        needs = options.needs(part, gpu=presets.get(part.preset).needs_gpu)
        waits = tuple(needed.title for needed in prerequisites if cell.id in needed.cells)
        groups.setdefault((needs, waits), []).append(cell.id)
    requests: list[JobRequest] = []
    for (needs, waits), ids in groups.items():
        tasks = [ids[start : start + needs.pack] for start in range(0, len(ids), needs.pack)]
        for start in range(0, len(tasks), max_array):
            chunk = tasks[start : start + max_array]
            requests.append(JobRequest(CELLS, f"cells {len(requests) + 1}", needs, tasks=chunk, after_ok=waits))
    return requests


def _throttle(arrays: list[JobRequest], max_jobs: int) -> None:
    """Splits the bound on running jobs among the arrays; more arrays than jobs queue up behind each other."""
    if not max_jobs:
        for request in arrays:
            request.parallelism = len(request.tasks)
        return
    lanes = min(max_jobs, len(arrays))
    for index, request in enumerate(arrays):
        request.parallelism = max_jobs // lanes + (index % lanes < max_jobs % lanes)
        if index >= lanes:
            request.after_any = (*request.after_any, arrays[index - lanes].title)


def parameters(request: JobRequest, folder: Path, options: Options, dependency: str) -> dict[str, Any]:
    """A request in the words of submitit's SLURM executor."""
    needs = request.needs
    extra: dict[str, Any] = {"requeue": True, **options.extra}
    if dependency:
        extra["kill-on-invalid-dep"] = "yes"
    if options.hold:
        extra["hold"] = True
    return {
        "job_name": PREFIX + folder.name,
        "comment": f"seqdis-bench: {request.title}",
        "partition": needs.partition or None,
        "account": needs.account or None,
        "qos": needs.qos or None,
        "constraint": needs.constraint or None,
        "gpus_per_node": None if needs.gpus == "0" else needs.gpus,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": needs.cpus,
        "mem": needs.mem or None,
        "time": needs.time or None,
        "signal_delay_s": needs.signal_seconds,
        "dependency": dependency or None,
        "wckey": None,
        # srun has not inherited the number of CPUs from sbatch since SLURM 22.05.
        "srun_args": [f"--cpus-per-task={needs.cpus}"],
        "stderr_to_stdout": True,
        "setup": _setup(needs, folder, options),
        "teardown": _teardown(request),
        "array_parallelism": max(1, request.parallelism),
        "additional_parameters": extra,
    }


def _setup(needs: Needs, folder: Path, options: Options) -> list[str]:
    threads = max(1, needs.cpus // min(needs.at_once, needs.pack))
    # SLURM_EXPORT_ENV: where sbatch exports nothing by default, srun must still pass on what stands here.
    variables = {
        "SLURM_EXPORT_ENV": "ALL",
        "PYTHONSAFEPATH": "1",
        "SEQDIS_SUBMISSION": folder.name,
        "SEQDIS_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        **MALLOC,
        **SLEEPING,
    }
    # Progress is read by people, now and then: a shared file system is spared.
    return [
        'export SEQDIS_PROGRESS_SECONDS="${SEQDIS_PROGRESS_SECONDS:-15}"',
        *(f"export {name}={shlex.quote(str(value))}" for name, value in variables.items()),
        *options.setup,
    ]


def _teardown(request: JobRequest) -> list[str]:
    """Runs outside of a container, where SLURM's commands are."""
    job = "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" if request.kind == CELLS else "$SLURM_JOB_ID"
    return [
        "status=$?",
        f'if [ "$status" -eq {INTERRUPTED} ]; then scontrol requeue "{job}" || echo "requeue failed; run again"; fi',
        "exit $status",
    ]


@functools.cache
def _executor_class() -> type[Any]:
    import submitit

    class ManifestExecutor(submitit.SlurmExecutor):
        """submitit's executor, whose tasks read the manifest instead of one pickle for each job id.

        submitit moves its pickles into place after sbatch and names them by job id: an array whose launcher is
        killed in between fails, and an id that SLURM gives twice finds a stranger's result. Its handler also
        guesses whether a job timed out and swallows SIGTERM. The worker needs none of this.
        """

        @classmethod
        def affinity(cls) -> int:
            return 2  # requests can be shown where SLURM isn't installed

        @property
        def _submitit_command_str(self) -> str:
            return f"{self.python} -u -m seqdis.bench.launch.slurm.worker {shlex.quote(str(self.folder))}"

        def text(self) -> str:
            """The request's script."""
            return str(self._make_submission_file_text(self._submitit_command_str, ""))

        def submit_request(self) -> str:
            """Calls sbatch. Returns the job id."""
            return str(self._submit_command(self._submitit_command_str).job_id)

    return ManifestExecutor


class Executor(Protocol):
    """submitit's executor for one request."""

    def text(self) -> str:
        """The request's script."""

    def submit_request(self) -> str:
        """Calls sbatch. Returns the job id."""


def executor(request: JobRequest, folder: Path, options: Options, dependency: str) -> Executor:
    """The executor of one request. Touches nothing yet."""
    made: Any = _executor_class()(folder, python=options.python or shlex.quote(sys.executable))
    made.update_parameters(**parameters(request, folder, options, dependency))
    if request.kind == CELLS:
        made.parameters["map_count"] = len(request.tasks)
    found: Executor = made
    return found


def dependency(request: JobRequest, job_ids: Mapping[str, str]) -> str:
    """What `--dependency` says. `job_ids` maps titles to job ids; a title without one depends on nothing."""
    parts = []
    for kind, titles in (("afterok", request.after_ok), ("afterany", request.after_any)):
        ids = [job_ids[title] for title in titles if title in job_ids]
        if ids:
            parts.append(":".join([kind, *ids]))
    return ",".join(parts)
