"""What runs in a SLURM job: the cells of one array task, each in a process of its own.

    python -m seqdis.bench.launch.slurm.worker <out>/submissions/<id>

It reads the manifest, starts the process of each of its cells, forwards signals, and keeps the books of what the
cells themselves cannot write: that one was killed, or that one never gets further. Standard library only, so that
it starts at once. Exit codes: 0 all that could be done is done, 1 a cell failed, 75 requeue me, 143 told to end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from seqdis.bench.cell.progress import read_progress
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE, ENDED, FAILED, INTERRUPTED, WAITING, refuse
from seqdis.bench.core.files import write_json
from seqdis.bench.core.lease import note_attempt, read_attempts, read_lease, slurm_identity
from seqdis.bench.core.times import utc_now
from seqdis.bench.launch.slurm.submissions import Manifest, Submission
from seqdis.bench.records.record import RECORD
from seqdis.bench.records.store import ERROR, LOG

MAX_STUCK = 10  # starts without a step of progress after which a cell is called failed
SOFT = (signal.SIGUSR2, signal.SIGTERM)
TICK = 0.1
REPEAT_SECONDS = 5.0


@dataclasses.dataclass
class Running:
    """A cell's (or command's) process."""

    folder: Path
    process: subprocess.Popen[bytes]
    cell: str = ""


class Worker:
    """Runs the work of one array task."""

    def __init__(self, folder: Path, index: int) -> None:
        self.folder = folder
        self.submission = Submission(folder, Manifest.read(folder))
        self.manifest = self.submission.manifest
        self.index = index
        self.signals: set[int] = set()
        self.codes: list[int] = []
        self.told, self.told_at = 0, 0.0
        self.first_told = 0.0
        for number in SOFT:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signals.add(number)

    @property
    def stopping(self) -> bool:
        return bool(self.signals)

    def run(self) -> int:
        """Does the work. Returns the exit code."""
        outcome = self.submission.outcome()
        if outcome is not None and outcome.state != "submitted":
            print("this submission was given up before it reached the queue; its cells run in another", flush=True)
            return DONE
        if self.submission.is_cells:
            at_once = self.manifest.needs.at_once
            os.environ["SEQDIS_BESIDE"] = str(at_once)  # cells that share the job's GPU say so in their records
            self._pool(self.manifest.tasks[self.index], at_once)
        else:
            self._pool([None], 1)
        return self._exit_code()

    def _exit_code(self) -> int:
        if INTERRUPTED in self.codes:
            # Only SIGUSR2 asks for a requeue: after SIGTERM alone the user cancelled, or SLURM requeues by itself.
            return INTERRUPTED if signal.SIGUSR2 in self.signals else ENDED
        return FAILED if FAILED in self.codes else DONE

    def _pool(self, cells: Sequence[str | None], width: int) -> None:
        queue, running = list(cells), list[Running]()
        while queue or running:
            while queue and len(running) < width and not self.stopping:
                started = self._start(queue.pop(0))
                if started is not None:
                    running.append(started)
            if self.stopping:
                self.codes += [INTERRUPTED] * len(queue)
                queue.clear()
                self._forward(running)
                if self._is_out_of_time():
                    for one in running:
                        one.process.kill()
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                if self._ended(one):
                    queue.insert(0, one.cell)
            if running:
                time.sleep(TICK)

    def _forward(self, running: list[Running]) -> None:
        """Tells the cells, again every few seconds: one that is still starting has no handler and may not hear."""
        if len(self.signals) == self.told and time.monotonic() - self.told_at < REPEAT_SECONDS:
            return
        self.told, self.told_at = len(self.signals), time.monotonic()
        self.first_told = self.first_told or self.told_at
        print(f"received {', '.join(signal.Signals(n).name for n in sorted(self.signals))}: saving", flush=True)
        for one in running:
            for number in sorted(self.signals):
                with contextlib.suppress(ProcessLookupError):
                    one.process.send_signal(number)

    def _is_out_of_time(self) -> bool:
        """Whether a cell does not react and the limit is near: SLURM never requeues a job that reaches it."""
        seconds = 0.75 * self.manifest.needs.signal_seconds
        return signal.SIGUSR2 in self.signals and bool(self.first_told) and time.monotonic() - self.first_told > seconds

    def _start(self, cell: str | None) -> Running | None:
        if cell is None:
            argv = [sys.executable, *self.manifest.argv]
            return Running(self.folder, subprocess.Popen(argv, stdin=subprocess.DEVNULL))
        folder = self.folder.parent.parent / "cells" / cell
        if (folder / RECORD).exists() or cell in self.submission.cancelled():
            return None
        if (folder / ERROR).exists():
            # It failed in an earlier start of this job; whoever retries it takes the mark away first.
            self.codes.append(FAILED)
            return None
        stuck = stuck_starts(folder)
        if stuck >= MAX_STUCK:
            self._fail(folder, f"started {stuck} times without getting past step {last_step(folder)}")
            self.codes.append(FAILED)
            return None
        argv = [sys.executable, "-m", "seqdis.bench.cell", str(folder), *self.manifest.cell_arguments]
        print(f"{time.strftime('%F %T')} {cell}", flush=True)
        with contextlib.suppress(OSError):
            note_attempt(folder, {"step": last_step(folder)})
        with open(folder / LOG, "ab") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        return Running(folder, process, cell)

    def _ended(self, one: Running) -> bool:
        """Books a process that ended. Returns whether it is to be started again in this job."""
        code = one.process.returncode
        if not self.submission.is_cells:
            self._command_ended(code)
            return False
        print(f"{time.strftime('%F %T')} {one.cell}: {_named(code)}", flush=True)
        if (one.folder / RECORD).exists() or code == DONE:
            return False
        if code == WAITING:
            note_attempt(one.folder, {"waiting": True})
            return False
        if code == INTERRUPTED or (code < 0 and -code in SOFT) or (code < 0 and self.stopping):
            return self._interrupted(one)
        if code != FAILED or not (one.folder / ERROR).exists():
            self._fail(one.folder, _explained(code))
        self.codes.append(FAILED)
        return False

    def _interrupted(self, one: Running) -> bool:
        if not self.stopping:
            time.sleep(1)  # the cell may have heard the signal a moment before us
        if self.stopping:
            self.codes.append(INTERRUPTED)
            return False
        # Not our doing: either another process took the cell over, or somebody signalled this one only.
        return read_lease(one.folder) is None and stuck_starts(one.folder) < MAX_STUCK

    def _command_ended(self, code: int) -> None:
        if code == DONE:
            (self.folder / ERROR).unlink(missing_ok=True)
        elif code == INTERRUPTED or self.stopping:
            self.codes.append(INTERRUPTED)
        else:
            write_json(self.folder / ERROR, {"reason": f"{self.manifest.title}: {_explained(code)}"})
            self.codes.append(FAILED)

    @staticmethod
    def _fail(folder: Path, reason: str) -> None:
        print(f"{folder.name}: {reason}", flush=True)
        with contextlib.suppress(UserError):  # a full disk: the job's own log has it
            write_json(
                folder / ERROR,
                {
                    "reason": reason,
                    "traceback": "",
                    "when": utc_now(),
                    "attempt": len(read_attempts(folder)),
                    **slurm_identity(),
                },
            )


def last_step(folder: Path) -> int:
    """How far a cell has come, as far as its progress file says."""
    return read_progress(folder).step


def stuck_starts(folder: Path) -> int:
    """How many of a cell's last starts in a row found it at the step where it still is."""
    step, count = last_step(folder), 0
    for line in reversed(read_attempts(folder)):
        if "started" in line:
            continue
        if line.get("step") != step:
            break
        count += 1
    return count


def _named(code: int) -> str:
    names = {
        DONE: "done",
        FAILED: "failed",
        WAITING: "waiting for data or judge",
        INTERRUPTED: "interrupted, state saved",
    }
    with contextlib.suppress(ValueError):
        return names.get(code) or (f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")
    return f"exit code {code}"


def _explained(code: int) -> str:
    if code == -signal.SIGKILL:
        return "killed by SIGKILL, most likely out of memory: give more with --mem, then 'bench retry'"
    return f"ended: {_named(code)}; see its log"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the task that SLURM's environment names."""
    folder = Path((sys.argv[1:] if argv is None else argv)[0])
    try:
        return Worker(folder, int(os.environ.get("SLURM_ARRAY_TASK_ID") or 0)).run()
    except UserError as error:
        return refuse(error, FAILED)


if __name__ == "__main__":
    sys.exit(main())
