"""What a record claims, against what this suite knows of its methods, data sets, judges, presets and versions.

What nothing here can tell is said in a sentence, never passed over. No torch at import: the files of the methods and
data sets that records name are imported when they are first met.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import canonical_json
from seqdis.bench.core.provenance import suite_version
from seqdis.bench.core.rules import Problem, shown
from seqdis.bench.plan import catalog, presets
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.plan.cells import Cell, resolve
from seqdis.bench.plan.contract import declared, supervision
from seqdis.bench.plan.settings import built, fault
from seqdis.bench.records.config import TrainingConfig
from seqdis.bench.records.record import Data, Record, Supervision
from seqdis.bench.records.validate import Claims
from seqdis.judges.cards import Card, shipped_cards
from seqdis.judges.settings import EvaluationConfig

if TYPE_CHECKING:
    from seqdis.datasets.base import Spec
    from seqdis.methods.base import Method

RELEASES = ("0.1.0",)
"""Versions whose records this one can check: their ids are made by the same rule."""
SEEN = 0.005
"""By which a judge's accuracy on the very clips of its card may be off: another machine rounds otherwise."""
_NO_SETTINGS: tuple[str, ...] = ("training.log_every", "evaluation.batch_size")
"""They change no number."""


def claims(record: Record) -> Claims:
    """What of a record of the right shape is not so, and what cannot be told."""
    found = Claims()
    _version(record, found)
    if record.status != "done" or not isinstance(record.data, Data):
        return found
    _judge(record, record.data, found)
    try:
        spec = _data(record, record.data, found)
        _method(record, record.data, spec, found)
        _preset(record, found)
    except ModuleNotFoundError as error:
        found.unchecked.append(f"methods and data sets: {error.name} is not installed here, which their files import")
    if record.training.planned_steps:
        found.unchecked.append("that training took place as recorded: only running it again can show that")
    return found


def _version(record: Record, found: Claims) -> None:
    known = tuple(dict.fromkeys((*RELEASES, suite_version())))
    if record.code.version not in known:
        found.problems.append(
            (
                "code.version",
                f"{shown(record.code.version)} is no version that this suite knows ({', '.join(known)}): update the "
                "suite if it is a newer one",
            )
        )


# The data


@functools.cache
def _spec(dataset: str, source: str, size: int, options: str) -> Spec:
    """What a data set of ours says of itself. `options` are canonical JSON.

    Raises:
        UserError: it has no such source or option.
    """
    kind = catalog.load_dataset(dataset)
    if source not in kind.sources:
        raise UserError(f"{dataset} has no {source} source")
    return kind.describe(source, size or presets.QUICK.size, **json.loads(options))


def _data(record: Record, data: Data, found: Claims) -> Spec | None:
    """Checks the data and gives what this suite knows of them; None if they are others."""
    cell = record.cell
    if cell.dataset not in catalog.dataset_modules():
        found.unchecked.append(
            f"data set {cell.dataset}: it is outside of this suite, its labels and splits are unknown"
        )
        return None
    try:
        spec = _spec(cell.dataset, cell.source, cell.size, canonical_json(record.config.data or {}))
    except UserError as error:
        found.problems.append(("cell.source" if "source" in str(error) else "config.data", str(error)))
        return None
    if spec.revision != data.revision:
        found.unchecked.append(
            f"data of {cell.dataset} ({cell.source}): revision {shown(data.revision)} is not {shown(spec.revision)}, "
            "which this version has"
        )
        return None
    factors = tuple((one.name, one.role, tuple(one.classes)) for one in data.factors)
    pairs: list[tuple[str, Any, Any]] = [
        ("title", data.title, spec.title),
        ("frame", tuple(data.frame), tuple(spec.frame)),
        ("n_frames", data.n_frames, spec.n_frames),
        ("headline", tuple(data.headline), tuple(spec.headline)),
        ("may_show", data.may_show, spec.may_show),
        ("factors", factors, tuple((one.name, one.role, tuple(one.classes)) for one in spec.factors)),
    ]
    found.problems += [
        (f"data.{key}", f"is {shown(claimed)}, but {cell.dataset} of this revision has {shown(known)}")
        for key, claimed, known in pairs
        if claimed != known
    ]
    return spec


# The method


def _method(record: Record, data: Data, spec: Spec | None, found: Claims) -> None:
    cell = record.cell
    if catalog.is_outside(cell.method, record.config.plugin_digest or ""):
        found.unchecked.append(
            f"method {cell.method}: its code is outside of this suite; title, supervision and settings are its author's word"
        )
        return
    if cell.method == catalog.ORACLE:
        from seqdis.judges.controls import Oracle

        found.problems += _as_declared(record, Oracle.title, ("none",), ranked=False)
        return
    kind = catalog.load_method(MethodRef(cell.method))
    problems = list(_settings(record, kind))
    if cell.variant and cell.variant not in kind.variants:
        problems.append(("cell.variant", f"{shown(cell.variant)} is no variant of {cell.method}"))
    if not record.training.planned_steps:
        problems.append(("training.planned_steps", f"is 0, but {cell.method} is trained"))
    found.problems += problems
    if problems:
        return
    try:
        config = built(kind.Config, record.config.method)
    except Exception as error:  # a Config may refuse values that fit its types
        found.problems.append(("config.method", f"is no configuration of {cell.method} ({error})"))
        return
    needs, capabilities = declared(kind, config)
    kinds: tuple[Supervision, ...] = (supervision(needs, spec.signal if spec is not None else None),)
    if spec is None and needs.signal and not needs.motion_labels:
        kinds = ("external signal", "privileged signal")
    title = kind.variant_title(cell.variant)
    found.problems += _as_declared(record, title, kinds, ranked=capabilities.ranked)
    if capabilities.note and capabilities.note not in record.notes:
        found.problems.append(("notes", f"lack what {cell.method} says of itself: {shown(capabilities.note)}"))
    if needs.signal and spec is not None and spec.signal is not None and record.signal != spec.signal.how:
        found.problems.append(("signal", f"is {shown(record.signal)}, but these data have {shown(spec.signal.how)}"))
    protocol = "encoder" if capabilities.encodes else "generator"
    if record.tuning is None and data.headline[0] != "verification" and record.protocol.name != protocol:
        found.problems.append(
            ("protocol.name", f"is {record.protocol.name}, but {cell.method} is scored by {protocol}")
        )


def _settings(record: Record, kind: type[Method]) -> Iterator[Problem]:
    kinds: dict[str, type[Any]] = {"method": kind.Config, "training": TrainingConfig, "evaluation": EvaluationConfig}
    for part in kinds:
        for key, value in getattr(record.config, part).items():
            wrong = fault(kinds, f"{part}.{key}", value)
            if wrong:
                yield f"config.{part}.{key[:80]}", wrong


def _as_declared(record: Record, title: str, kinds: Iterable[Supervision], *, ranked: bool) -> Iterator[Problem]:
    name = record.cell.method
    if record.title != title:
        yield "title", f"is {shown(record.title)}, but {name} is called {shown(title)}"
    if record.supervision not in kinds:
        yield "supervision", f"is {record.supervision}, but {name} with these settings has {' or '.join(kinds)}"
    if record.ranked != ranked:
        yield (
            "ranked",
            f"is {str(record.ranked).lower()}, but {name} with these settings is {'' if ranked else 'not '}ranked",
        )


# The judge


@functools.cache
def _cards() -> dict[str, Card]:
    return shipped_cards()


def _judge(record: Record, data: Data, found: Claims) -> None:
    judge, cell = record.judge, record.cell
    if judge is None:
        return
    card = _cards().get(judge.name)
    of_weights = next((one for one in _cards().values() if one.sha256 == judge.sha256), None)
    if of_weights is not None and of_weights.name != judge.name:
        found.problems.append(
            ("judge.name", f"is {shown(judge.name)}, but these weights are those of {of_weights.name}")
        )
    elif card is None or card.data.revision != data.revision:
        found.unchecked.append(
            f"judge {judge.name} ({judge.sha256[:12]}): it is none that this suite ships for these data, and what it "
            "finds is its owner's word"
        )
    elif card.sha256 != judge.sha256:
        found.problems.append(
            (
                "judge.sha256",
                f"is {judge.sha256[:12]}..., but the judge {judge.name} of this version is {card.sha256[:12]}...: it was "
                "judged by another judge",
            )
        )
    elif (card.dataset, card.source, card.size) != (cell.dataset, cell.source, cell.size):
        found.problems.append(
            ("judge.name", f"{judge.name} is no judge of {cell.dataset} ({cell.source}) at {cell.size}")
        )
    elif card.accuracy != judge.accuracy:
        found.problems.append(("judge.accuracy", f"differs from the card of {judge.name}"))
    elif record.tuning is not None:
        return  # it has read no test clip
    elif card.data.digest == data.digest:
        found.problems += _on_its_own_clips(record, data, card)
    else:
        found.unchecked.append(
            f"data {data.digest[:12]} of {cell.dataset} ({cell.source}): they were prepared from other files than those "
            f"that judge {judge.name} learnt from"
        )


def _on_its_own_clips(record: Record, data: Data, card: Card) -> Iterator[Problem]:
    """On the test clips that its card was made with, a judge does as its card says."""
    if data.splits.test != card.n_test:
        yield "data.splits.test", f"is {data.splits.test}, but data of this digest have {card.n_test} test clips"
    elif record.metrics.real is not None and not record.config.evaluation.get("max_clips"):
        for factor, scores in record.metrics.real.factors.items():
            expected = card.accuracy.get(factor)
            if expected is not None and abs(scores.acc - expected) > SEEN:
                yield (
                    f"metrics.real.factors.{factor}.acc",
                    f"is {scores.acc:.4f}, but {card.name} is right on {expected:.4f} of these clips",
                )


# The preset


@functools.cache
def _planned(dataset: str, source: Any, ref: MethodRef, preset: str, batch: int, overrides: str) -> dict[str, Any]:
    """What a cell is planned with today, as JSON, by part. `overrides` are canonical JSON.

    Raises:
        UserError: it cannot be planned.
    """
    chosen = tuple(sorted(json.loads(overrides).items()))
    planned = resolve(Cell(dataset, source, ref, preset, 0, batch, chosen)).config.to_json()
    return {part: planned[part] for part in ("method", "training", "evaluation", "data")} | {
        "size": planned["cell"]["size"]
    }


def _preset(record: Record, found: Claims) -> None:
    cell = record.cell
    if (
        catalog.is_outside(cell.method, record.config.plugin_digest or "")
        or cell.dataset not in catalog.dataset_modules()
    ):
        return
    ref = MethodRef(cell.method, cell.variant)
    try:
        planned = _planned(cell.dataset, cell.source, ref, cell.preset, cell.batch or 0, canonical_json(cell.overrides))
    except UserError as error:
        found.unchecked.append(f"preset {cell.preset}, {ref} on {cell.dataset}: this version cannot plan it ({error})")
        return
    recorded = {**dataclasses.asdict(record.config), "size": cell.size}
    differing = [
        f"{part}.{key}"
        for part in ("method", "training", "evaluation", "data")
        for key, value in (recorded[part] or {}).items()
        if f"{part}.{key}" not in _NO_SETTINGS and planned[part].get(key) != value
    ]
    late = [(one["training"] or {}).get("capacity") for one in (recorded, planned)]  # absent where there is none
    differing += ["training.capacity"] if late[0] != late[1] and "training.capacity" not in differing else []
    differing += ["size"] if planned["size"] != cell.size else []
    if differing:
        found.unchecked.append(
            f"preset {cell.preset}, {ref} on {cell.dataset}: this version sets {', '.join(differing[:4])}"
            f"{' and others' if len(differing) > 4 else ''} otherwise"
        )
