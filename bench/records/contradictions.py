"""Where a record contradicts itself: identities, ranges, counts and dates, or the data prepared on this machine. No torch."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import math
from collections.abc import Iterator
from typing import Any

from seqdis.bench.core import schema
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import read_json
from seqdis.bench.core.places import data_root
from seqdis.bench.core.rules import Problem, shown
from seqdis.bench.records.config import cell_id, config_json
from seqdis.bench.records.record import Data, Json, Record
from seqdis.bench.records.tuning import Tuning
from seqdis.judges.scores import (
    Agreement,
    Directions,
    Draws,
    Generator,
    Identities,
    Metrics,
    Reconstruction,
    Scores,
    Verification,
)
from seqdis.judges.settings import DIRECTIONS

TOLERANCE = 1e-6
"""Nats by which an identity or a ceiling may be missed: rounding in double precision is far below."""
EARLIEST = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
"""Before it there was no suite that could have finished a cell."""
CLOCKS = datetime.timedelta(days=1)
"""By which the clocks of two machines may differ."""


def contradictions(record: Record) -> Iterator[Problem]:
    """Where a record of the right shape contradicts itself or the data prepared here."""
    yield from _cell(record)
    yield from _finished(record.finished)
    if isinstance(record.data, Data) and record.status == "done":
        yield from _settings(record, record.data)
        yield from _training(record)
        if record.tuning is None:
            yield from _metrics(record, record.data)
            yield from _headline(record, record.data)
        else:
            yield from _trial(record, record.data, record.tuning)
        yield from _local_data(record, record.data)


def _cell(record: Record) -> Iterator[Problem]:
    cell, data = record.cell, record.data
    if record.status != "done" and not (record.error and record.error.reason):
        yield "error.reason", f"is missing, but status is {record.status}"
    if data.name is not None and data.name != cell.dataset:
        yield "data.name", f"is {shown(data.name)}, but cell.dataset is {cell.dataset}"
    if data.source is not None and data.source != cell.source:
        yield "data.source", f"is {shown(data.source)}, but cell.source is {cell.source}"
    identity = rebuilt_config(record)
    if identity is None:
        yield "config", "lacks data, versions or plugin_digest: the id of the cell cannot be checked without them"
        return
    expected = cell_id(identity)
    if expected != cell.id:
        yield "cell.id", f"is {cell.id}, but this config's id is {expected}: config or cell was changed"


def _finished(text: str) -> Iterator[Problem]:
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        yield "finished", f"{shown(text)} is no date and time"
        return
    if when > datetime.datetime.now(datetime.UTC) + CLOCKS:
        yield "finished", f"{shown(text)} lies in the future"
    elif when < EARLIEST:
        yield "finished", f"{shown(text)} is before this suite existed ({EARLIEST.date()})"


def _settings(record: Record, data: Data) -> Iterator[Problem]:
    """What a record says twice, once as a setting and once as what came of it, it says alike."""
    config, protocol, cell = record.config, record.protocol, record.cell
    versions = config.versions or {}
    pairs: list[tuple[str, Any, str, Any]] = [
        ("protocol.version", protocol.version, "config.versions.protocol", versions.get("protocol")),
        ("data.revision", data.revision, "config.versions.data", versions.get("data")),
    ]
    if record.tuning is None:
        pairs += [
            ("protocol.draws", protocol.draws, "config.evaluation.draws", config.evaluation.get("draws")),
            ("protocol.sample", protocol.sample, "config.evaluation.sample", config.evaluation.get("sample")),
        ]
    if cell.batch:
        pairs.append(("cell.batch", cell.batch, "config.training.batch_size", config.training.get("batch_size")))
    precision = record.environment.precision
    if precision and "precision" in config.training:
        pairs.append(("environment.precision", precision, "config.training.precision", config.training["precision"]))
    for key, value in cell.overrides.items():
        if key.startswith(
            "training.capacity."
        ):  # a schedule by the name of what it schedules; typed as text, or taken out
            given = config.training.get("capacity") or {}
            if (value is not None) != (key.removeprefix("training.capacity.") in given):
                yield f"cell.overrides.{key}", "overrides a schedule that config does not have so"
            continue
        room, _, name = key.rpartition(".")
        parts = [
            getattr(config, part, None) or {} for part in ([room] if room else ("method", "training", "evaluation"))
        ]
        part = next((one for one in parts if name in one), None)
        if part is None:
            yield f"cell.overrides.{key}", "overrides a setting that config does not have"
        else:
            pairs.append((f"cell.overrides.{key}", value, f"config.{key}", part[name]))
    for where, value, elsewhere, other in pairs:
        if value != other:
            yield where, f"is {shown(value)}, but {elsewhere} is {shown(other)}"


def _trial(record: Record, data: Data, tuning: Tuning) -> Iterator[Problem]:
    """A trial of a search has read no test clip and is scored by its validation alone."""
    if record.metrics != Metrics() or record.identities is not None or record.protocol.name != "none":
        yield "metrics", "are there, but a trial of a search is scored on validation clips only"
    if data.splits.test:
        yield "data.splits.test", f"is {data.splits.test}, but a trial of a search opens no test clips"
    if record.training.planned_steps != tuning.rungs[-1]:
        yield "training.planned_steps", f"is {record.training.planned_steps}, not the last of the rungs"


def rebuilt_config(record: Record) -> Json | None:
    """The config.json that the cell of a record came from, but for the path of a plug-in, which is no part of its id.

    None for records that do not say all that makes an id.
    """
    if record.config.data is None or record.config.versions is None or record.config.plugin_digest is None:
        return None
    return config_json(schema.to_json(record.cell), schema.to_json(record.config))


def _training(record: Record) -> Iterator[Problem]:
    training = record.training
    if training.steps > training.planned_steps:
        yield "training.steps", f"is {training.steps}, more than the {training.planned_steps} planned"
    steps, epochs = record.config.training.get("steps"), record.config.training.get("epochs")
    batch = record.config.training.get("batch_size")
    if training.planned_steps and steps and steps != training.planned_steps:
        yield "training.planned_steps", f"is {training.planned_steps}, but config.training.steps is {shown(steps)}"
    clips = record.data.splits.train if isinstance(record.data, Data) else 0
    if training.planned_steps and not steps and isinstance(epochs, int) and isinstance(batch, int) and batch and clips:
        expected = epochs * (clips // min(batch, clips))
        if expected != training.planned_steps:
            yield (
                "training.planned_steps",
                f"is {training.planned_steps}, but {epochs} epochs of {clips} clips in batches of {batch} are {expected}",
            )
    if training.batch_size and isinstance(batch, int) and clips and training.batch_size != min(batch, clips):
        yield "training.batch_size", f"is {training.batch_size}, but config.training.batch_size is {batch}"
    yield from _speed(record)
    if training.selected_step > training.steps:
        yield "training.selected_step", f"is {training.selected_step}, after the last of {training.steps} steps"
    if training.complete and training.steps < training.planned_steps and not record.config.training.get("patience"):
        yield (
            "training.complete",
            (
                f"is true, but only {training.steps} of {training.planned_steps} steps were run "
                "and nothing may stop early"
            ),
        )
    for name, lines in (("validation", training.validation), ("losses", training.losses)):
        steps = [line.get("step") for line in lines]
        whole = [step for step in steps if isinstance(step, int) and not isinstance(step, bool)]
        if len(whole) < len(steps):
            yield f"training.{name}", "has a line without a whole number as its step"
        elif any(later < earlier for earlier, later in itertools.pairwise(whole)):
            yield f"training.{name}", "has steps that go backwards"
    yield from _selection(record)


def _selection(record: Record) -> Iterator[Problem]:
    """The weights that were judged are those of the best validation, if the record says that it chose by it."""
    training = record.training
    scores = {
        line.get("step"): line["score"]
        for line in training.validation
        if isinstance(line.get("score"), int | float) and not isinstance(line["score"], bool)
    }
    if training.selection != "validation score" or not scores:
        return
    if training.selected_step not in scores:
        yield "training.selected_step", f"is {training.selected_step}, where no validation was"
    elif scores[training.selected_step] < max(scores.values()):
        best = max(scores, key=lambda step: scores[step])
        yield "training.selected_step", f"is {training.selected_step}, but the validation at {best} has the best score"


def _speed(record: Record) -> Iterator[Problem]:
    """Clips a second are steps times clips a step over seconds."""
    cost, training = record.cost, record.training
    if cost.train_seconds and training.batch_size:
        rate = training.steps * training.batch_size / cost.train_seconds
        if abs(cost.sequences_per_second - rate) > 0.01 * rate:
            yield (
                "cost.sequences_per_second",
                f"is {cost.sequences_per_second:.4g}, but {training.steps} steps of {training.batch_size} clips in "
                f"{cost.train_seconds:.4g} s are {rate:.4g}",
            )


def _metrics(record: Record, data: Data) -> Iterator[Problem]:
    metrics, protocol = record.metrics, record.protocol
    classes = {factor.name: len(factor.classes) for factor in data.factors}
    if len(classes) < len(data.factors):
        yield "data.factors", "two factors have one name"
    yield from _presence(record)
    draws = Judged(protocol.draws, data.splits.test, classes)
    for direction in DIRECTIONS:
        part = getattr(metrics.directions, direction, None)
        if part is not None:
            yield from _draws(part, f"metrics.directions.{direction}", draws, whole=True)
    for kind in ("matched", "labels"):
        part = getattr(metrics.generator, kind, None)
        if part is not None:
            yield from _draws(part, f"metrics.generator.{kind}", draws, whole=False)
    for name, found in (("reconstruction", metrics.reconstruction), ("real", metrics.real)):
        for factor, scores in found.factors.items() if found is not None else ():
            yield from _scores(scores, f"metrics.{name}.factors.{factor}", classes.get(factor))
    if metrics.reconstruction is not None:
        yield from _errors(metrics.reconstruction, data)
    consistency = metrics.generator.consistency if metrics.generator is not None else None
    for direction in DIRECTIONS:
        for factor, agreement in ((getattr(consistency, direction, None) if consistency else None) or {}).items():
            where = f"metrics.generator.consistency.{direction}.{factor}"
            yield from _agreement(agreement, where, classes.get(factor))
    for level, verification in (metrics.verification or {}).items():
        yield from _verification(verification, f"metrics.verification.{level}")
    if record.identities is not None:
        yield from _identities(record, record.identities)


def _headline(record: Record, data: Data) -> Iterator[Problem]:
    """What rows are ranked by is among the scores."""
    direction, factor = data.headline
    metrics, name = record.metrics, record.protocol.name
    if (direction == "verification") != (name == "verification"):
        yield "data.headline", f"is {shown('/'.join(data.headline))}, but the protocol is {name}"
    elif name == "encoder":
        part = getattr(metrics.directions, direction, None) if direction in DIRECTIONS else None
        if part is None or any(factor not in draw for draw in part.draws):
            yield "data.headline", f"{shown('/'.join(data.headline))} is no score that the record holds"
        elif record.identities is not None and record.identities.metric != f"{direction}/{factor}/acc":
            yield "identities.metric", f"is {shown(record.identities.metric)}, but the headline is {direction}/{factor}"
    elif name == "generator" and direction not in DIRECTIONS:
        yield "data.headline", f"{shown(direction)} is neither {' nor '.join(DIRECTIONS)}"


def _presence(record: Record) -> Iterator[Problem]:
    """What the protocol of a finished cell scores is there."""
    metrics, name = record.metrics, record.protocol.name
    found = {
        "encoder": metrics.directions != Directions() and metrics.directions,
        "generator": metrics.generator != Generator() and metrics.generator,
        "verification": metrics.verification,
    }
    if record.judge is None and name in ("encoder", "generator"):
        yield "judge", f"is null, but protocol {name} has one"
    if not found.get(name):
        where = {"encoder": "metrics.directions", "none": "metrics"}.get(name, f"metrics.{name}")
        yield where, f"is missing: protocol {name} of a finished cell has it"
    if name == "encoder":
        for direction in DIRECTIONS:
            if getattr(metrics.directions, direction, None) is None:
                yield f"metrics.directions.{direction}", "is missing"


@dataclasses.dataclass(frozen=True)
class Judged:
    """What all draws of a record must agree with: how many there are, the test clips, and each factor's classes."""

    draws: int
    test: int
    classes: dict[str, int]


def _draws(part: Draws, where: str, judged: Judged, *, whole: bool) -> Iterator[Problem]:
    if len(part.draws) != judged.draws:
        yield f"{where}.draws", f"has {len(part.draws)} draws, but protocol.draws is {judged.draws}"
    if part.n_clips > judged.test:
        yield f"{where}.n_clips", f"is {part.n_clips}, more than the {judged.test} test clips"
    for position, draw in enumerate(part.draws):
        place = f"{where}.draws[{position}]"
        if draw.keys() != part.draws[0].keys():
            yield place, "scores other factors than the first draw"
        missing = sorted(judged.classes.keys() - draw.keys()) if whole else []
        if missing:
            yield place, f"lacks {', '.join(missing)}"
        for factor, scores in draw.items():
            yield from _scores(scores, f"{place}.{factor}", judged.classes.get(factor))
            if abs(scores.acc * part.n_clips - round(scores.acc * part.n_clips)) > 1e-3:
                yield f"{place}.{factor}.acc", f"is {scores.acc:.12g}, no multiple of 1/{part.n_clips} (n_clips)"


def _agreement(found: Agreement, where: str, n_classes: int | None) -> Iterator[Problem]:
    if found.is_ is not None and found.h_y_given_x is not None:
        yield from _entropies(found.is_, found.h_y_given_x, found.h_y, where)
    yield from _below_ceiling(found.h_y, found.label_entropy, where, n_classes)


def _scores(scores: Scores, where: str, n_classes: int | None) -> Iterator[Problem]:
    yield from _entropies(scores.is_, scores.h_y_given_x, scores.h_y, where)
    yield from _below_ceiling(scores.h_y, scores.label_entropy, where, n_classes)


def _entropies(inception: float, intra: float, inter: float, where: str) -> Iterator[Problem]:
    deviation = math.log(inception) - (inter - intra)
    if abs(deviation) > TOLERANCE:
        yield (
            where,
            (f"log IS = {math.log(inception):.6f} is not H(y) - H(y|x) = {inter - intra:.6f} (off by {deviation:.2g})"),
        )
    if intra > inter + TOLERANCE:
        yield where, f"H(y|x) = {intra:.6f} is above H(y) = {inter:.6f}"


def _below_ceiling(inter: float, labels: float | None, where: str, n_classes: int | None) -> Iterator[Problem]:
    if n_classes is not None:
        ceiling = math.log(n_classes)
        for key, value in (("h_y", inter), ("label_entropy", labels or 0.0)):
            if value > ceiling + TOLERANCE:
                yield f"{where}.{key}", f"is {value:.6f}, above ln {n_classes} = {ceiling:.6f}"


def _errors(reconstruction: Reconstruction, data: Data) -> Iterator[Problem]:
    size = data.n_frames * math.prod(data.frame)
    mse, sse = reconstruction.mse, reconstruction.sse
    if abs(sse - mse * size) > 1e-3 * max(abs(sse), 1e-9):
        yield "metrics.reconstruction", f"sse = {sse:.6g} is not mse times {size} values a clip = {mse * size:.6g}"


def _verification(part: Verification, where: str) -> Iterator[Problem]:
    gap = part.eer_dynamic - part.eer_static
    if abs(part.gap - gap) > TOLERANCE:
        yield f"{where}.gap", f"is {part.gap:.6f}, not motion EER - content EER = {gap:.6f}"
    if part.n_target > part.n_trials:
        yield f"{where}.n_target", f"is {part.n_target}, more than the {part.n_trials} trials"
    intervals = {"eer_static_ci": part.eer_static_ci, "eer_dynamic_ci": part.eer_dynamic_ci, "gap_ci": part.gap_ci}
    for key, interval in intervals.items():
        low, high = interval or (0.0, 0.0)  # variants of the protocol have no intervals
        if low > high:
            yield f"{where}.{key}", f"begins at {low:.6f} and ends below it, at {high:.6f}"


def _identities(record: Record, found: Identities) -> Iterator[Problem]:
    """The counts by test identity add up to the headline's accuracy."""
    draws = record.protocol.draws
    clips, right = ([int(number) for number in counts.split()] for counts in (found.clips, found.right))
    if len(clips) != len(right):
        yield "identities.right", f"counts {len(right)} identities, but identities.clips {len(clips)}"
        return
    worst = next((place for place, (n, hits) in enumerate(zip(clips, right, strict=True)) if hits > n * draws), None)
    if worst is not None:
        yield "identities.right", f"has {right[worst]} of {clips[worst]} clips in {draws} draws (number {worst + 1})"
    direction, _, rest = found.metric.partition("/")
    factor, _, score = rest.rpartition("/")
    part = getattr(record.metrics.directions, direction, None) if direction in DIRECTIONS else None
    if part is None or score != "acc" or any(factor not in draw for draw in part.draws):
        yield "identities.metric", f"{shown(found.metric)} is no accuracy that the record holds"
        return
    if sum(clips) != part.n_clips:
        yield (
            "identities.clips",
            f"add up to {sum(clips)}, but metrics.directions.{direction}.n_clips is {part.n_clips}",
        )
    expected = sum(draw[factor].acc for draw in part.draws) * part.n_clips
    if abs(sum(right) - expected) > 1e-3 * max(len(part.draws), 1):
        yield (
            "identities.right",
            f"add up to {sum(right)}, but the accuracies of the draws to {expected:.6g} right clips",
        )


def _local_data(record: Record, data: Data) -> Iterator[Problem]:
    """Against the data prepared on this machine, if there are any of that name, size and revision."""
    cell = record.cell
    folder = data_root() / "-".join([cell.dataset, cell.source, *([str(cell.size)] if cell.size else [])])
    if record.config.data:
        return  # prepared with options: another folder, whose name only the data set knows
    try:
        meta = read_json(folder / "meta.json")
    except UserError:
        return
    if not isinstance(meta, dict):
        return
    if meta.get("revision") == data.revision and data.digest and meta.get("digest") != data.digest:
        yield (
            "data.digest",
            (
                f"is {data.digest[:12]}..., but revision {data.revision} prepared here is "
                f"{str(meta.get('digest'))[:12]}...: the data differ"
            ),
        )
