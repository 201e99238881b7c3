"""A cell as a process of its own: it holds the cell's lease, is stopped by signals, and ends in an exit code."""

from __future__ import annotations

import dataclasses
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import torch

from seqdis.bench.cell.build import NotApplicable
from seqdis.bench.cell.device import pick_device
from seqdis.bench.cell.experiment import Experiment
from seqdis.bench.cell.progress import FailureUpdate, ProgressFile, Report, Update
from seqdis.bench.cell.report import not_applicable
from seqdis.bench.cell.trainer import Diverged, Interrupted
from seqdis.bench.cell.trial import run_trial
from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.bench.core.exits import DONE, FAILED, INTERRUPTED, WAITING, silence_closed_terminal
from seqdis.bench.core.files import write_json
from seqdis.bench.core.lease import Lease, LeaseHeld, LeaseLost
from seqdis.bench.core.places import data_root
from seqdis.bench.core.provenance import code_version
from seqdis.bench.core.times import utc_now
from seqdis.bench.plan.today import method_code, suite_code
from seqdis.bench.records.config import RunConfig, read_config
from seqdis.bench.records.record import RECORD, Record, write_record
from seqdis.bench.records.store import CHECKPOINT, CONFIG, ERROR
from seqdis.bench.records.tuning import read_assignment


class StopFlag:
    """True after SIGUSR2 (what SLURM sends before the end), SIGTERM, or SIGHUP of a terminal that closes.

    The loop asks it each step.
    """

    def __init__(self) -> None:
        self.set = False
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.set = True
        if number == signal.SIGHUP:
            silence_closed_terminal()

    def __call__(self) -> bool:
        return self.set


def run_cell(folder: Path, *, device: str = "auto", data_dir: Path | None = None) -> int:
    """Runs the cell whose config lies in `folder` and publishes its record. May be called any number of times.

    A trial of a search is trained to the step that it is assigned, see `trial.run_trial`.

    Returns:
        DONE (also when another process is at work on it or has done it), FAILED (error.json says why), WAITING (its
        data or judge is missing), INTERRUPTED (checkpoint saved).
    """
    if (folder / RECORD).exists():
        return DONE
    config, assignment = read_config(folder / CONFIG), read_assignment(folder)
    stop, report = StopFlag(), ProgressFile(folder)
    try:
        with Lease(folder) as lease:
            if (folder / RECORD).exists():
                return DONE
            place, root = pick_device(device), data_dir or data_root()

            def run() -> Record | None:
                experiment = Experiment(
                    config,
                    folder=folder,
                    device=place,
                    root=root,
                    report=report,
                    should_stop=lambda: stop() or lease.lost,
                )
                return experiment.record() if assignment is None else run_trial(experiment, assignment)

            return _attempt(run, folder, config, lease, report)
    except LeaseHeld as held:
        print(f"{held}; nothing to do here", flush=True)
        return DONE


def _attempt(run: Callable[[], Record | None], folder: Path, config: RunConfig, lease: Lease, report: Report) -> int:
    # Asked now and kept: it is this code that runs, whatever is checked out when the record is written.
    code_version(), method_code(config.cell.method), suite_code(config.cell.dataset)
    try:
        record = run()
        if record is None:  # a trial that has come to its rung, and may go on later
            (folder / ERROR).unlink(missing_ok=True)
            report(Update("done"))
            return DONE
    except Interrupted as interrupted:
        print(interrupted, flush=True)
        return INTERRUPTED
    except MissingDataError as error:
        print(f"waiting: {error}", flush=True)
        return WAITING
    except NotApplicable as error:
        record = not_applicable(config, str(error))
    except Exception as error:  # whatever a method raises: the cell is recorded as failed and the others go on
        report(FailureUpdate("failed", _write_error(folder, lease.attempt, error)[:500]))
        return FAILED
    record = dataclasses.replace(record, attempts=lease.attempt)
    try:
        lease.check()
    except LeaseLost as lost:
        print(lost, flush=True)
        return DONE
    if not write_record(folder, record):
        print("another process has published this cell's record; it stays", flush=True)
    for name in (ERROR, CHECKPOINT):
        (folder / name).unlink(missing_ok=True)
    report(Update("done"))
    return DONE


def _write_error(folder: Path, attempt: int, error: Exception) -> str:
    """Writes error.json, while the error is being handled; returns the reason."""
    reason = str(error) if isinstance(error, UserError | Diverged) else f"{type(error).__name__}: {error}"
    if isinstance(error, torch.cuda.OutOfMemoryError):
        reason = f"the GPU's memory is full: fewer cells side by side (--per-device) or a larger GPU. {reason}"
    text = traceback.format_exc()
    print(text, flush=True)
    write_json(
        folder / ERROR,
        {"reason": reason[:2000], "traceback": text[-8000:], "when": utc_now(), "attempt": attempt},
    )
    return reason
