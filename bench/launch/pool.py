"""A bounded pool of worker processes on this machine, each running one cell."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Literal

from seqdis.bench.cell.progress import Progress, read_progress
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE, INTERRUPTED, WAITING
from seqdis.bench.core.files import read_json
from seqdis.bench.core.rules import printable
from seqdis.bench.launch.forecast import Forecast
from seqdis.bench.launch.logs import LONGEST_REASON, last_line
from seqdis.bench.launch.slots import Slot
from seqdis.bench.launch.timebox import TimeBox
from seqdis.bench.records.store import ERROR, LOG, Store

REPEAT_SECONDS = 5.0

RunState = Literal["queued", "running", "done", "failed", "waiting"]


@dataclasses.dataclass
class Run:
    """One cell in the pool."""

    cell_id: str
    title: str
    state: RunState = "queued"
    reason: str = ""
    process: subprocess.Popen[bytes] | None = None
    slot: Slot | None = None
    started: float = 0.0
    ended: float = 0.0

    def progress(self, store: Store) -> Progress:
        """What the worker last said, if anything."""
        return read_progress(store.folder(self.cell_id), since=self.started - 1)


class Pool:
    """Runs cells, at most one a slot at a time. A failing cell does not stop the others.

    Use as an iterator: `for _ in pool.run(): draw(pool.runs)` wakes a few times a second until all have ended.

    Args:
        cells: id and title of each.
        places: for its workers.
        data_dir: prepared data; None is the usual folder.
        is_done: whether a cell has what it was started for; its record, by default.
        forecast: says which cell comes next; without, the first that waits.

    Attributes:
        on_done: called with each run that is done; they may append runs.
    """

    def __init__(
        self,
        store: Store,
        cells: list[tuple[str, str]],
        places: list[Slot],
        data_dir: Path | None,
        is_done: Callable[[str], bool] | None = None,
        forecast: Forecast | None = None,
    ) -> None:
        self.store = store
        self.is_done = is_done or store.is_done
        self.runs = [Run(cell_id, title) for cell_id, title in cells]
        self.free, self.n_places = list(places), len(places)
        self.data_dir = data_dir
        self.box: TimeBox | None = None
        self.forecast = forecast
        self.on_done: list[Callable[[Run], None]] = [] if forecast is None else [forecast.learn]
        self._told = -REPEAT_SECONDS

    def run(self, tick: float = 0.25) -> Generator[None]:
        """Runs everything; ends the workers softly (they save checkpoints) when it is interrupted or closed."""
        try:
            while any(run.state in ("queued", "running") for run in self.runs):
                self._start()
                self._collect()
                self._keep_time()
                yield
                if self.box is not None and self.box.is_over and not self._running():
                    break
                time.sleep(tick)
        finally:
            self._stop()

    def _running(self) -> list[Run]:
        return [run for run in self.runs if run.state == "running"]

    def _start(self) -> None:
        while self.free:
            waiting = [run for run in self.runs if run.state == "queued"]
            chosen = self._chosen(waiting)
            if chosen is None:
                return
            self._begin(chosen, self.free.pop())

    def _chosen(self, waiting: list[Run]) -> Run | None:
        if self.box is not None:
            return self.box.choose(waiting)
        # The first start at once: what comes after is chosen while they run.
        begins = len(self.runs) - len(waiting) < self.n_places
        if self.forecast is None or begins or len(waiting) < 2 or self.n_places < 2:
            return next(iter(waiting), None)
        return self.forecast.next(waiting)

    def seconds_left(self) -> float | None:
        """An estimate of the seconds until all have ended, from what was measured so far; None if there is none."""
        if self.forecast is None or self.box is not None or not any(run.state == "done" for run in self.runs):
            return None
        return self.forecast.left(self.runs, self.n_places)

    def _begin(self, run: Run, slot: Slot) -> None:
        folder = self.store.folder(run.cell_id)
        command = [sys.executable, "-m", "seqdis.bench.cell", str(folder), "--device", slot.device]
        if self.data_dir is not None:
            command += ["--data-dir", str(self.data_dir)]
        with open(folder / LOG, "ab") as log:
            # A session of its own: Ctrl-C reaches the pool, which then asks the workers to save and stop.
            run.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=slot.environment,
                stdin=subprocess.DEVNULL,
            )
        run.slot, run.state, run.started = slot, "running", time.time()

    def _keep_time(self) -> None:
        """Tells running cells to save when the time box is over, and kills them when they have had their time."""
        if self.box is None or not self.box.is_over:
            return
        if self.box.must_kill:
            self._signal(signal.SIGKILL)
        elif time.monotonic() - self._told > REPEAT_SECONDS:  # again: one that is still starting does not hear
            self._told = time.monotonic()
            self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        for run in self._running():
            if run.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    run.process.send_signal(number)

    def _collect(self) -> None:
        for run in self.runs:
            if run.state != "running" or run.process is None:
                continue
            code = run.process.poll()
            if code is None:
                continue
            assert run.slot is not None
            self.free.append(run.slot)
            run.ended = time.time()
            run.state, run.reason = self._outcome(run, code)
            if run.state == "done":
                for call in self.on_done:
                    call(run)

    def _outcome(self, run: Run, code: int) -> tuple[RunState, str]:
        folder = self.store.folder(run.cell_id)
        if code == DONE and self.is_done(run.cell_id):
            return "done", ""
        if code == DONE:
            return "waiting", "another process is at work on it"
        if code == WAITING:
            return "waiting", last_line(folder / LOG)
        if code == INTERRUPTED:
            return "waiting", "interrupted; run the same line again to go on"
        if code < 0 and self.box is not None and self.box.is_over:
            return (
                "waiting",
                "stopped at the end of its time; run the same line again to go on from its last checkpoint",
            )
        with contextlib.suppress(UserError, KeyError, TypeError):
            return "failed", printable(str(read_json(folder / ERROR)["reason"])[:LONGEST_REASON])
        return "failed", f"ended with {_signal_name(code)}; its log: {folder / LOG}"

    def _stop(self) -> None:
        running = [run.process for run in self._running() if run.process is not None]
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + 20
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


def _signal_name(code: int) -> str:
    with contextlib.suppress(ValueError):
        if code < 0:
            return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
