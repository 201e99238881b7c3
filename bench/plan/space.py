"""What `bench tune` searches: a method's space as dimensions, and where the values of a setting lie in them. No torch.

A dimension is a list of values or a range. Its places are what a sampler draws: the position of a value in the list, or
a number of the range. Numbers of a range have three digits, so that records and command lines can be read and typed.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.rules import Range, shown
from seqdis.bench.plan.settings import fault, rule_for
from seqdis.bench.records.config import TrainingConfig

if TYPE_CHECKING:
    from seqdis.methods.base import Method

Place = int | float
DIGITS = 3


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One setting that is searched.

    Attributes:
        key: the setting, as --set takes it.
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
        """The value of the setting at a place."""
        if self.values:
            return self.values[int(place)]
        if self.is_whole:
            return int(place)
        return min(max(float(f"{place:.{DIGITS}g}"), self.low), self.high)

    def place(self, value: Any) -> Place | None:
        """Where a value of the setting lies; None where it is not searched."""
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


def misshapen(space: Any) -> str:
    """What makes a space none at all, "" if nothing does; whether its settings exist says `dimensions`."""
    from seqdis.methods.base import Uniform

    if not isinstance(space, Mapping):
        return f"its space is {shown(space)}, not a dict of settings and what to try of each"
    for key, given in space.items():
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
    return [_dimension(method, key, given) for key, given in method.space.items()]


def _dimension(method: type[Method], key: str, given: Any) -> Dimension:
    from seqdis.methods.base import LogUniform, Uniform

    kinds = {"method": method.Config, "training": TrainingConfig}
    tried = (given.low, given.high) if isinstance(given, Uniform) else given
    for value in tried:
        wrong = fault(kinds, key, value)
        if wrong:
            raise UserError(f"a value to try in the space of {method.__name__}: {wrong}.")
    if not isinstance(given, Uniform):
        different = tuple(value for place, value in enumerate(tried) if value not in tried[:place])
        ordered = all(_is_number(value) for value in different)
        return Dimension(key, tuple(sorted(different)) if ordered else different)
    is_log, rule = isinstance(given, LogUniform), rule_for(kinds, key)
    if not isinstance(rule, Range) or not given.low < given.high or (is_log and given.low <= 0):
        raise UserError(
            f"the range of {key} in the space of {method.__name__} goes from {shown(given.low)} to {shown(given.high)}: "
            f"it must rise{', from above 0' if is_log else ''}, and the setting be a number."
        )
    return Dimension(key, low=given.low, high=given.high, is_log=is_log, is_whole=rule.integer)


def size(searched: list[Dimension]) -> int | None:
    """How many settings there are; None where a range has no end of them."""
    counts = [len(one.values) or (int(one.high - one.low) + 1 if one.is_whole else 0) for one in searched]
    return math.prod(counts) if all(counts) else None
