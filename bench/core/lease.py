"""Who works on a folder: a lease file with a heartbeat. Standard library only; no locks, fit for NFS.

The lease saves work, it does not make anything correct: of two processes that finish the same cell, the first
to publish its record wins (`core.files.publish`). It is created whole (written aside, then given its name,
which fails if it exists) and its modification time is the heartbeat. The owner keeps the file open and touches that
very file, so an owner that was asleep while another took over can never revive its lease by accident.

Whether a foreign lease is alive is decided by watching its heartbeat move, never by comparing two hosts' clocks.
Two short cuts spare the wait: its process is known to be gone (same kernel, same process-id space), or it is of
an earlier start of the very same SLURM job.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from seqdis.bench.core.environment import number
from seqdis.bench.core.files import give_name

LEASE = "lease.json"
ATTEMPTS = "attempts.jsonl"
MISSED_BEATS = 3
INTERVAL_VARIABLE = "SEQDIS_HEARTBEAT"
DEFAULT_INTERVAL = 10.0
SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.01, 86_400.0
LARGEST = 1 << 20
LARGEST_PID = (1 << 31) - 1

Holder = dict[str, Any]


class LeaseHeld(Exception):
    """Another live process holds the lease; `holder` says which."""

    def __init__(self, folder: Path, holder: Holder) -> None:
        worker = f"process {holder.get('pid')} on {holder.get('host')}"
        super().__init__(f"{folder.name} is being worked on by {worker}")
        self.holder = holder


class LeaseLost(Exception):
    """Another process has taken the lease over: stop, and publish nothing."""


class Lease:
    """The right to work on a folder, as a context manager.

    Example:
        with Lease(folder) as lease:
            for step in ...:
                lease.check()

    Args:
        folder: an existing folder.
        interval: seconds between two beats (default: the environment's SEQDIS_HEARTBEAT, else 10).
        counted: keep attempts.jsonl, a line for each time the lease was taken.

    Attributes:
        attempt: how often the lease of this folder was taken, this time included (0 if not counted).
    """

    def __init__(self, folder: Path, *, interval: float | None = None, counted: bool = True) -> None:
        self.folder = folder
        self.path = folder / LEASE
        self.interval = interval or default_interval()
        self.token = uuid.uuid4().hex
        self.counted = counted
        self.attempt = 0
        self._file: int | None = None
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Lease:
        """Takes the lease. Watches a foreign one for up to three of its beats before it is called dead.

        Raises:
            LeaseHeld: a live process has it.
            OSError: the folder cannot be written.
        """
        while not self._create():
            self._supersede()
        if self.counted:
            self._count()
        self._thread = threading.Thread(target=self._beat, name=f"lease {self.folder.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def lost(self) -> bool:
        """Whether another process has taken over, as far as the last beat has seen. Costs nothing."""
        return self._lost.is_set()

    def check(self) -> None:
        """Looks at the file now; call it before anything is published.

        Raises:
            LeaseLost: another process has the lease.
        """
        if self._lost.is_set() or not self._is_ours():
            self._lost.set()
            raise LeaseLost(f"another process has taken over {self.folder.name}; nothing was published here.")

    def release(self) -> None:
        """Gives the lease back, if it is still ours. May be called twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            if not self.lost and self._is_ours():
                self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.close(self._file)
        self._file = None

    def _create(self) -> bool:
        temporary = self.folder / f".{LEASE}.{self.token}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.write(descriptor, json.dumps(self._content()).encode())
            os.fsync(descriptor)
            give_name(temporary, self.path)
        except FileExistsError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        finally:
            temporary.unlink(missing_ok=True)
        self._file = descriptor
        return True

    def _count(self) -> None:
        line = {"started": _utc(), "host": socket.gethostname(), "pid": os.getpid(), **slurm_identity()}
        try:
            self.attempt = note_attempt(self.folder, line)
        except OSError:
            self.release()
            raise

    def _content(self) -> Holder:
        return {
            "token": self.token,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process": process_identity(os.getpid()),
            "interval": self.interval,
            "started": _utc(),
            **slurm_identity(),
        }

    def _is_ours(self) -> bool:
        if self._file is None:
            return False
        try:
            found, own = os.stat(self.path), os.fstat(self._file)
        except OSError:
            return False
        return (found.st_ino, found.st_dev) == (own.st_ino, own.st_dev)

    def _beat(self) -> None:
        while not self._stop.wait(self.interval):
            if not self._is_ours():
                self._lost.set()
                return
            assert self._file is not None
            # A file system that is away for a moment must not end the work: the next look decides.
            with contextlib.suppress(OSError):
                os.utime(self._file)

    def _supersede(self) -> None:
        """Removes the lease that is there once it is known to be dead; raises LeaseHeld if it is alive."""
        seen = read_lease(self.folder)
        if seen is None:
            return
        holder, beat = seen
        if not is_gone(holder):
            _await_death(self.folder, holder, beat)
        aside = self.folder / f".{LEASE}.{self.token}.old"
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        try:
            if _holder(aside.read_bytes()).get("token") == holder.get("token"):
                return
            # Another process was quicker and this is its fresh lease: put the same file back.
            with contextlib.suppress(FileExistsError):
                give_name(aside, self.path)
            raise LeaseHeld(self.folder, holder)
        finally:
            aside.unlink(missing_ok=True)


def _await_death(folder: Path, holder: Holder, beat: int) -> None:
    """Returns when the lease is gone or has missed its beats; raises LeaseHeld as soon as it moves."""
    interval = float(holder.get("interval") or default_interval())
    deadline = time.monotonic() + MISSED_BEATS * interval
    while time.monotonic() < deadline:
        time.sleep(min(interval / 4, max(0.0, deadline - time.monotonic())))
        seen = read_lease(folder)
        if seen is None or is_gone(holder):
            return
        if seen != (holder, beat):
            raise LeaseHeld(folder, seen[0])


def note_attempt(folder: Path, line: dict[str, Any]) -> int:
    """Appends a line to attempts.jsonl. Returns how many attempts it has now."""
    with open(folder / ATTEMPTS, "ab") as file:
        file.write(json.dumps(line).encode() + b"\n")
    return sum("started" in attempt for attempt in read_attempts(folder))


def read_attempts(folder: Path) -> list[dict[str, Any]]:
    """The lines of attempts.jsonl, oldest first. A line cut short by a crash or a full disk is left out."""
    try:
        lines = (folder / ATTEMPTS).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [line for line in map(_holder, lines) if line]


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def default_interval() -> float:
    """Seconds between two beats."""
    return number(INTERVAL_VARIABLE, DEFAULT_INTERVAL, SHORTEST_INTERVAL, LONGEST_INTERVAL)


def read_lease(folder: Path) -> tuple[Holder, int] | None:
    """The holder and the time of the last beat (ns, the file system's clock), or None without a lease.

    The file is opened rather than only looked at: on NFS that is what asks the server for its current times.
    """
    try:
        # Not blocking, for a pipe of that name that nobody writes to.
        handle = os.open(folder / LEASE, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(handle, "rb") as file:
            return _holder(file.read(LARGEST) or b""), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _holder(content: bytes) -> Holder:
    """What a lease or a line of attempts.jsonl says; nothing if a part of it is none that this module writes."""
    try:
        holder = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) and _is_sound(holder) else {}


def _is_sound(holder: Holder) -> bool:
    def is_number(value: Any, most: float) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most

    process, restarts = holder.get("process"), holder.get("restarts")
    return (
        all(isinstance(holder.get(key, ""), str) for key in ("token", "host", "started", "job", "submission"))
        and is_number(holder.get("interval", 0), LONGEST_INTERVAL)
        and isinstance(holder.get("pid", 0), int)
        and is_number(holder.get("pid", 0), LARGEST_PID)
        and (restarts is None or (isinstance(restarts, str) and restarts.isdecimal() and len(restarts) < 10))
        and (process is None or (isinstance(process, list) and all(isinstance(part, str) for part in process)))
    )


def process_identity(pid: int) -> list[str] | None:
    """What tells a process from every other: boot, process-id space, start time. None for a dead one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = os.readlink("/proc/self/ns/pid")
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, start = stat.rpartition(")")[2].split()[0], stat.rpartition(")")[2].split()[19]
    return None if state in "ZX" else [boot, space, start]


def slurm_identity() -> dict[str, str]:
    """The SLURM job of this process and how often it was restarted; empty outside of SLURM."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{job}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}" if job else os.environ.get("SLURM_JOB_ID")
    if not job:
        return {}
    return {
        "job": job,
        "restarts": os.environ.get("SLURM_RESTART_COUNT") or "0",
        "submission": os.environ.get("SEQDIS_SUBMISSION", ""),
    }


def is_gone(holder: Holder) -> bool:
    """Whether a holder is certainly dead or replaced, without waiting for its beats."""
    ours = slurm_identity()
    same_job = all(ours.get(key) and ours[key] == holder.get(key) for key in ("job", "submission"))
    if same_job and int(holder.get("restarts") or 0) < int(ours["restarts"]):
        # SLURM itself says that the earlier start of this job is over; if it is not (a split network), it
        # will see that its lease is lost and stop.
        return True
    identity, here = holder.get("process"), process_identity(os.getpid())
    if not identity or not here or identity[:2] != here[:2]:
        return False
    return bool(process_identity(int(holder.get("pid") or 0)) != identity)
