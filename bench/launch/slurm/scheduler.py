"""What SLURM says, in one call each. An answer that does not come is unknown, never "no jobs"."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence

# States after which a job never runs again by itself. Everything else counts as alive.
ENDED = frozenset(
    {
        "COMPLETED",
        "FAILED",
        "TIMEOUT",
        "CANCELLED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "DEADLINE",
        "BOOT_FAIL",
        "REVOKED",
        "SPECIAL_EXIT",
    }
)
RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"})
# Reasons for which nothing happens until a person does something.
HELD = ("held", "JobHeldUser", "JobHeldAdmin", "launch failed", "launch_failed", "DependencyNeverSatisfied")
_FORMAT = "%F|%K|%j|%T|%M|%L|%N|%r"


class SchedulerUnknown(Exception):
    """SLURM did not answer; the message is what its command said."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One line of the queue: a job, or tasks of an array that share a state."""

    job_id: str
    tasks: frozenset[int]  # indices; empty for a job that is no array
    name: str
    state: str
    elapsed: str
    time_left: str
    nodes: str
    reason: str

    @property
    def is_live(self) -> bool:
        return self.state not in ENDED

    @property
    def is_held(self) -> bool:
        return self.state == "PENDING" and any(word in self.reason for word in HELD)


def is_available() -> bool:
    """Whether this machine can submit: SLURM's commands are there and the controller answers."""
    if not all(shutil.which(command) for command in ("sbatch", "squeue", "scontrol")):
        return False
    try:
        return " is UP" in _ask(["scontrol", "ping"], 20)
    except SchedulerUnknown:
        return False


def queue(prefix: str) -> list[Job]:
    """This user's jobs whose names start with `prefix`, from one call of squeue; jobs that ended lately included.

    Raises:
        SchedulerUnknown: no answer.
    """
    text = _ask(["squeue", "--user", str(os.getuid()), "--noheader", "--states=all", f"--format={_FORMAT}"], 90)
    jobs = []
    for line in text.splitlines():
        fields = line.split("|", 7)
        if len(fields) == 8 and fields[2].startswith(prefix):
            jobs.append(Job(fields[0], task_indices(fields[1]), *fields[2:]))
    return jobs


def task_indices(text: str) -> frozenset[int]:
    """The indices in an array expression such as "0-3,7%2"; none for a job that is no array ("N/A")."""
    indices: set[int] = set()
    for part in text.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            indices.update(range(int(first), int(last or first) + 1))
    return frozenset(indices)


def max_array_size() -> int:
    """The bound on the size of an array (SLURM's MaxArraySize bounds the index, which counts from 0).

    Raises:
        SchedulerUnknown: no answer.
    """
    for line in _ask(["scontrol", "show", "config"], 60).splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "MaxArraySize" and value.strip().isdigit():
            return max(1, int(value))
    return 1001


def cancel(targets: Iterable[str]) -> None:
    """Cancels jobs or array tasks by id, many in one call.

    Raises:
        SchedulerUnknown: SLURM did not take it.
    """
    targets = list(targets)
    for start in range(0, len(targets), 500):
        _ask(["scancel", "--quiet", *targets[start : start + 500]], 90)


def _ask(command: Sequence[str], timeout: float) -> str:
    # Without SLURM_BITSTR_LEN=0 long lists of array tasks are cut short.
    environment = {**os.environ, "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "standard"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env=environment, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise SchedulerUnknown(f"{command[0]} is not installed here") from None
    except subprocess.TimeoutExpired:
        raise SchedulerUnknown(f"{command[0]} did not answer within {timeout:.0f} s") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise SchedulerUnknown(said[-1] if said else f"{command[0]} ended with exit code {done.returncode}")
    return done.stdout
