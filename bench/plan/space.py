"""What `bench tune` searches: a method's space as dimensions, and where the values of a setting lie in them. No torch.

A dimension is a list of values or a range. Its places are what a sampler draws: the position of a value in the list, or
a number of the range. Numbers of a range have three digits, so that records and command lines can be read and typed.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.rules import Range, shown
from seqdis.bench.plan.settings import fault, rule_for
from seqdis.bench.records.config import NOISE, RunConfig, Settings, TrainingConfig

if TYPE_CHECKING:
    from seqdis.methods.base import Method

Place = int | float
DIGITS = 3
CAPACITY = "training.capacity"
HOLD, RISE = f"{CAPACITY}.hold", f"{CAPACITY}.rise"
"""Not settings, but dimensions of all schedules of a ramp. No loss term has these names."""


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One setting that is searched, or a part of one.

    Attributes:
        key: the setting, as --set takes it; of a schedule, what is searched is its start, and `HOLD` and `RISE`.
        values: to try, numbers from the smallest; empty for a range.
        low, high: the ends of a range.
        is_log: whether every factor is as likely, not every difference.
        is_whole: whether the numbers of the range are whole.
    """

    key: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    is_whole: bool = False

    @property
    def is_ordered(self) -> bool:
        """Whether its places have an order."""
        return all(_is_number(value) for value in self.values)

    def value(self, place: Place) -> Any:
        """The value at a place."""
        if self.values:
            return self.values[int(place)]
        if self.is_whole:
            return int(place)
        return min(max(float(f"{place:.{DIGITS}g}"), self.low), self.high)

    def place(self, value: Any) -> Place | None:
        """Where a value lies; None where it is not searched."""
        if self.values:
            return self.values.index(value) if value in self.values else None
        return value if _is_number(value) and self.low <= value <= self.high else None

    def to_json(self) -> Any:
        """As a study keeps it: the values, or the ends and the scale of the range."""
        if self.values:
            return list(self.values)
        low, high = (int(end) if self.is_whole else end for end in (self.low, self.high))
        return {"low": low, "high": high, "scale": "log" if self.is_log else "linear"}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _end(name: str) -> float:
    """What a name of a capacity schedule comes to: a factor of 1, no noise."""
    return 0.0 if name.startswith(NOISE) else 1.0


def present(searched: Iterable[Dimension], config: RunConfig) -> Settings:
    """The values in a configuration, by key; None of a schedule that is not there, or is of another shape or time."""
    written, ramps, found = config.to_json(), {}, {}
    for one in searched:
        if not one.key.startswith(CAPACITY):
            part, _, name = one.key.partition(".")
            found[one.key] = written[part].get(name) if part in written else None
            continue
        name = one.key.removeprefix(f"{CAPACITY}.")
        points = config.training.capacity.get(name, ())
        if len(points) == 2 and points[1][1] == _end(name):
            ramps[one.key] = points
        found[one.key] = points[0][1] if one.key in ramps else None
    times = {(points[0][0], round(points[1][0] - points[0][0], DIGITS)) for points in ramps.values()}
    if HOLD in found and len(times) == 1:
        found[HOLD], found[RISE] = times.pop()
    return found


def settings(searched: Iterable[Dimension], places: Mapping[str, Place]) -> Settings:
    """The settings at places, by key."""
    values = {one.key: one.value(places[one.key]) for one in searched}
    hold = values.pop(HOLD, 0.0)
    end = round(min(hold + values.pop(RISE, 0.0), 1.0), DIGITS)
    return {
        key: [[hold, value], [end, _end(key.removeprefix(f"{CAPACITY}."))]] if key.startswith(CAPACITY) else value
        for key, value in values.items()
    }


def misshapen(space: Any) -> str:
    """What makes a space none at all, "" if nothing does; whether its settings exist says `dimensions`."""
    from seqdis.methods.base import Ramp, Uniform

    if not isinstance(space, Mapping):
        return f"its space is {shown(space)}, not a dict of settings and what to try of each"
    for key, given in space.items():
        if isinstance(given, Ramp) != (key == CAPACITY):
            return f"its space has {shown(given)} for {key}; a Ramp is for {CAPACITY}, and the other way round"
    for key, given in _leaves(space):
        if not isinstance(given, list | tuple | Uniform):
            return f"its space is no whole one: {key} has {shown(given)}, not a tuple of values to try or a range"
        if not isinstance(given, Uniform) and not given:
            return f"its space has no values for {key}"
        for value in (given.low, given.high) if isinstance(given, Uniform) else given:
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError, RecursionError):
                return f"a value of {key} in its space is {shown(value)}; use finite numbers, texts and booleans"
    return ""


def _leaves(space: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is searched of each key; a ramp is several."""
    for key, given in space.items():
        if key != CAPACITY:
            yield key, given
            continue
        yield from ((HOLD, given.hold), (RISE, given.rise))
        yield from ((f"{CAPACITY}.{name}", start) for name, start in given.start.items())


def dimensions(method: type[Method]) -> list[Dimension]:
    """The dimensions of a method's space, in its order.

    Raises:
        UserError: it declares none, a setting does not exist or has no such value, or a range has no inside.
    """
    wrong = misshapen(method.space)
    if wrong:
        raise UserError(f"{method.__name__} cannot be tuned: {wrong} (see docs/add-a-method.md).")
    if not method.space:
        raise UserError(
            f"{method.__name__} declares no settings to search; give its class a `space`, such as "
            'space = {"method.lr": (1e-3, 3e-3)} (see docs/add-a-method.md).'
        )
    return [_dimension(method, key, given) for key, given in _leaves(method.space)]


def _dimension(method: type[Method], key: str, given: Any) -> Dimension:
    from seqdis.methods.base import LogUniform, Uniform

    tried = (given.low, given.high) if isinstance(given, Uniform) else given
    for value in tried:
        wrong = _fault(method, key, value)
        if wrong:
            raise UserError(f"a value to try in the space of {method.__name__}: {wrong}.")
    if not isinstance(given, Uniform):
        different = tuple(value for place, value in enumerate(tried) if value not in tried[:place])
        ordered = all(_is_number(value) for value in different)
        return Dimension(key, tuple(sorted(different)) if ordered else different)
    rule = Range() if key.startswith(CAPACITY) else rule_for(_kinds(method), key)
    is_log = isinstance(given, LogUniform)
    if not isinstance(rule, Range) or not given.low < given.high or (is_log and given.low <= 0):
        raise UserError(
            f"the range of {key} in the space of {method.__name__} goes from {shown(given.low)} to {shown(given.high)}: "
            f"it must rise{', from above 0' if is_log else ''}, and the setting be a number."
        )
    return Dimension(key, low=given.low, high=given.high, is_log=is_log, is_whole=rule.integer)


def _kinds(method: type[Method]) -> dict[str, type[Any]]:
    return {"method": method.Config, "training": TrainingConfig}


def _fault(method: type[Method], key: str, value: Any) -> str:
    """What is wrong with a value that is to be tried, "" if nothing is."""
    if key in (HOLD, RISE):
        lowest = 0.01 if key == RISE else 0.0  # a schedule that changes at once is a line of no width
        is_share = _is_number(value) and lowest <= value < 1
        return "" if is_share else f"{key}={shown(value)} is no share of training from {lowest:g} to below 1"
    if not key.startswith(CAPACITY):
        return fault(_kinds(method), key, value)
    name = key.removeprefix(f"{CAPACITY}.")
    if name not in method.schedulable:
        return f"{name} is not in its schedulable"
    return fault(_kinds(method), key, [[0.0, value], [1.0, _end(name)]])


def size(searched: list[Dimension]) -> int | None:
    """How many settings there are; None where a range has no end of them."""
    counts = [len(one.values) or (int(one.high - one.low) + 1 if one.is_whole else 0) for one in searched]
    return math.prod(counts) if all(counts) else None
