"""Checks records: their schema, what they say about themselves and each other, and what another room knows of their
claims. Says exactly what is wrong, and where.

Nothing here trusts a record: files are read without following links and up to a size, and quoted values are cut and
cleaned. No torch.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from seqdis.bench.core import schema
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import canonical_json, digest
from seqdis.bench.core.rules import Problem, printable, shown
from seqdis.bench.records.config import describe_config
from seqdis.bench.records.contradictions import contradictions
from seqdis.bench.records.record import RECORD, Data, Json, Record
from seqdis.bench.records.search import find, read_bytes

MOST_PROBLEMS = 30
"""Of one record; a record of another kind would otherwise fill the screen."""


@dataclasses.dataclass
class Claims:
    """What of a record's claims is not so, and what cannot be told of it, one sentence each."""

    problems: list[Problem] = dataclasses.field(default_factory=list)
    unchecked: list[str] = dataclasses.field(default_factory=list)


Check = Callable[[Record], Claims]


@dataclasses.dataclass(frozen=True)
class Checked:
    """A file, what is wrong with it and what could not be checked, one sentence each.

    `record` is None where the file does not hold one.
    """

    path: Path
    problems: tuple[str, ...]
    record: Record | None = None
    raw: bytes = b""
    unchecked: tuple[str, ...] = ()


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


def check_files(files: Iterable[Path], claims: Check | None = None) -> Iterator[Checked]:
    """Checks each file by itself and against the files before it; for `claims` see `check_file`."""
    seen = _Seen()
    for path in files:
        checked = check_file(path, claims)
        if checked.record is not None and not checked.problems:
            against = tuple(seen.problems(path, checked.record, checked.raw))
            checked = dataclasses.replace(checked, problems=against)
        yield checked


def check_file(path: Path, claims: Check | None = None) -> Checked:
    """Checks one file by itself.

    Args:
        claims: what knows the suite's methods, data sets and judges (`plan.claims`); without it a record is only
            compared with itself.
    """
    try:
        raw = read_bytes(str(path))
        if raw is None:
            return Checked(path, ("does not exist",))
        value = parse(raw)
    except UserError as error:
        return Checked(path, (str(error),))
    record, unchecked = None, []
    try:
        found = list(shape(value))
        if not found:
            record = schema.object_of(Record).read(value)
            found = list(contradictions(record))
        if record is not None and claims is not None:
            claimed = claims(record)
            found += claimed.problems
            unchecked = claimed.unchecked
    except (ArithmeticError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # One record that a check has not foreseen must not keep those after it from being checked.
        found = [("", f"cannot be checked ({type(error).__name__}: {str(error)[:100]})")]
    problems = [printable(f"{where}: {what}" if where else what) for where, what in found]
    in_store = path.name == RECORD and path.parent.parent.name == "cells"
    if in_store and record is not None and not problems and record.cell.id != path.parent.name:
        problems.append(printable(f"cell.id: is {record.cell.id}, but the folder is {path.parent.name[:80]}"))
    if len(problems) > MOST_PROBLEMS:
        problems[MOST_PROBLEMS:] = [f"and {len(problems) - MOST_PROBLEMS} more"]
    return Checked(path, tuple(problems), record, raw, tuple(printable(what) for what in unchecked))


def parse(raw: bytes) -> Json:
    """Strict JSON in UTF-8: one object, no key twice, no NaN.

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
        record = json.loads(raw.decode(), object_pairs_hook=unique, parse_constant=constant)
    except UnicodeDecodeError:
        raise UserError("is not JSON in UTF-8") from None
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


class _Seen:
    """What earlier records said."""

    def __init__(self) -> None:
        self._cells: dict[str, tuple[Path, str]] = {}
        self._rows: dict[tuple[Any, ...], Path] = {}
        self._digests: dict[tuple[Any, ...], tuple[Path, str]] = {}
        self._numbers: dict[str, tuple[Path, int]] = {}

    def problems(self, path: Path, record: Record, raw: bytes) -> Iterator[str]:
        cell, data = record.cell, record.data
        content = digest(raw)
        study = record.tuning.study if record.tuning is not None else ""
        other, known = self._cells.setdefault(f"{study} {cell.id}", (path, content))
        if other != path:
            if known == content:
                yield f"cell.id: the same record is also in {other}"
            else:
                yield f"cell.id: {other} holds another record of the cell {cell.id}"
            return
        if record.status != "done" or not isinstance(data, Data):
            return
        row = (
            study,
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
        if record.training.planned_steps and not study:  # without training, seeds may well agree
            numbers = digest(canonical_json(schema.to_json(record.metrics)))
            source, seed = self._numbers.setdefault(numbers, (path, cell.seed))
            if source != path:
                yield f"metrics: equal to the last digit those of {source} (seed {seed}), which no second training does"
        if data.digest:
            key = (cell.dataset, cell.source, cell.size, data.revision, str(record.config.data))
            where, found = self._digests.setdefault(key, (path, data.digest))
            if found != data.digest:
                yield (
                    f"data.digest: is {data.digest[:12]}..., but {where} has {found[:12]}... for the same revision "
                    f"{data.revision}"
                )
