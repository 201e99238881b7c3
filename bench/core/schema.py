"""Typed definitions of JSON files: frozen dataclasses whose fields say what may stand in them. Standard library only.

From one definition follow the validator (`problems`), the reader and the writer (`from_json`, `to_json`), the JSON
Schema (`json_schema`) and a page of documentation (`documentation`). A field's type says which kind of value it is,
and `Annotated` its limits and, as a text, what it means:

    name: Annotated[str, Text(64, NAME, empty=False), "as typed after --datasets"]
    draws: Annotated[tuple[Draw, ...], Length(1, 1000), "one a prior draw"]
    energy: Annotated[float | None, "joules; null where it cannot be read"]
    signal: Annotated[str | None, OPTIONAL, "how it was made"] = None

An object may have no key but its fields', unless its class is an `Open` one.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any

from seqdis.bench.core.rules import (
    LONGEST_KEY,
    MOST_KEYS,
    Boolean,
    Choice,
    Curve,
    Length,
    List,
    Mapping,
    Nullable,
    Problem,
    Range,
    Rule,
    Text,
    Value,
    joined,
    shown,
)

T = typing.TypeVar("T")
D = typing.TypeVar("D")


@dataclasses.dataclass(frozen=True)
class Key:
    """The key of a field that cannot have its name in Python."""

    name: str


class _Mark:
    """A word on a field that needs no value."""


OPTIONAL = _Mark()
"""On a field `X | None = None`, or on a mapping that is empty by default: the key is absent where it is None or empty, and
never null."""
OTHERS = _Mark()
"""On a mapping: it holds the keys that are no fields."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Open:
    """An object that may hold more than its fields, such as what a later version adds; it is kept as it is."""

    others: Annotated[dict[str, Any], OTHERS] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of an object: its name in Python and in JSON, its rule, and what it means."""

    attribute: str
    key: str
    rule: Rule
    is_optional: bool
    meaning: str
    absent: Any = None
    """What no key stands for: None, or an empty mapping."""


@dataclasses.dataclass(frozen=True)
class Object(Rule):
    """An object with the fields of a dataclass."""

    kind: type[Any]
    fields: tuple[Field, ...]
    others: Rule | None
    """Of each value whose key is no field; None where there may be none."""

    @functools.cached_property
    def by_key(self) -> dict[str, Field]:
        return {field.key: field for field in self.fields}

    def problems(self, value: Any, where: str) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield where, f"must be an object, not {shown(value)}"
            return
        for field in self.fields:
            if field.key in value:
                yield from field.rule.problems(value[field.key], joined(where, field.key))
            elif not field.is_optional:
                yield joined(where, field.key), "is missing"
        for key, item in value.items():
            if key in self.by_key:
                continue
            if self.others is None:
                yield joined(where, shown(key)), "is not a key of the schema"
            else:
                yield from self.others.problems(item, joined(where, str(key)[:LONGEST_KEY]))

    def json_schema(self) -> dict[str, Any]:
        return {"$ref": f"#/$defs/{self.kind.__name__}"}

    def definition(self) -> dict[str, Any]:
        """What `$defs` holds under the name that `json_schema` refers to."""
        return {
            "type": "object",
            "description": _about(self.kind),
            "properties": {
                field.key: {**field.rule.json_schema(), **({"description": field.meaning} if field.meaning else {})}
                for field in self.fields
            },
            "required": [field.key for field in self.fields if not field.is_optional],
            "additionalProperties": False if self.others is None else self.others.json_schema(),
        }

    def words(self) -> str:
        return f"[{self.kind.__name__}](#{self.kind.__name__.lower()})"

    def parts(self) -> Iterator[Rule]:
        yield from (field.rule for field in self.fields)
        if self.others is not None:
            yield self.others

    def read(self, value: Any) -> Any:
        found = {field.attribute: field.rule.read(value[field.key]) for field in self.fields if field.key in value}
        if self.others is not None:
            found["others"] = {key: item for key, item in value.items() if key not in self.by_key}
        return self.kind(**found)

    def write(self, value: Any) -> Any:
        items = ((field, getattr(value, field.attribute)) for field in self.fields)
        found = {
            field.key: field.rule.write(item)
            for field, item in items
            if not (field.is_optional and item == field.absent)
        }
        return found if self.others is None else found | value.others


@dataclasses.dataclass(frozen=True)
class Either(Rule):
    """The first of several objects all of whose required keys are there; the last one, where that is none."""

    rules: tuple[Object, ...]

    def _of(self, value: Any) -> Object:
        keys = value if isinstance(value, dict) else {}
        whole = (rule for rule in self.rules if all(field.is_optional or field.key in keys for field in rule.fields))
        return next(whole, self.rules[-1])

    def problems(self, value: Any, where: str) -> Iterator[Problem]:
        yield from self._of(value).problems(value, where)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [rule.json_schema() for rule in self.rules]}

    def words(self) -> str:
        return " or ".join(rule.words() for rule in self.rules)

    def parts(self) -> Iterator[Rule]:
        yield from self.rules

    def read(self, value: Any) -> Any:
        return self._of(value).read(value)

    def write(self, value: Any) -> Any:
        return next(rule for rule in self.rules if isinstance(value, rule.kind)).write(value)


def problems(kind: type[Any], value: Any, where: str = "") -> Iterator[Problem]:
    """What is wrong with a value from JSON that should be a `kind`, which stands at `where`."""
    yield from object_of(kind).problems(value, where)


def from_json(kind: type[T], value: Any) -> T:
    """The typed value of one from JSON.

    Raises:
        ValueError: it is none; the message names the first place that is wrong.
    """
    for where, what in problems(kind, value):
        raise ValueError(f"{where}: {what}" if where else what)
    return unchecked(kind, value)


def unchecked(kind: type[T], value: Any) -> T:
    """As `from_json`, for what is shown as far as it goes: texts and numbers may be any, only objects and lists must be
    where they should be.

    Raises:
        TypeError, AttributeError: they are not.
    """
    found: T = object_of(kind).read(value)
    return found


def to_json(value: Any) -> dict[str, Any]:
    """The JSON object of a typed value, its keys in the order of the fields."""
    found: dict[str, Any] = object_of(type(value)).write(value)
    return found


def keys(kind: type[Any]) -> tuple[Field, ...]:
    """The fields of a `kind`, in their order."""
    return object_of(kind).fields


def json_schema(kind: type[Any]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a `kind`, each object of it a definition.

    It says a little less than `problems`, which also refuses control characters.
    """
    named = {rule.kind.__name__: rule.definition() for rule in _objects(object_of(kind))}
    named["Value"] = Value().definition()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.__name__,
        "$ref": f"#/$defs/{kind.__name__}",
        "$defs": named,
    }


def documentation(kind: type[Any]) -> str:
    """A `kind` and all objects in it in Markdown: a section each, with a table of its keys."""
    return "\n".join(_section(rule) for rule in _objects(object_of(kind)))


def _section(rule: Object) -> str:
    rows = [
        f"| `{field.key}` | {'no' if field.is_optional else 'yes'} | {_cell(field.rule.words())} | {_cell(field.meaning)} |"
        for field in rule.fields
    ]
    others = "" if rule.others is None else f"Other keys: {rule.others.words()}.\n"
    head = ["| key | always there | value | meaning |", "| --- | --- | --- | --- |"]
    return "\n".join([f"## {rule.kind.__name__}", "", _about(rule.kind), "", *head, *rows, "", others]).rstrip() + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _about(kind: type[Any]) -> str:
    return " ".join((inspect.getdoc(kind) or "").split())


def _objects(first: Object) -> Iterator[Object]:
    """An object's rule and those within it, each once, from the outside in."""
    waiting: list[Rule] = [first]
    seen = []
    while waiting:
        rule = waiting.pop(0)
        if rule in seen:
            continue
        seen.append(rule)
        waiting += rule.parts()
        if isinstance(rule, Object):
            yield rule


def rule_of(hint: Any) -> Rule | None:
    """The rule of a value of an annotated type; None of a type that no value from JSON has."""
    try:
        return _rule(hint, ())
    except (TypeError, AttributeError, IndexError, NameError):
        return None


_KNOWN: dict[type[Any], Object] = {}


def object_of(kind: type[Any]) -> Object:
    """The rule of a dataclass."""
    if kind not in _KNOWN:
        _KNOWN[kind] = _object_of(kind)
    return _KNOWN[kind]


def _object_of(kind: type[Any]) -> Object:
    hints = typing.get_type_hints(kind, include_extras=True)
    fields, others = [], None
    for field in dataclasses.fields(kind):
        hint, marks = _unwrapped(hints[field.name])
        if OTHERS in marks:
            others = _rule(typing.get_args(hint)[1], ())
            continue
        is_optional = OPTIONAL in marks
        absent = None if field.default_factory is dataclasses.MISSING else field.default_factory()
        if is_optional and absent is None:
            hint = typing.Union[tuple(one for one in typing.get_args(hint) if one is not types.NoneType)]  # noqa: UP007
        key = next((mark.name for mark in marks if isinstance(mark, Key)), field.name)
        meaning = " ".join(mark for mark in marks if isinstance(mark, str))
        fields.append(Field(field.name, key, _rule(hint, marks), is_optional, meaning, absent))
    return Object(kind, tuple(fields), others)


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type and its marks, the outermost first."""
    if typing.get_origin(hint) is not Annotated:
        return hint, ()
    inner, *marks = typing.get_args(hint)
    found, deeper = _unwrapped(inner)
    return found, (*reversed(marks), *deeper)


def _rule(hint: Any, marks: tuple[Any, ...]) -> Rule:
    """The rule of a type with these marks; of two of a kind the outer one counts."""
    hint, inner = _unwrapped(hint)
    marks = (*marks, *inner)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        kinds = [one for one in arguments if one is not types.NoneType]
        rule = _rule(kinds[0], marks) if len(kinds) == 1 else Either(tuple(map(object_of, kinds)))
        return Nullable(rule) if types.NoneType in arguments else rule
    if origin is typing.Literal:
        return Choice(arguments)
    if origin is tuple and (curve := _mark(marks, Curve, None)) is not None:
        return curve
    if origin is tuple:
        exact = Length() if arguments[-1] is Ellipsis else Length(len(arguments), len(arguments))
        return List(_rule(arguments[0], ()), _mark(marks, Length, exact))
    if origin is dict:
        return Mapping(_rule(arguments[1], ()), _mark(marks, Length, Length(0, MOST_KEYS)).most)
    if hint is int:
        return dataclasses.replace(_mark(marks, Range, Range()), integer=True)
    simple: dict[Any, Rule] = {
        str: _mark(marks, Text, Text()),
        float: _mark(marks, Range, Range()),
        bool: Boolean(),
        Any: Value(),
    }
    return simple[hint] if hint in simple else object_of(hint)


def _mark(marks: tuple[Any, ...], kind: type[T], default: D) -> T | D:
    return next((mark for mark in marks if isinstance(mark, kind)), default)
