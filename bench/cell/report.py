"""The only place where a record is built: what a run says of its cell, its data, its training and its cost."""

from __future__ import annotations

import dataclasses
import platform
import resource
import sys
from collections.abc import Sequence

import torch

from seqdis.bench.cell.checkpoint import State
from seqdis.bench.cell.device import device_name, processor_name
from seqdis.bench.core.environment import number
from seqdis.bench.core.provenance import code_version
from seqdis.bench.core.schema import from_json
from seqdis.bench.core.times import utc_now
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.plan.contract import supervision
from seqdis.bench.plan.today import method_code, suite_code
from seqdis.bench.records.config import RunConfig
from seqdis.bench.records.record import (
    Augment,
    Cell,
    Change,
    Code,
    CodeDigests,
    Config,
    Cost,
    Data,
    Environment,
    Factor,
    Failure,
    JudgeCard,
    NamedData,
    Protocol,
    Record,
    Splits,
    Training,
    Warned,
)
from seqdis.bench.records.tuning import Tuning
from seqdis.datasets.base import DataSet
from seqdis.judges.controls import Oracle
from seqdis.judges.judge import Judge
from seqdis.judges.scores import Evaluation, Metrics
from seqdis.judges.settings import PROTOCOL_VERSION
from seqdis.methods.base import Method


def method_record(
    config: RunConfig,
    method: Method,
    dataset: DataSet,
    judge: Judge | None,
    found: Evaluation,
    *,
    training: Training,
    cost: Cost,
    device: torch.device,
    notes: list[str],
    warnings: tuple[Warned, ...] | None = None,
) -> Record:
    """The record of a method that was trained and judged.

    Args:
        config: of the cell, resolved.
        found: what `judges.protocol.evaluate` gave.
        training: see `training_part`.
        cost: see `cost_part`.
        notes: sentences that a reader of the row must know, beside the method's own.
        warnings: what went wrong in training; None where nothing watched it.
    """
    scored = _scored(_done(config, dataset, judge, device), config, found)
    return _trained(scored, config, method, dataset, training=training, cost=cost, notes=notes, warnings=warnings)


def trial_record(
    config: RunConfig,
    method: Method,
    dataset: DataSet,
    judge: Judge | None,
    *,
    tuning: Tuning,
    training: Training,
    cost: Cost,
    device: torch.device,
    notes: list[str],
    warnings: tuple[Warned, ...],
) -> Record:
    """The record of a trial of a search that trained to the end: `method_record` without scores on test clips."""
    done = dataclasses.replace(_done(config, dataset, judge, device), tuning=tuning)
    return _trained(done, config, method, dataset, training=training, cost=cost, notes=notes, warnings=warnings)


def _trained(
    record: Record,
    config: RunConfig,
    method: Method,
    dataset: DataSet,
    *,
    training: Training,
    cost: Cost,
    notes: list[str],
    warnings: tuple[Warned, ...] | None,
) -> Record:
    """A record with what is known of the method and its training."""
    kind, needs = type(method), type(method).needs(method.config)
    capabilities = kind.capabilities(method.config)
    return dataclasses.replace(
        record,
        title=kind.variant_title(config.cell.variant),
        paper=kind.paper,
        supervision=supervision(needs, dataset.spec.signal),
        ranked=capabilities.ranked,
        notes=(*([capabilities.note] if capabilities.note else []), *notes),
        training=training,
        cost=cost,
        signal=dataset.spec.signal.how if needs.signal and dataset.spec.signal is not None else None,
        warnings=warnings,
    )


def oracle_record(
    config: RunConfig, dataset: DataSet, judge: Judge, found: Evaluation, *, device: torch.device
) -> Record:
    """The record of the control that looks up real clips by their factors: nothing is trained, so nothing is ranked."""
    return dataclasses.replace(
        _scored(_done(config, dataset, judge, device), config, found),
        title=Oracle.title,
        paper="control: renders the true factors",
    )


def rescored(record: Record, config: RunConfig, judge: Judge, found: Evaluation, *, device: torch.device) -> Record:
    """The record of a finished cell that another judge has scored; its training and cost are those of the first.

    Args:
        record: of the finished cell.
        config: the same, with the judge among its versions.
        found: what `judges.protocol.evaluate` gave under `judge`.
    """
    blank, card = _blank(config), judge.card
    return dataclasses.replace(
        record,
        cell=blank.cell,
        config=blank.config,
        notes=(*record.notes, f"scored again by the judge {card.name}; trained once, as {record.cell.id}"),
        judge=JudgeCard(name=card.name, sha256=card.sha256, accuracy=card.accuracy),
        metrics=found.metrics,
        identities=found.identities,
        environment=dataclasses.replace(
            blank.environment, device=device_name(device), precision=record.environment.precision
        ),
        code=blank.code,
        finished=blank.finished,
    )


def not_applicable(config: RunConfig, reason: str) -> Record:
    """The record of a cell whose method cannot be scored on its data; `reason` is what the table prints."""
    return dataclasses.replace(_blank(config), status="n/a", error=Failure(reason=reason))


def training_part(state: State, *, planned_steps: int, batch_size: int) -> Training:
    """What a record says of the training that ended in `state`."""
    return Training(
        steps=state.step,
        planned_steps=planned_steps,
        complete=state.step >= planned_steps or (state.stale > 0 and state.finished),
        epochs=state.epoch + 1,
        selected_step=state.best_step if state.best_step >= 0 else state.step,
        selection="validation score" if state.validation else "last step",
        validation=state.validation,
        losses=state.losses,
        batch_size=batch_size,
        changes=state.changes,
    )


def change_notes(changes: Sequence[Change]) -> list[str]:
    """A sentence for each kind of thing that was not the same in all parts of a run."""
    notes = []
    for what in dict.fromkeys(change.what for change in changes):
        found = [change for change in changes if change.what == what]
        spans = "".join(f" to step {change.step}, then {change.after}" for change in found)
        notes.append(f"not run in one piece: {what} {found[0].before}{spans}"[:500])
    return notes


def cells_beside() -> int:
    """Cells that the launcher runs side by side on a device, with this one.

    Raises:
        UserError: its variable holds no such number.
    """
    return int(number("SEQDIS_BESIDE", 1, 1, 10_000))


def cost_part(
    method: Method,
    state: State,
    *,
    batch_size: int,
    evaluation_seconds: float,
    gpu_memory_bytes: int,
    energy_joules: float | None,
    device: torch.device,
) -> Cost:
    """What a record says of the cost of a trained method.

    Args:
        energy_joules: of the training; None where it was not read, or not from its beginning. Left out where other
            cells ran on the same GPU, whose energy it would count too.
    """
    beside = cells_beside()
    return Cost(
        train_seconds=state.seconds,
        evaluation_seconds=evaluation_seconds,
        sequences_per_second=state.step * batch_size / max(state.seconds, 1e-9),
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        gpu_memory_bytes=gpu_memory_bytes,
        parameters=sum(p.numel() for p in method.parameters()),
        energy_joules=None if beside > 1 else energy_joules,
        cells_on_gpu=beside if device.type == "cuda" else 1,
    )


def _done(config: RunConfig, dataset: DataSet, judge: Judge | None, device: torch.device) -> Record:
    """What every record of a cell that came to its end says, whatever the method."""
    blank = _blank(config)
    return dataclasses.replace(
        blank,
        data=_data(dataset),
        judge=None
        if judge is None
        else JudgeCard(name=judge.card.name, sha256=judge.card.sha256, accuracy=judge.card.accuracy),
        environment=dataclasses.replace(
            blank.environment, device=device_name(device), precision=config.training.precision
        ),
    )


def _scored(record: Record, config: RunConfig, found: Evaluation) -> Record:
    """A record with what the protocol found on test clips."""
    return dataclasses.replace(
        record,
        protocol=Protocol(
            name=found.protocol,
            version=PROTOCOL_VERSION,
            draws=config.evaluation.draws,
            sample=config.evaluation.sample,
        ),
        metrics=found.metrics,
        identities=found.identities,
    )


def _data(dataset: DataSet) -> Data:
    spec = dataset.spec
    return Data(
        name=spec.name,
        title=spec.title,
        source=spec.source,
        revision=spec.revision,
        digest=dataset.digest,
        frame=spec.frame,
        n_frames=spec.n_frames,
        split_rule=spec.split_rule,
        licence=spec.licence,
        attribution=spec.attribution,
        splits=Splits(train=len(dataset.train), validation=len(dataset.validation), test=len(dataset.test)),
        factors=tuple(Factor(name=one.name, role=one.role, classes=tuple(one.classes)) for one in spec.factors),
        headline=spec.headline,
        modality=spec.modality,
        may_show=spec.may_show,
        augment=Augment(**dataclasses.asdict(spec.augment)),
    )


def _blank(config: RunConfig) -> Record:
    """A record with all that is known before anything ran."""
    cell, written = config.cell, config.to_json()
    return Record(
        status="done",
        cell=from_json(Cell, {"id": config.id, **written["cell"]}),
        title=str(MethodRef(cell.method, cell.variant)),
        paper="",
        supervision="none",
        ranked=False,
        notes=(),
        config=Config(
            **{key: written[key] for key in ("method", "training", "evaluation", "data", "versions", "plugin_digest")}
        ),
        data=NamedData(name=cell.dataset, source=cell.source),
        judge=None,
        protocol=Protocol(name="none", version=PROTOCOL_VERSION, draws=0, sample=""),
        metrics=Metrics(),
        training=Training(
            steps=0,
            planned_steps=0,
            complete=True,
            epochs=0,
            selected_step=0,
            selection="none",
            validation=(),
            losses=(),
            batch_size=0,
        ),
        cost=Cost(
            train_seconds=0.0,
            evaluation_seconds=0.0,
            sequences_per_second=0.0,
            peak_memory_bytes=0,
            gpu_memory_bytes=0,
            parameters=0,
            energy_joules=None,
        ),
        environment=Environment(
            python=platform.python_version(),
            torch=torch.__version__,
            platform=sys.platform,
            machine=platform.machine(),
            processor=processor_name(),
            device="",
            threads=torch.get_num_threads(),
            precision="",
        ),
        code=Code(
            **code_version()._asdict(),
            digests=CodeDigests(
                method=config.plugin_digest or method_code(cell.method), suite=suite_code(cell.dataset)
            ),
        ),
        attempts=1,
        finished=utc_now(),
    )
