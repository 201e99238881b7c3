"""The local launcher: a bounded pool of worker processes, one a GPU, or one a CPU core with one thread each."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import read_json
from seqdis.bench.launch.environment import worker_environment
from seqdis.bench.store import ERROR, LOG, PROGRESS, Store

DONE, WAITING, INTERRUPTED = 0, 3, 75


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

    def progress(self, store: Store) -> dict[str, Any]:
        """What the worker last wrote, if anything."""
        path = store.folder(self.cell_id) / PROGRESS
        with contextlib.suppress(UserError, OSError):
            if path.stat().st_mtime >= self.started - 1:
                found: dict[str, Any] = read_json(path)
                return found
        return {}


def slots(device: str, workers: int | None) -> list[Slot]:
    """The places for workers on this machine.

    Args:
        device: auto, cpu, cuda or cuda:N.
        workers: how many at once; None is one a GPU, or one a CPU core.
    """
    gpus = _gpus() if device in ("auto", "cuda") else []
    if gpus:
        count = workers or len(gpus)
        chosen = [gpus[i % len(gpus)] for i in range(count)]
        threads = max(1, (os.cpu_count() or 1) // count)
        return [Slot({**worker_environment(threads), "CUDA_VISIBLE_DEVICES": gpu}, "cuda") for gpu in chosen]
    if device.startswith("cuda"):
        return [Slot(worker_environment(), device) for _ in range(workers or 1)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = workers or cores
    return [Slot(worker_environment(max(1, cores // count)), "cpu") for _ in range(count)]


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
        self.deadline: float | None = None

    def run(self, tick: float = 0.25) -> Iterator[None]:
        """Runs everything; ends the workers softly (they save checkpoints) when it is interrupted."""
        try:
            while any(run.state in ("queued", "running") for run in self.runs):
                self._start()
                self._collect()
                yield
                time.sleep(tick)
        finally:
            self._stop()

    def _start(self) -> None:
        for run in self.runs:
            if run.state != "queued" or not self.free:
                continue
            if self.deadline is not None and time.monotonic() > self.deadline:
                return
            run.slot = self.free.pop()
            folder = self.store.folder(run.cell_id)
            command = [sys.executable, "-m", "seqdis.bench.cli", "cell", str(folder), "--device", run.slot.device]
            if self.data_dir is not None:
                command += ["--data-dir", str(self.data_dir)]
            with open(folder / LOG, "ab") as log:
                # A session of its own: Ctrl-C reaches the pool, which then asks the workers to save and stop.
                run.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                                               env=run.slot.environment, stdin=subprocess.DEVNULL)
            run.state, run.started = "running", time.time()

    def _collect(self) -> None:
        for run in self.runs:
            if run.state != "running" or run.process is None:
                continue
            code = run.process.poll()
            if code is None:
                continue
            assert run.slot is not None
            self.free.append(run.slot)
            run.state, run.reason = self._outcome(run, code)

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
        with contextlib.suppress(UserError):
            return "failed", str(read_json(folder / ERROR)["reason"])
        return "failed", f"ended with {_signal_name(code)}; its log: {folder / LOG}"

    def _stop(self) -> None:
        running = [run.process for run in self.runs if run.state == "running" and run.process is not None]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
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
