"""What one value of a JSON file may be: the rules that `schema` makes definitions from. Standard library only."""

from __future__ import annotations

import abc
import dataclasses
import itertools
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

Problem = tuple[str, str]
"""Where in the value, and what is wrong."""

LONGEST_TEXT = 2000
LONGEST_KEY = 80
MOST_KEYS = 500
MOST_ITEMS = 200_000
REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that make a text read otherwise than it is."""
MOST_COUNTED = 1 << 53
"""Beyond it not every whole number is a double, which is what many readers of JSON make of it."""


def printable(text: object) -> str:
    """Text that may go to a terminal: names of files and keys may hold control characters."""
    return "".join(char if char.isprintable() else "?" for char in str(text))


def shown(value: Any) -> str:
    """A value as it may be quoted in a message: short, on one line, without control characters."""
    text = repr(value)
    return printable(text[:60]) + ("..." if len(text) > 60 else "")


class Rule(abc.ABC):
    """What one value must be."""

    @abc.abstractmethod
    def problems(self, value: Any, where: str) -> Iterator[Problem]:
        """What is wrong with a value from JSON."""

    @abc.abstractmethod
    def json_schema(self) -> dict[str, Any]:
        """As JSON Schema; parts that have a name are references to `$defs`."""

    @abc.abstractmethod
    def words(self) -> str:
        """For the documentation."""

    def parts(self) -> Iterator[Rule]:
        """The rules that this one is made of."""
        yield from ()

    def read(self, value: Any) -> Any:
        """The typed value of a valid one from JSON."""
        return value

    def write(self, value: Any) -> Any:
        """The JSON value of a typed one."""
        return value


@dataclasses.dataclass(frozen=True)
class Text(Rule):
    """A string: not too long, without control characters (but line ends, if `lines`), matching `pattern`.

    `form` says for people what the pattern is of.
    """

    longest: int = 300
    pattern: str = ""
    empty: bool = True
    lines: bool = False
    form: str = ""

    def problems(self, value: Any, where: str) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield where, f"must be text, not {shown(value)}"
        elif len(value) > self.longest:
            yield where, f"has {len(value)} characters, more than {self.longest}"
        elif not value.isprintable() and any(map(self._is_control, value)):
            yield where, f"holds control characters: {shown(value)}"
        elif not value and not self.empty:
            yield where, "must not be empty"
        elif value and self.pattern and not re.fullmatch(self.pattern, value):
            yield where, f"{shown(value)} is not {self.form or f'of the form {self.pattern}'}"

    def _is_control(self, char: str) -> bool:
        is_control = unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in REORDERING
        return is_control and not (self.lines and char in "\n\t")

    def json_schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "string", "maxLength": self.longest}
        if not self.empty:
            found["minLength"] = 1
        if self.pattern:
            found["pattern"] = f"^(?:{self.pattern}){'?' if self.empty else ''}$"
        return found

    def words(self) -> str:
        form = f" of the form `{self.pattern}`" if self.pattern else ""
        return f"text{form}, {'' if self.empty else 'not empty, '}at most {self.longest} characters"


_KEY = Text(LONGEST_KEY, empty=False)


@dataclasses.dataclass(frozen=True)
class Range(Rule):
    """A finite number in [low, high]."""

    low: float = -math.inf
    high: float = math.inf
    integer: bool = False

    def problems(self, value: Any, where: str) -> Iterator[Problem]:
        kinds = (int,) if self.integer else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            yield where, f"must be a{' whole' if self.integer else ''} number, not {shown(value)}"
        elif not _is_finite(value):
            yield where, "is not finite"
        elif not self.low <= value <= self.high:
            yield where, self._outside(value)

    def _outside(self, value: float) -> str:
        if value < self.low and self._is_open_above:
            return f"must be {self.low:.12g} or more, not {value:.12g}"
        return f"is {value:.12g}, outside [{self.low:.12g}, {self.high:.12g}]"

    @property
    def _is_open_above(self) -> bool:
        return self.high == math.inf or (self.integer and self.high >= MOST_COUNTED)

    def json_schema(self) -> dict[str, Any]:
        bounds = {"minimum": self.low, "maximum": self.high}
        return {
            "type": "integer" if self.integer else "number",
            **{key: value for key, value in bounds.items() if math.isfinite(value)},
        }

    def words(self) -> str:
        kind = "whole number" if self.integer else "number"
        if self.low == -math.inf and self.high == math.inf:
            return kind
        if self._is_open_above:
            return f"{kind} from {self.low:.12g}"
        return f"{kind} in [{self.low:.12g}, {self.high:.12g}]"


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every double
        return False


@dataclasses.dataclass(frozen=True)
class Choice(Rule):
    """One of the given values."""

    options: tuple[Any, ...]

    def problems(self, value: Any, where: str) -> Iterator[Problem]:
        if not any(value == option and type(value) is type(option) for option in self.options):
            yield where, f"must be one of {', '.join(map(str, self.options))}, not {shown(value)}"

    def json_schema(self) -> dict[str, Any]:
        return {"enum": list(self.options)}

    def words(self) -> str:
        return " or ".join(f'`"{one}"`' if isinstance(one, str) else f"`{one}`" for one in self.options)


class Boolean(Rule):
    """True or false."""

    def problems(self, value: Any, where: str) -> Iterator[Problem]:
        if not isinstance(value, bool):
            yield where, f"must be true or false, not {shown(value)}"

    def json_schema(self) -> dict[str, Any]:
        return {"type": "boolean"}

    def words(self) -> str:
        return "true or false"


@dataclasses.dataclass(frozen=True)
class Length:
    """How many items a list, or how many keys an object with any keys may have."""

    least: int = 0
    most: int = MOST_ITEMS


class Value(Rule):
    """Any JSON value of a small size: what settings and options hold."""

    DEEPEST: ClassVar[int] = 8
    MOST_ITEMS: ClassVar[int] = 1000

    def problems(self, value: Any, where: str, depth: int = 0) -> Iterator[Problem]:
        if depth > self.DEEPEST:
            yield where, "is nested too deeply"
        elif isinstance(value, dict):
            yield from _keys_problems(value, where, MOST_KEYS)
            for key, item in value.items() if len(value) <= MOST_KEYS else ():
                yield from self.problems(item, f"{where}.{key[:LONGEST_KEY]}", depth + 1)
        elif isinstance(value, list):
            yield from _length_problems(value, where, Length(0, self.MOST_ITEMS))
            for position, item in enumerate(value if len(value) <= self.MOST_ITEMS else ()):
                yield from self.problems(item, f"{where}[{position}]", depth + 1)
        elif isinstance(value, str):
            yield from Text(LONGEST_TEXT).problems(value, where)
        elif isinstance(value, float):
            yield from Range().problems(value, where)
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
            yield where, "is too large"

    def json_schema(self) -> dict[str, Any]:
        return {"$ref": "#/$defs/Value"}

    def definition(self) -> dict[str, Any]:
        """What `$defs` holds under the name that `json_schema` refers to."""
        return {
            "description": f"Any value, at most {self.DEEPEST} levels deep.",
            "anyOf": [
                {"type": ["null", "boolean", "number"]},
                {"type": "string", "maxLength": LONGEST_TEXT},
                {"type": "array", "maxItems": self.MOST_ITEMS, "items": self.json_schema()},
                {"type": "object", "maxProperties": MOST_KEYS, "additionalProperties": self.json_schema()},
            ],
        }

    def words(self) -> str:
        return "any value"


@dataclasses.dataclass(frozen=True)
class Nullable(Rule):
    """Null, or what the rule says."""

    rule: Rule

    def problems(self, value: Any, where: str) -> Iterator[Problem]:
        if value is not None:
            yield from self.rule.problems(value, where)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [self.rule.json_schema(), {"type": "null"}]}

    def words(self) -> str:
        return f"{self.rule.words()}, or null"

    def parts(self) -> Iterator[Rule]:
        yield self.rule

    def read(self, value: Any) -> Any:
        return None if value is None else self.rule.read(value)

    def write(self, value: Any) -> Any:
        return None if value is None else self.rule.write(value)


@dataclasses.dataclass(frozen=True)
class List(Rule):
    """A list whose items keep the rule; a tuple in Python."""

    rule: Rule
    length: Length

    def problems(self, value: Any, where: str) -> Iterator[Problem]:
        if not isinstance(value, list):
            yield where, f"must be a list, not {shown(value)}"
            return
        wrong = list(_length_problems(value, where, self.length))
        yield from wrong
        for position, item in enumerate(value if not wrong else ()):
            yield from self.rule.problems(item, f"{where}[{position}]")

    def json_schema(self) -> dict[str, Any]:
        return {
            "type": "array",
            "items": self.rule.json_schema(),
            "minItems": self.length.least,
            "maxItems": self.length.most,
        }

    def words(self) -> str:
        least, most = self.length.least, self.length.most
        many = f"{least} " if least == most else f"{least} to {most} " if least else ""
        return f"list of {many}({self.rule.words()})"

    def parts(self) -> Iterator[Rule]:
        yield self.rule

    def read(self, value: Any) -> Any:
        return tuple(map(self.rule.read, value))

    def write(self, value: Any) -> Any:
        return list(map(self.rule.write, value))


@dataclasses.dataclass(frozen=True)
class Mapping(Rule):
    """An object of any text keys, whose values keep the rule."""

    rule: Rule
    most: int

    def problems(self, value: Any, where: str) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield where, f"must be an object, not {shown(value)}"
            return
        yield from _keys_problems(value, where, self.most)
        for key, item in value.items() if len(value) <= self.most else ():
            yield from self.rule.problems(item, f"{where}.{key[:LONGEST_KEY]}")

    def json_schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "maxProperties": self.most,
            "propertyNames": {"minLength": 1, "maxLength": LONGEST_KEY},
            "additionalProperties": self.rule.json_schema(),
        }

    def words(self) -> str:
        return f"object of any keys ({self.rule.words()})"

    def parts(self) -> Iterator[Rule]:
        yield self.rule

    def read(self, value: Any) -> Any:
        return {key: self.rule.read(item) for key, item in value.items()}

    def write(self, value: Any) -> Any:
        return {key: self.rule.write(item) for key, item in value.items()}


@dataclasses.dataclass(frozen=True)
class Curve(Rule):
    """A value over progress: points [progress, value] in rising progress within [0, 1], values in [0, `highest`].

    Typed as "0.3:20 0.6:1"; pairs of floats in Python.
    """

    highest: float = 1e6
    MOST: ClassVar[int] = 100

    def problems(self, value: Any, where: str) -> Iterator[Problem]:
        if not isinstance(value, list) or not all(isinstance(point, list) and len(point) == 2 for point in value):
            yield where, f"must be points of progress and value, such as 0.3:20 0.6:1, not {shown(value)}"
            return
        wrong = list(_length_problems(value, where, Length(1, self.MOST)))
        for position, point in enumerate(value if not wrong else ()):
            for name, number, rule in zip(("progress", "value"), point, self._ranges(), strict=True):
                wrong += [(at, f"{name} {what}") for at, what in rule.problems(number, f"{where}[{position}]")]
        if not wrong and any(later[0] <= earlier[0] for earlier, later in itertools.pairwise(value)):
            wrong.append((where, f"must have points in rising progress, not {self.text(value)}"))
        yield from wrong

    def _ranges(self) -> tuple[Range, Range]:
        return Range(0, 1), Range(0, self.highest)

    def json_schema(self) -> dict[str, Any]:
        numbers = [rule.json_schema() for rule in self._ranges()]
        point = {"type": "array", "prefixItems": numbers, "minItems": 2, "maxItems": 2}
        return {"type": "array", "items": point, "minItems": 1, "maxItems": self.MOST}

    def words(self) -> str:
        return (
            f"list of 1 to {self.MOST} points [progress in [0, 1], value in [0, {self.highest:g}]] in rising progress"
        )

    def read(self, value: Any) -> Any:
        return tuple((float(progress), float(level)) for progress, level in value)

    def write(self, value: Any) -> Any:
        return [list(point) for point in value]

    @staticmethod
    def parsed(text: str) -> Any:
        """The points of a text as JSON has them; the text itself, where it is of another form."""
        try:
            return [[float(number) for number in point.split(":")] for point in text.split()]
        except ValueError:
            return text

    @staticmethod
    def text(value: Iterable[Iterable[float]]) -> str:
        """The points as they are typed."""
        return " ".join(":".join(f"{number:g}" for number in point) for point in value)


def joined(where: str, key: str) -> str:
    """The place of a key in the object at `where`."""
    return f"{where}.{key}" if where else key


def _length_problems(value: list[Any], where: str, length: Length) -> Iterator[Problem]:
    if not length.least <= len(value) <= length.most:
        yield where, f"has {len(value)} items, not {length.least} to {length.most}"


def _keys_problems(value: dict[str, Any], where: str, most: int) -> Iterator[Problem]:
    if len(value) > most:
        yield where, f"has {len(value)} keys, more than {most}"
        return
    for key in value:
        if not 0 < len(key) <= LONGEST_KEY or not key.isprintable():
            yield from _KEY.problems(key, f"{where} (a key)")
