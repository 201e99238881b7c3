"""The local launcher: a bounded pool of worker processes, one a GPU, or one a CPU core with one thread each."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from seqdis.bench.core.environment import worker_environment
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE, INTERRUPTED, WAITING
from seqdis.bench.core.files import read_json
from seqdis.bench.launch.timebox import TimeBox
from seqdis.bench.records.store import ERROR, LOG, PROGRESS, Store

REPEAT_SECONDS = 5.0


@dataclasses.dataclass
class Slot:
    """A place for one worker: a GPU (by index) or a share of the cores."""

    environment: dict[str, str]
    device: str


@dataclasses.dataclass
class Run:
    """One cell in the pool."""

    cell_id: str
    title: str
    state: str = "queued"  # queued | running | done | failed | n/a | waiting
    reason: str = ""
    process: subprocess.Popen[bytes] | None = None
    slot: Slot | None = None
    started: float = 0.0
    ended: float = 0.0

    def progress(self, store: Store) -> dict[str, Any]:
        """What the worker last wrote, if anything."""
        path = store.folder(self.cell_id) / PROGRESS
        with contextlib.suppress(UserError, OSError):
            if path.stat().st_mtime >= self.started - 1:
                found: dict[str, Any] = read_json(path)
                return found
        return {}


def slots(device: str, workers: int | None, per_device: int = 1) -> list[Slot]:
    """The places for workers on this machine.

    Args:
        device: auto, cpu, cuda or cuda:N.
        workers: how many at once; None is `per_device` a GPU, or one a CPU core.
        per_device: cells side by side on each GPU, where `workers` does not say.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = _gpus() if device in ("auto", "cuda") else []
    if gpus:
        count = workers or len(gpus) * per_device
        chosen = [gpus[i % len(gpus)] for i in range(count)]
        return [Slot({**_beside(count, len(gpus), cores), "CUDA_VISIBLE_DEVICES": gpu}, "cuda") for gpu in chosen]
    if device.startswith("cuda"):
        count = workers or per_device
        return [Slot(_beside(count, 1, cores), device) for _ in range(count)]
    count = workers or cores
    return [Slot(worker_environment(max(1, cores // count)), "cpu") for _ in range(count)]


def _beside(count: int, n_gpus: int, cores: int) -> dict[str, str]:
    """The environment of each of `count` workers on so many GPUs: its share of the cores, and how many share its GPU."""
    return {**worker_environment(max(1, cores // count)), "SEQDIS_BESIDE": str(-(-count // n_gpus))}


def _gpus() -> list[str]:
    """The GPUs that workers may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


class Pool:
    """Runs cells, at most one a slot at a time. A failing cell does not stop the others.

    Use as an iterator: `for _ in pool.run(): draw(pool.runs)` wakes a few times a second until all have ended.
    """

    def __init__(self, store: Store, cells: list[tuple[str, str]], places: list[Slot], data_dir: Path | None) -> None:
        self.store = store
        self.runs = [Run(cell_id, title) for cell_id, title in cells]
        self.free = list(places)
        self.data_dir = data_dir
        self.box: TimeBox | None = None
        self.on_done: list[Callable[[Run], None]] = []
        self._told = -REPEAT_SECONDS

    def run(self, tick: float = 0.25) -> Iterator[None]:
        """Runs everything; ends the workers softly (they save checkpoints) when it is interrupted."""
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
            chosen = next(iter(waiting), None) if self.box is None else self.box.choose(waiting)
            if chosen is None:
                return
            self._begin(chosen, self.free.pop())

    def _begin(self, run: Run, slot: Slot) -> None:
        folder = self.store.folder(run.cell_id)
        command = [sys.executable, "-m", "seqdis.bench.cli", "cell", str(folder), "--device", slot.device]
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

    def _outcome(self, run: Run, code: int) -> tuple[str, str]:
        folder = self.store.folder(run.cell_id)
        if code == DONE and self.store.is_done(run.cell_id):
            return "done", ""
        if code == DONE:
            return "waiting", "another process is at work on it"
        if code == WAITING:
            return "waiting", _last_line(folder / LOG)
        if code == INTERRUPTED:
            return "waiting", "interrupted; run the same line again to go on"
        if code < 0 and self.box is not None and self.box.is_over:
            return (
                "waiting",
                "stopped at the end of its time; run the same line again to go on from its last checkpoint",
            )
        with contextlib.suppress(UserError):
            return "failed", str(read_json(folder / ERROR)["reason"])
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


def _last_line(path: Path) -> str:
    with contextlib.suppress(OSError):
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""
    return ""
