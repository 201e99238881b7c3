"""One cell: open the data, train, judge, record. The same code runs on a laptop and in a SLURM job."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from seqdis.bench.cell import trackers
from seqdis.bench.cell.build import NotApplicable, build_method, check_applicable, shape_of
from seqdis.bench.cell.checkpoint import State
from seqdis.bench.cell.clips import ClipConfig, make_clips
from seqdis.bench.cell.data import open_dataset, training_split
from seqdis.bench.cell.device import check_precision, set_precision, set_repeatable
from seqdis.bench.cell.energy import EnergyMeter
from seqdis.bench.cell.progress import Report, Update
from seqdis.bench.cell.report import change_notes, cost_part, method_record, oracle_record, training_part
from seqdis.bench.cell.trackers import Trackers
from seqdis.bench.cell.trainer import Trainer
from seqdis.bench.core.environment import weights_limit
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import write_bytes
from seqdis.bench.core.schema import to_json
from seqdis.bench.core.seeds import derive
from seqdis.bench.plan import catalog, presets
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.plan.settings import built
from seqdis.bench.records.clips import save_clips
from seqdis.bench.records.config import RunConfig, TrainingConfig
from seqdis.bench.records.flatten import flatten
from seqdis.bench.records.record import Record, Warned
from seqdis.bench.records.store import CHECKPOINT, WEIGHTS
from seqdis.datasets.base import DataSet, Spec, Split
from seqdis.judges import protocol
from seqdis.judges.controls import Oracle
from seqdis.judges.judge import Judge, load_judge
from seqdis.methods.base import Method


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained method and what training cost.

    Attributes:
        state: where training ended.
        n_steps: that it was to take.
        batch_size: clips of a step.
        energy_joules: of its training; None where it was not read, or not from its beginning.
        warnings: what went wrong in it.
    """

    method: Method
    state: State
    n_steps: int
    batch_size: int
    energy_joules: float | None
    warnings: tuple[Warned, ...]


class Experiment:
    """The cell of a resolved config."""

    def __init__(
        self,
        config: RunConfig,
        *,
        folder: Path,
        device: torch.device,
        root: Path,
        report: Report,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.config, self.folder, self.device, self.root = config, folder, device, root
        self.report, self.should_stop = report, should_stop
        self.cell, self.evaluation = config.cell, config.evaluation
        self.notes: list[str] = []
        self.trackers = Trackers(())

    def record(self) -> Record:
        """Trains and judges; returns the record."""
        try:
            record = self._record()
            if record.training.steps:
                names, values = flatten(to_json(record))
                self.trackers.test(record.training.steps, dict(zip(names, values, strict=True)))
            return record
        finally:
            self.trackers.close()

    def _record(self) -> Record:
        self.report(Update("data"))
        set_precision("float32")  # also for the judge of a control, which trains nothing
        dataset = self.open_data()
        judge = self.open_judge(dataset)
        if self.cell.method == catalog.ORACLE:
            return self._oracle(dataset, judge)
        trained = self.train(dataset, judge)
        self.report(Update("judge"))
        gpu_memory = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0
        started = time.monotonic()
        found = protocol.evaluate(trained.method, dataset, judge, self.evaluation, self.device)
        evaluation_seconds = time.monotonic() - started
        self._keep_weights(trained.method)
        save_clips(self.folder, make_clips(trained.method, dataset, ClipConfig(seed=self.evaluation.seed), self.device))
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
                energy_joules=trained.energy_joules,
                device=self.device,
            ),
            device=self.device,
            notes=self.notes,
            warnings=trained.warnings,
        )

    def open_data(self) -> DataSet:
        return open_dataset(self.config, self.root)

    def open_judge(self, dataset: DataSet) -> Judge | None:
        if dataset.spec.headline[0] == "verification":
            return None
        return load_judge(dataset.spec, self.root).to(self.device)

    def train(self, dataset: DataSet, judge: Judge | None, until: int = 0) -> Trained:
        """Trains the cell's method, or goes on with it.

        Args:
            until: see `Trainer.fit`.

        Raises:
            NotApplicable: it cannot be scored on these data.
            UserError: the device has not the precision.
            Interrupted: asked to stop; the state is saved.
            Diverged: a loss is not finite.
        """
        kind, config = self._method()
        check_applicable(kind, config, dataset.spec)
        check_precision(self.config.training.precision, self.device)
        self._note_scale(kind, dataset.spec)
        split = training_split(dataset, kind.needs(config))
        if self.device.type == "cuda" and dataset.spec.modality == "video":
            # Resident like the training clips: those that are rendered when asked for would keep one CPU core busy.
            dataset.validation, dataset.test = dataset.validation.to(self.device), dataset.test.to(self.device)
        with EnergyMeter(self.device) as energy:
            training = self.config.training
            set_precision(training.precision)
            set_repeatable(os.environ.get("SEQDIS_DETERMINISTIC") == "1")
            trainer = self._trainer(self._build(kind, config, dataset.spec, split), training, dataset, split, judge)
            state = trainer.fit(until)
            set_precision("float32")  # what judges and scores is computed alike for all
        self._note_training(trainer)
        joules = None if trainer.resumed else energy.joules
        return Trained(
            trainer.method, state, trainer.n_steps, trainer.batch_size, joules, tuple(trainer.alarms.found.values())
        )

    def untrained(self, dataset: DataSet) -> Method:
        """The method with its first weights.

        Raises:
            UserError: its plug-in has changed.
        """
        kind, config = self._method()
        return self._build(kind, config, dataset.spec, training_split(dataset, kind.needs(config)))

    def _method(self) -> tuple[type[Method], Any]:
        """The method's class and its config."""
        ref = MethodRef(self.cell.method, self.cell.variant, self.config.plugin)
        if ref.plugin and ref.digest != self.config.plugin_digest:
            raise UserError(
                f"{ref.plugin} has changed since this cell was planned; type the line that planned it again."
            )
        found = catalog.load_method(ref)
        return found, built(found.Config, self.config.method)

    def _build(self, kind: type[Method], config: Any, spec: Spec, split: Split) -> Method:
        """The method with weights drawn from the seed, for clips as `split` has them."""
        first = torch.zeros(1, dtype=torch.long, device=split.device)
        shape = shape_of(
            spec,
            n_frames=split.clips(first, torch.Generator(split.device)).shape[1],
            n_train=len(split),
            n_sequences=split.n_sequences,
        )
        return build_method(kind, config, shape, seed=derive(self.cell.seed, "initialise"), device=self.device)

    def _trainer(
        self, method: Method, training: TrainingConfig, dataset: DataSet, split: Split, judge: Judge | None
    ) -> Trainer:
        dynamic = dataset.spec.by_role("dynamic")
        wanted = bool(dynamic) and type(method).needs(method.config).motion_labels
        return Trainer(
            method,
            split,
            dataset.spec,
            training,
            seed=self.cell.seed,
            device=self.device,
            validate=lambda candidate: self._validate(candidate, dataset, judge, training.precision),
            motion_labels=split.labels[dynamic[0].name] if wanted else None,
            checkpoint=self.folder / CHECKPOINT,
            report=self.report,
            track=self._track,
            should_stop=self.should_stop,
        )

    def _track(self, state: State, n_steps: int) -> Trackers:
        self.trackers = trackers.opened(self.folder, self.config, state, n_steps)
        return self.trackers

    def _validate(self, method: Method, dataset: DataSet, judge: Judge | None, precision: str) -> dict[str, float]:
        set_precision("float32")
        try:
            return protocol.selection_score(
                method, dataset.validation, dataset.spec, judge, self.evaluation, self.device
            )
        finally:
            set_precision(precision)

    def _keep_weights(self, method: Method) -> None:
        """Writes the trained weights beside the record, if the user wants them and they are not too many."""
        from safetensors.torch import save

        limit = weights_limit()
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in method.state_dict().items()}
        size = sum(value.nbytes for value in tensors.values())
        if limit == 0:
            return
        if size > limit:
            print(f"weights not kept: {size / 2**20:.0f} MiB are more than SEQDIS_WEIGHTS allows", flush=True)
            return
        write_bytes(self.folder / WEIGHTS, save(tensors, metadata={"cell": self.config.id}))

    def _note_scale(self, kind: type[Method], spec: Spec) -> None:
        """Says that the preset does not train this row, where it is known and the settings are the preset's."""
        preset = presets.PRESETS.get(self.cell.preset)
        if preset is None:  # of an earlier version, in a record that is run again
            return
        note = presets.not_trained_note(preset, kind, self.cell.variant, self.cell.dataset, spec.modality)
        if note and not self.cell.overrides:
            self.notes.append(note)

    def _note_training(self, trainer: Trainer) -> None:
        """Says what of this training was not as planned, or not of one piece."""
        wanted = trainer.config.batch_size
        if trainer.batch_size < wanted:
            self.notes.append(f"batch of {trainer.batch_size}: the split has no {wanted} clips")
        self.notes += change_notes(trainer.state.changes or ())

    def _oracle(self, dataset: DataSet, judge: Judge | None) -> Record:
        """The control that renders the true factors: real clips of the test set, looked up by their labels."""
        if judge is None:
            raise NotApplicable("the oracle looks clips up by their factors, and speaker verification compares codes")
        found = protocol.evaluate(Oracle(dataset.test, dataset.spec), dataset, judge, self.evaluation, self.device)
        return oracle_record(self.config, dataset, judge, found, device=self.device)
