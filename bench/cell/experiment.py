"""One cell: open the data, train, judge, record. The same code runs on a laptop and in a SLURM job."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from seqdis.bench.cell.checkpoint import State
from seqdis.bench.cell.clips import ClipConfig, make_clips
from seqdis.bench.cell.energy import EnergyMeter
from seqdis.bench.cell.progress import FailureUpdate, ProgressFile, Report, Update
from seqdis.bench.cell.report import (
    cost_part,
    method_record,
    not_applicable,
    now,
    oracle_record,
    training_part,
)
from seqdis.bench.cell.trainer import Diverged, Interrupted, Trainer
from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.bench.core.exits import DONE, FAILED, INTERRUPTED, WAITING
from seqdis.bench.core.files import read_json, write_json
from seqdis.bench.core.lease import Lease, LeaseHeld, LeaseLost
from seqdis.bench.core.places import data_root
from seqdis.bench.core.provenance import code_version
from seqdis.bench.core.seeds import derive
from seqdis.bench.plan import catalog, presets
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.plan.cells import untupled
from seqdis.bench.plan.presets import TrainingConfig
from seqdis.bench.records import record as records
from seqdis.bench.records.clips import save_clips
from seqdis.bench.records.store import CHECKPOINT, CONFIG, ERROR
from seqdis.datasets.base import DataSet, Split
from seqdis.judges import protocol
from seqdis.judges.controls import Oracle
from seqdis.judges.judge import Judge, load_judge
from seqdis.judges.settings import EvaluationConfig
from seqdis.methods.base import Method, Needs, NotForTheseData, Shape, SignalShape


class NotApplicable(Exception):
    """The method cannot be scored on this data set; the message is the reason that the table prints."""


class StopFlag:
    """True after SIGUSR2 (what SLURM sends before the end) or SIGTERM. The loop asks it each step."""

    def __init__(self) -> None:
        self.set = False
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.set = True

    def __call__(self) -> bool:
        return self.set


def run_cell(folder: Path, *, device: str = "auto", data_dir: Path | None = None) -> int:
    """Runs the cell whose config lies in `folder` and publishes its record. May be called any number of times.

    Returns:
        DONE (also when another process is at work on it or has done it), FAILED (error.json says why), WAITING (its
        data or judge is missing), INTERRUPTED (checkpoint saved).
    """
    if (folder / records.NAME).exists():
        return DONE
    config = read_json(folder / CONFIG)
    stop = StopFlag()
    report = ProgressFile(folder)
    try:
        with Lease(folder) as lease:
            if (folder / records.NAME).exists():
                return DONE
            return _attempt(folder, config, lease, stop, report, pick_device(device), data_dir or data_root())
    except LeaseHeld as held:
        print(f"{held}; nothing to do here", flush=True)
        return DONE


def _attempt(
    folder: Path,
    config: dict[str, Any],
    lease: Lease,
    stop: StopFlag,
    report: Report,
    device: torch.device,
    root: Path,
) -> int:
    code_version()  # asked now and kept: it is this code that runs, whatever is checked out when the record is written
    try:
        record = Experiment(
            config, folder=folder, device=device, root=root, report=report, should_stop=lambda: stop() or lease.lost
        ).record()
    except Interrupted as interrupted:
        print(interrupted, flush=True)
        return INTERRUPTED
    except MissingDataError as error:
        print(f"waiting: {error}", flush=True)
        return WAITING
    except NotApplicable as error:
        record = not_applicable(config, str(error))
    except Exception as error:  # whatever a method raises: the cell is recorded as failed and the others go on
        reason = str(error) if isinstance(error, UserError | Diverged) else f"{type(error).__name__}: {error}"
        if isinstance(error, torch.cuda.OutOfMemoryError):
            reason = f"the GPU's memory is full: fewer cells side by side (--per-device) or a larger GPU. {reason}"
        print(traceback.format_exc(), flush=True)
        write_json(
            folder / ERROR,
            {
                "reason": reason[:2000],
                "traceback": traceback.format_exc()[-8000:],
                "when": now(),
                "attempt": lease.attempt,
            },
        )
        report(FailureUpdate("failed", reason[:500]))
        return FAILED
    record = dataclasses.replace(record, attempts=lease.attempt)
    try:
        lease.check()
    except LeaseLost as lost:
        print(lost, flush=True)
        return DONE
    if not records.write_record(folder, record):
        print("another process has published this cell's record; it stays", flush=True)
    for name in (ERROR, CHECKPOINT):
        (folder / name).unlink(missing_ok=True)
    report(Update("done"))
    return DONE


@dataclasses.dataclass
class Trained:
    """A trained method and what training cost."""

    method: Method
    state: State
    n_steps: int
    batch_size: int
    resumed: bool


class Experiment:
    """The cell of a resolved config."""

    def __init__(
        self,
        config: dict[str, Any],
        *,
        folder: Path,
        device: torch.device,
        root: Path,
        report: Report,
        should_stop: Any = lambda: False,
    ) -> None:
        self.config, self.folder, self.device, self.root = config, folder, device, root
        self.report, self.should_stop = report, should_stop
        self.cell = config["cell"]
        self.evaluation = EvaluationConfig(**untupled(EvaluationConfig, config["evaluation"]))
        self.notes: list[str] = []

    def record(self) -> records.Record:
        """Trains and judges; returns the record."""
        self.report(Update("data"))
        set_precision("float32")  # also for the judge of a control, which trains nothing
        dataset = self.open_data()
        judge = self.open_judge(dataset)
        if self.cell["method"] == catalog.ORACLE:
            return self._oracle(dataset, judge)
        method_class, method_config = self.method()
        self._check_applicable(method_class, method_config, dataset)
        needs = method_class.needs(method_config)
        self._note_scale()
        if needs.signal:
            dataset.load_signal()
        if self.device.type == "cuda" and dataset.spec.modality == "video":
            # Resident like the training clips: those that are rendered when asked for would keep one CPU core busy.
            dataset.validation, dataset.test = dataset.validation.to(self.device), dataset.test.to(self.device)
        split = dataset.segmented() if needs.segments else dataset.train
        with EnergyMeter(self.device) as energy:
            trained = self.train(method_class, method_config, dataset, split, judge)
        self.report(Update("judge"))
        gpu_memory = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0
        started = time.monotonic()
        found = protocol.evaluate(trained.method, dataset, judge, self.evaluation, self.device)
        evaluation_seconds = time.monotonic() - started
        self._save_clips(trained.method, dataset)
        return method_record(
            self.config,
            trained.method,
            dataset,
            judge,
            found,
            training=training_part(trained.state, planned_steps=trained.n_steps, batch_size=trained.batch_size),
            cost=cost_part(
                trained.method,
                trained.state,
                batch_size=trained.batch_size,
                evaluation_seconds=evaluation_seconds,
                gpu_memory_bytes=gpu_memory,
                energy_joules=None if trained.resumed else energy.joules,
                device=self.device,
            ),
            device=self.device,
            notes=self.notes,
        )

    def open_data(self) -> DataSet:
        return open_dataset(self.cell, self.root, self.config["data"])

    def open_judge(self, dataset: DataSet) -> Judge | None:
        if dataset.spec.headline[0] == "verification":
            return None
        return load_judge(dataset.spec, self.root).to(self.device)

    def method(self) -> tuple[type[Method], Any]:
        """The method's class and its config."""
        ref = MethodRef(self.cell["method"], self.cell["variant"], self.config["plugin"])
        if ref.plugin and ref.digest != self.config["plugin_digest"]:
            raise UserError(
                f"{ref.plugin} has changed since this cell was planned; type the line that planned it again."
            )
        found = catalog.load_method(ref)
        return found, found.Config(**untupled(found.Config, self.config["method"]))

    def build(self, method_class: type[Method], method_config: Any, dataset: DataSet, split: Split) -> Method:
        """The method with weights drawn from the seed."""
        spec = dataset.spec
        signal = None if spec.signal is None else SignalShape(dim=spec.signal.dim, kind=spec.signal.kind)
        motions = [factor.n_classes for factor in spec.by_role("dynamic")]
        n_frames = split.clips(
            torch.zeros(1, dtype=torch.long, device=split.device), torch.Generator(split.device)
        ).shape[1]
        shape = Shape(
            frame=spec.frame,
            n_frames=n_frames,
            n_train=len(split),
            n_sequences=split.n_sequences,
            n_motions=motions[0] if motions else 0,
            signal=signal,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.cell["seed"], "initialise"))
            try:
                method = method_class(method_config, shape)
            except NotForTheseData as error:
                raise NotApplicable(str(error)) from error
        method = method.to(self.device)
        return to_channels_last(method) if spec.modality == "video" else method

    def train(
        self, method_class: type[Method], method_config: Any, dataset: DataSet, split: Split, judge: Judge | None
    ) -> Trained:
        training = TrainingConfig(**self.config["training"])
        set_precision(training.precision)
        set_repeatable(os.environ.get("SEQDIS_DETERMINISTIC") == "1")
        needs = method_class.needs(method_config)
        method = self.build(method_class, method_config, dataset, split)
        dynamic = dataset.spec.by_role("dynamic")
        trainer = Trainer(
            method,
            split,
            dataset.spec,
            training,
            seed=self.cell["seed"],
            device=self.device,
            validate=lambda candidate: self._validate(candidate, dataset, judge, training.precision),
            motion_labels=split.labels[dynamic[0].name] if dynamic and needs.motion_labels else None,
            checkpoint=self.folder / CHECKPOINT,
            report=self.report,
            should_stop=self.should_stop,
        )
        if trainer.batch_size < training.batch_size:
            self.notes.append(f"batch of {trainer.batch_size}: the split has no {training.batch_size} clips")
        state = trainer.fit()
        set_precision("float32")  # what judges and scores is computed alike for all
        resumed = trainer.resumed
        if resumed is not None and resumed.commit != str(code_version()["commit"]):
            self.notes.append(f"resumed from a checkpoint of commit {resumed.commit[:12]}")
        if resumed is not None and resumed.gpu:
            self.notes.append(f"begun on another GPU ({resumed.gpu})")
        return Trained(method, state, trainer.n_steps, trainer.batch_size, resumed is not None)

    def _validate(self, method: Method, dataset: DataSet, judge: Judge | None, precision: str) -> dict[str, float]:
        set_precision("float32")
        try:
            return protocol.selection_score(
                method, dataset.validation, dataset.spec, judge, self.evaluation, self.device
            )
        finally:
            set_precision(precision)

    def _check_applicable(self, method_class: type[Method], method_config: Any, dataset: DataSet) -> None:
        if dataset.spec.headline[0] == "verification" and not method_class.capabilities(method_config).encodes:
            raise NotApplicable(f"{method_class.title} has no encoder, and speaker verification compares codes")
        if method_class.needs(method_config).signal and dataset.spec.signal is None:
            raise NotApplicable(f"{method_class.title} needs a per-frame signal, and {dataset.spec.name} has none")

    def _note_scale(self) -> None:
        """Says that the preset does not train this row, where it is known and the settings are the preset's."""
        preset = presets.get(self.cell["preset"])
        note = presets.not_trained_note(preset, self.cell["method"], self.cell["variant"], self.cell["dataset"])
        if note and not self.cell["overrides"]:
            self.notes.append(note)

    def _save_clips(self, method: Method, dataset: DataSet) -> None:
        save_clips(self.folder, make_clips(method, dataset, ClipConfig(seed=self.evaluation.seed), self.device))

    def _oracle(self, dataset: DataSet, judge: Judge | None) -> records.Record:
        """The control that renders the true factors: real clips of the test set, looked up by their labels."""
        if judge is None:
            raise NotApplicable("the oracle looks clips up by their factors, and speaker verification compares codes")
        found = protocol.evaluate(Oracle(dataset.test, dataset.spec), dataset, judge, self.evaluation, self.device)
        return oracle_record(self.config, dataset, judge, found, device=self.device)


def open_dataset(cell: dict[str, Any], root: Path, options: dict[str, Any]) -> DataSet:
    """Opens a cell's data set.

    Raises:
        MissingDataError: it is not prepared; the error holds the command that does it.
    """
    return catalog.load_dataset(cell["dataset"]).open(root, cell["source"], cell["size"], **options)


def to_channels_last(method: Method) -> Method:
    """The method with the weights of its 2-d convolutions laid out channels last, in place; others stay as they are.

    `Module.to(memory_format=...)` tries it on every tensor of five axes too, and fails on a Conv3d.
    """
    for tensor in (*method.parameters(), *method.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return method


def training_split(dataset: DataSet, needs: Needs) -> Split:
    """The training clips that a method with these needs is given; reads the data's signal if it is one of them."""
    if needs.signal:
        dataset.load_signal()
    return dataset.segmented() if needs.segments else dataset.train


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is the GPU where there is one.

    Raises:
        UserError: an unknown device, or a GPU that isn't there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device {name!r}; use --device auto, cpu, cuda or cuda:0.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name} was asked for, but torch sees no GPU here; use --device cpu.")
    return device


def set_precision(precision: str) -> None:
    """float32 means float32: on a GPU torch would otherwise run convolutions and LSTMs in TF32."""
    allowed = precision == "tf32"
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def set_repeatable(exact: bool) -> None:
    """Whether a GPU repeats a run to the last bit, which costs speed.

    Without, cuDNN picks its algorithms by timing them and sums are added up in any order: two undisturbed runs differ
    by rounding, and so does one that was stopped and went on. The state it goes on from is exact either way. A CPU
    always repeats itself.
    """
    torch.backends.cudnn.benchmark = not exact
    torch.backends.cudnn.deterministic = exact
    if exact:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
