"""A method against its contract: every row of it on every kind of data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from seqdis.bench.cell.check import codes, losses, rows
from seqdis.bench.cell.check.bed import KINDS, Bed, Row
from seqdis.bench.cell.check.findings import Case, Finding, examined
from seqdis.methods.base import Method

BARE = "bare-video"


def rows_of(name: str, method: type[Method], variant: str = "") -> list[Row]:
    """The variant that was named, or the plain method and all of its variants."""
    variants = method.variants if isinstance(method.variants, Mapping) else ()
    return [Row(name, method, one) for one in ([variant] if variant else ["", *variants])]


def beds_of(row: Row, kinds: Iterable[str] = KINDS) -> list[Bed]:
    """A row on each kind of data; a variant not on those that differ in the size of a frame only."""
    return [Bed(row, kind) for kind in kinds if not (row.variant and kind == "large-video")]


def check_method(rows_to_check: list[Row], kinds: Iterable[str] = KINDS) -> Iterator[Finding]:
    """Every check of the contract, one finding at a time.

    Where a row cannot be built nothing else is examined, and on bare data, which lack what some methods read, its loss
    only.
    """
    yield from examined(rows.CHECKS, rows_to_check)
    beds = [bed for row in rows_to_check for bed in beds_of(row, kinds)]
    building, *others = losses.CHECKS
    (built,) = examined([building], beds)
    nowhere = [row for row in rows_to_check if {_built(built, bed) for bed in beds if bed.row is row} == {"skipped"}]
    useless = tuple(Case(row.where, "fails", "it refuses every kind of data that the suite has") for row in nowhere)
    yield dataclasses.replace(built, cases=(*built.cases, *useless))
    usable = [bed for bed in beds if _built(built, bed) == "holds"]
    yield from examined(others[:1], usable)
    yield from examined([*others[1:], *codes.CHECKS], [bed for bed in usable if bed.kind != BARE])


def _built(finding: Finding, bed: Bed) -> str:
    return next(case.state for case in finding.cases if case.where == bed.where)
