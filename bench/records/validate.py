"""Checks records: schema, identities, ranges, counts, digests and duplicates. Says exactly what is wrong, and where.

Nothing here trusts a record: files are read without following links and up to a size, and quoted values are cut and
cleaned. No torch.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from seqdis.bench.core import schema
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import digest, read_json
from seqdis.bench.core.places import data_root
from seqdis.bench.core.provenance import suite_version
from seqdis.bench.core.rules import Problem, printable, shown
from seqdis.bench.records.config import cell_id, config_json, describe_config
from seqdis.bench.records.record import RECORD, Data, Json, Record
from seqdis.bench.records.search import find, read_bytes
from seqdis.judges.cards import shipped_cards
from seqdis.judges.scores import Directions, Draws, Generator, Identities, Reconstruction, Scores, Verification
from seqdis.judges.settings import DIRECTIONS

TOLERANCE = 1e-6
"""Nats by which an identity or a ceiling may be missed: rounding in double precision is far below."""
MOST_PROBLEMS = 30
"""Of one record; a record of another kind would otherwise fill the screen."""


@dataclasses.dataclass(frozen=True)
class Checked:
    """A file and what is wrong with it, one sentence each. `record` is None where the file does not hold one."""

    path: Path
    problems: tuple[str, ...]
    record: Record | None = None
    raw: bytes = b""


def record_files(paths: Iterable[Path]) -> list[Path]:
    """The record files that the user named: files, cell folders, stores and folders of records.

    Raises:
        UserError: a path does not exist, or nothing in it is a record.
    """
    files: list[Path] = []
    for path in paths:
        if os.path.isfile(path):
            files.append(path)
        elif _may_be_there(path / RECORD):
            files.append(path / RECORD)
        else:
            found = [file for file in map(Path, find(path)) if _may_be_there(file)]
            if not found:
                raise UserError(f"no record below {path}: name a record, a cell's folder, or the folder of a run.")
            files += found
    return list(dict.fromkeys(files))


def _may_be_there(path: Path) -> bool:
    """Whether anything has that name, or nobody may look: what it is, its check says."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def check_files(files: Iterable[Path]) -> Iterator[Checked]:
    """Checks each file by itself and against the files before it."""
    seen = _Seen()
    for path in files:
        checked = check_file(path)
        if checked.record is not None and not checked.problems:
            against = tuple(seen.problems(path, checked.record, checked.raw))
            checked = dataclasses.replace(checked, problems=against)
        yield checked


def check_file(path: Path) -> Checked:
    """Checks one file by itself."""
    try:
        raw = read_bytes(str(path))
        if raw is None:
            return Checked(path, ("does not exist",))
        value = parse(raw)
    except UserError as error:
        return Checked(path, (str(error),))
    record = None
    try:
        found = list(shape(value))
        if not found:
            record = schema.object_of(Record).read(value)
            found = list(contradictions(record))
    except (ArithmeticError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # One record that a check has not foreseen must not keep those after it from being checked.
        found = [("", f"cannot be checked ({type(error).__name__}: {str(error)[:100]})")]
    problems = [printable(f"{where}: {what}" if where else what) for where, what in found]
    in_store = path.name == RECORD and path.parent.parent.name == "cells"
    if in_store and record is not None and not problems and record.cell.id != path.parent.name:
        problems.append(printable(f"cell.id: is {record.cell.id}, but the folder is {path.parent.name[:80]}"))
    if len(problems) > MOST_PROBLEMS:
        problems[MOST_PROBLEMS:] = [f"and {len(problems) - MOST_PROBLEMS} more"]
    return Checked(path, tuple(problems), record, raw)


def parse(raw: bytes) -> Json:
    """Strict JSON: one object, no key twice, no NaN.

    Raises:
        UserError: it is not.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            raise UserError(f"key {shown(next(key for key in keys if keys.count(key) > 1))} stands twice in one object")
        return found

    def constant(name: str) -> Any:
        raise UserError(f"{name} is not a number that a record may hold")

    try:
        record = json.loads(raw, object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"is not JSON ({str(error)[:100]})") from None
    if not isinstance(record, dict):
        raise UserError(f"is a JSON {type(record).__name__}, not an object")
    return record


def shape(value: Json) -> Iterator[Problem]:
    """Where a JSON object is not what the definition of a record says."""
    found = list(schema.problems(Record, value))
    if not found and value["status"] == "done":
        found = list(schema.problems(Data, value["data"], "data"))
    yield from found


def contradictions(record: Record) -> Iterator[Problem]:
    """Where a record of the right shape contradicts itself, the judges of this version, or the data prepared here."""
    yield from _cell(record)
    if isinstance(record.data, Data) and record.status == "done":
        yield from _training(record)
        yield from _metrics(record, record.data)
        yield from _judge(record)
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
    # How ids are made may differ in another version.
    if identity is not None and record.code.version == suite_version():
        expected = cell_id(identity)
        if expected != cell.id:
            yield "cell.id", f"is {cell.id}, but this config's id is {expected}: config or cell was changed"


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
    for level, verification in (metrics.verification or {}).items():
        yield from _verification(verification, f"metrics.verification.{level}")
    if record.identities is not None:
        yield from _identities(record, record.identities)


def _presence(record: Record) -> Iterator[Problem]:
    """What the protocol of a finished cell scores is there."""
    metrics, name = record.metrics, record.protocol.name
    found = {
        "encoder": metrics.directions != Directions() and metrics.directions,
        "generator": metrics.generator != Generator() and metrics.generator,
        "verification": metrics.verification,
    }
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


def _scores(scores: Scores, where: str, n_classes: int | None) -> Iterator[Problem]:
    intra, inter = scores.h_y_given_x, scores.h_y
    deviation = math.log(scores.is_) - (inter - intra)
    if abs(deviation) > TOLERANCE:
        yield (
            where,
            (
                f"log IS = {math.log(scores.is_):.6f} is not H(y) - H(y|x) = {inter - intra:.6f} "
                f"(off by {deviation:.2g})"
            ),
        )
    if intra > inter + TOLERANCE:
        yield where, f"H(y|x) = {intra:.6f} is above H(y) = {inter:.6f}"
    if n_classes is not None:
        ceiling = math.log(n_classes)
        for key, value in (("h_y", inter), ("label_entropy", scores.label_entropy or 0.0)):
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


def _judge(record: Record) -> Iterator[Problem]:
    judge = record.judge
    if judge is None:
        if record.protocol.name in ("encoder", "generator"):
            yield "judge", f"is null, but protocol {record.protocol.name} has one"
        return
    card = shipped_cards().get(judge.name)
    if card is None or record.code.version != suite_version():
        return
    if card.sha256 != judge.sha256:
        yield (
            "judge.sha256",
            (
                f"is {judge.sha256[:12]}..., but the judge {judge.name} of this version is "
                f"{card.sha256[:12]}...: it was judged by another judge"
            ),
        )
    elif card.accuracy != judge.accuracy:
        yield "judge.accuracy", f"differs from the card of {judge.name}"


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


class _Seen:
    """What earlier records said."""

    def __init__(self) -> None:
        self._cells: dict[str, tuple[Path, str]] = {}
        self._rows: dict[tuple[Any, ...], Path] = {}
        self._digests: dict[tuple[Any, ...], tuple[Path, str]] = {}

    def problems(self, path: Path, record: Record, raw: bytes) -> Iterator[str]:
        cell, data = record.cell, record.data
        content = digest(raw)
        other, known = self._cells.setdefault(cell.id, (path, content))
        if other != path:
            if known == content:
                yield f"cell.id: the same record is also in {other}"
            else:
                yield f"cell.id: {other} holds another record of the cell {cell.id}"
            return
        if record.status != "done" or not isinstance(data, Data):
            return
        row = (
            cell.dataset,
            cell.source,
            cell.size,
            cell.preset,
            cell.method,
            cell.variant,
            cell.seed,
            describe_config(schema.to_json(record.config))[0],
            data.digest,
            record.judge and record.judge.sha256,
            record.protocol.version,
            str(sorted(cell.overrides.items())),
            cell.batch,
        )
        first = self._rows.setdefault(row, path)
        if first != path:
            yield f"cell: {first} holds the same row and seed under another id"
        if data.digest:
            key = (cell.dataset, cell.source, cell.size, data.revision, str(record.config.data))
            where, found = self._digests.setdefault(key, (path, data.digest))
            if found != data.digest:
                yield (
                    f"data.digest: is {data.digest[:12]}..., but {where} has {found[:12]}... for the same revision "
                    f"{data.revision}"
                )
