"""Two records of one configuration, number by number: what must be equal where, and what differs by how much.

On one machine (processor, torch, threads) a CPU repeats a run to the last bit. Elsewhere rounding differs, training
makes another run of that, and two such runs are no further apart than two seeds are: there accuracies and error rates
are compared, which may differ by `LOOSE`, or by `SPREADS` standard deviations over the seeds of the row where these are
at hand and that is more. Standard library only.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from seqdis.bench.records.collection import Entry
from seqdis.bench.records.flatten import flatten
from seqdis.bench.records.record import Environment, Json, Record

PARTS = ("metrics", "identities", "training")
"""Of a record: what follows from its configuration. Costs and times do not."""
PLACE = ("torch", "threads", "device", "machine", "processor", "platform")
"""Of an environment: what two runs must share to be equal to the last bit."""
MIN_SEEDS = 3
SPREADS = 5.0
"""Of a hundred pairs of draws of normal distributions one is further apart, in standard deviations, in one case of twenty
(Bonferroni: 3.48 root 2 is 4.9)."""
LOOSE = 0.05
"""Four times the median spread, 0.012, of an accuracy over three seeds in `results/records`."""
_FRACTIONS = ("acc", "acc_consistency", "eer_static", "eer_dynamic")


class Difference(NamedTuple):
    """A value that is another; `by` is None where that is no number."""

    name: str
    recorded: Any
    again: Any
    by: float | None

    def text(self) -> str:
        """For people: the name, both values and how far they are apart."""
        apart = "" if self.by is None else f"  ({self.by:+.3g})"
        return f"{self.name}: {_shown(self.recorded)} recorded, {_shown(self.again)} now{apart}"


class Compared(NamedTuple):
    """How many values were compared, those that differ by more than they may, and the largest difference of all."""

    total: int
    differences: tuple[Difference, ...]
    largest: Difference | None = None


def other_place(recorded: Record, here: Environment) -> list[str]:
    """Why a run here need not equal a record to the last bit, in words; empty if it must."""
    found = []
    for key in PLACE:
        there, now = getattr(recorded.environment, key), getattr(here, key)
        if there is None:
            found.append(f"{key} not recorded")
        elif there != now:
            found.append(f"{key} {there} there, {now} here")
    if not here.device.startswith("cpu"):
        found.append("a GPU repeats no run to the last bit")
    if recorded.training.changes:
        found.append("it was stopped and went on elsewhere")
    return found


def exactly(recorded: Json, again: Json) -> Compared:
    """Every value that follows from the configuration, to the last bit."""
    one, other = dict(_leaves(recorded)), dict(_leaves(again))
    names = dict.fromkeys((*one, *other))
    found = (_difference(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name))
    return Compared(len(names), tuple(found))


def tolerances(row: Iterable[Entry]) -> dict[str, float]:
    """By how much each accuracy and error rate may differ elsewhere, from the records of a row.

    Empty for fewer than MIN_SEEDS seeds: LOOSE is then what each may.
    """
    entries = list({entry.seed: entry for entry in row}.values())
    if len(entries) < MIN_SEEDS:
        return {}
    found = {}
    for name in filter(_is_fraction, entries[0].names):
        values = [value for entry in entries if (value := entry.get(name)) is not None]
        if len(values) == len(entries):
            found[name] = max(LOOSE, SPREADS * statistics.stdev(values))
    return found


def loosely(recorded: Json, again: Json, allowed: Mapping[str, float]) -> Compared:
    """Every accuracy and error rate, its mean over prior draws.

    Args:
        allowed: see `tolerances`; LOOSE for those that are not in it.

    Raises:
        ValueError: a number of a record is not finite.
    """
    one, other = _scores(recorded), _scores(again)
    every = [_difference(name, one.get(name), other.get(name)) for name in dict.fromkeys((*one, *other))]
    found = [each for each in every if each.by is None or abs(each.by) > allowed.get(each.name, LOOSE)]
    largest = max(every, key=lambda each: abs(each.by or 0.0), default=None)
    return Compared(len(every), tuple(found), largest)


def _scores(record: Json) -> dict[str, float]:
    return {name: value for name, value in zip(*flatten(record), strict=True) if _is_fraction(name)}


def _is_fraction(name: str) -> bool:
    return name.rpartition("/")[2] in _FRACTIONS


def _leaves(record: Json) -> Iterator[tuple[str, Any]]:
    for part in PARTS:
        value = record.get(part)
        if part == "training":
            value = {key: item for key, item in (value or {}).items() if key != "changes"}
        yield from _below(value, part)


def _below(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _below(item, f"{name}.{key}")
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _below(item, f"{name}[{position}]")
    else:
        yield name, value


def _difference(name: str, recorded: Any, again: Any) -> Difference:
    return Difference(name, recorded, again, again - recorded if _is_number(recorded) and _is_number(again) else None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)[:60]
