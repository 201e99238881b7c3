"""Settings from the command line, their types, and how a cell's are merged from layers, each with its origin.

    --set training.steps=200   --set lr=1e-3   --set method.betas=[0.5,0.9]   --set compile=true   --set data.features=spec200
    --set training.capacity.kl_static="0.3:20 0.6:1"   --set training.capacity.kl_static=null

A text becomes a JSON value in one place (`parse_overrides`), a value gets the type of the setting that it is for in one
place (`typed`), and layers are laid over each other in one place (`merged`). No torch here.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from seqdis.bench.core.errors import UserError, unknown_name
from seqdis.bench.core.rules import LONGEST_TEXT, Curve, Range, Rule, Value, shown
from seqdis.bench.core.rules import Mapping as MappingRule
from seqdis.bench.core.schema import rule_of
from seqdis.bench.records.config import Settings

PARTS = ("method", "training", "evaluation")
DATA = "data."
"""What keys of --set begin with that choose options of the data set."""
SET = "--set"
DEFAULT = "default"

_METHOD_RANGES: tuple[tuple[str, Range], ...] = (
    (r"width|\w+_dim|(n|\w+)_layers", Range(1, 65_536, integer=True)),
    (r"lr|\w+_lr|\w+_lr_ratio|weight_decay", Range(0, 1000)),
    (r"beta[12]|ema", Range(0, 0.999_999_999)),
    (r"temperature", Range(1e-9, 1e9)),
)
"""What settings of these names may be in every method: beyond it networks and optimisers cannot be made."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WORDS = {"true": True, "false": False, "null": None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """Changes to the defaults that have one origin, such as "preset quick for sprites"."""

    origin: str
    method: Settings = dataclasses.field(default_factory=dict)
    training: Settings = dataclasses.field(default_factory=dict)
    evaluation: Settings = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a configuration: its settings as its dataclass has them, and where each comes from."""

    config: Any
    origins: dict[str, str]


def parse_overrides(items: Iterable[str]) -> Settings:
    """`key=value` texts as a mapping: JSON where they are JSON, numbers also as `.5`, words also as `True`, else text.

    Raises:
        UserError: a text without '=', or a value that no setting can have.
    """
    overrides: Settings = {}
    for item in items:
        key, separator, text = item.partition("=")
        if not separator or not key:
            raise UserError(f"--set {shown(item)} is not of the form key=value, such as --set training.steps=200.")
        overrides[key] = _parsed(key, text.strip())
    return overrides


def _parsed(key: str, text: str) -> Any:
    if len(text) > LONGEST_TEXT:
        raise UserError(f"--set {shown(key)} has {len(text)} characters, more than {LONGEST_TEXT}.")
    if _NUMBER.fullmatch(text):
        value: Any = float(text) if re.search("[.eE]", text) else int(text)
    elif text.lower() in _WORDS:
        value = _WORDS[text.lower()]
    else:
        try:
            value = json.loads(text, parse_constant=str)
        except (ValueError, RecursionError):
            value = text
    for _, what in Value().problems(value, key):
        raise UserError(f"--set {shown(key)}={shown(value)} {what}.")
    return value


def typed(key: str, value: Any, rule: Rule | None, example: Any = None) -> Any:
    """A JSON value with the type of the setting that it is for.

    Args:
        key: the setting as the user typed it, for the message.
        rule: of the setting; None if JSON does not have its type.
        example: a value that the setting may have.

    Raises:
        UserError: the setting has no such value, or cannot be set from the command line.
    """
    if rule is None:
        raise UserError(f"--set {key} cannot be set from the command line.")
    value = _pointed(rule, value)
    if isinstance(rule, Range) and not rule.integer and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    elif isinstance(rule, Range) and rule.integer and isinstance(value, float) and value.is_integer():
        value = int(value)  # 1e3
    for where, what in rule.problems(value, ""):
        like = "" if example is None else f" (such as --set {key}={json.dumps(example, default=str)})"
        raise UserError(f"--set {key}={shown(value)}: {f'{where} ' if where else ''}{what}{like}.")
    return rule.read(value)


def fault(kinds: Mapping[str, type[Any]], key: str, value: Any) -> str:
    """What is wrong with a setting that a method's class gives, "" if nothing is.

    Args:
        kinds: as for `merged`.
        key: names the part and the setting ("training.steps").
        value: as the class has it; tuples are lists in JSON.
    """
    try:
        rule = rule_for(kinds, key)
    except UserError as error:
        return str(error).removesuffix(".")
    if rule is None:
        return f"{key} is of a type that JSON does not have"
    try:
        problems = rule.problems(_pointed(rule, json.loads(json.dumps(value, allow_nan=False))), "")
    except (TypeError, ValueError, RecursionError):
        return f"{key}={shown(value)} is no number, text or boolean that JSON has"
    return next((f"{key}={shown(value)}: {where} {what}".replace("  ", " ") for where, what in problems), "")


def rule_for(kinds: Mapping[str, type[Any]], key: str) -> Rule | None:
    """The rule of the setting that a key names; None of one that no value from JSON has.

    Raises:
        UserError: there is no such setting.
    """
    return _place(kinds, key).rule


def built(kind: type[Any], settings: Mapping[str, Any]) -> Any:
    """The dataclass `kind` with settings as JSON has them: lists become tuples where it says so."""
    hints = typing.get_type_hints(kind, include_extras=True)
    rules = {key: rule_of(hints[key]) for key in settings if key in hints}
    return kind(**{key: rule.read(value) if (rule := rules.get(key)) else value for key, value in settings.items()})


def merged(kinds: Mapping[str, type[Any]], layers: Iterable[Layer], overrides: Mapping[str, Any]) -> dict[str, Part]:
    """The parts of a configuration: each dataclass's defaults, the layers over them in their order, and --set on top.

    Args:
        kinds: part ("method", "training", "evaluation") -> its dataclass. A control without settings has no "method".
        overrides: as `parse_overrides` gives them; a key names its part ("training.steps") or the first that has it.

    Raises:
        UserError: an override that no part has, or a value of the wrong kind.
    """
    found: dict[str, Settings] = {part: {} for part in kinds}
    origins: dict[str, dict[str, str]] = {
        part: dict.fromkeys((field.name for field in dataclasses.fields(kind)), DEFAULT) for part, kind in kinds.items()
    }
    for layer in layers:
        for part in kinds:
            changes: Settings = getattr(layer, part)
            found[part].update(changes)
            origins[part].update(dict.fromkeys(changes, layer.origin))
    for key, value in overrides.items():
        if key.startswith(DATA):
            continue
        place = _place(kinds, key)
        settings, name = found[place.part], place.field.name
        origins[place.part][name] = SET
        if place.entry:
            others = {entry: one for entry, one in settings.get(name, {}).items() if entry != place.entry}
            settings[name] = others if value is None else {**others, place.entry: typed(key, value, place.rule)}
        else:
            settings[name] = typed(key, value, place.rule, _example(place.field))
            if place.part == "method":
                _check_range(key, name, settings[name])
    return {part: Part(built(kind, found[part]), origins[part]) for part, kind in kinds.items()}


def _check_range(key: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    for pattern, allowed in _METHOD_RANGES:
        if re.fullmatch(pattern, name):
            for _, what in allowed.problems(value, ""):
                raise UserError(f"--set {key}={shown(value)} {what}.")


def _example(field: dataclasses.Field[Any]) -> Any:
    return None if field.default is dataclasses.MISSING or field.default is None else field.default


@dataclasses.dataclass(frozen=True)
class _Place:
    """What a key of --set names: a field of a part, or an entry of one that is a mapping, and the rule of its values."""

    part: str
    field: dataclasses.Field[Any]
    entry: str
    rule: Rule | None


def _place(kinds: Mapping[str, type[Any]], key: str) -> _Place:
    """The place of "steps", "training.steps" or "training.capacity.kl_static"."""
    room, _, rest = key.partition(".")
    parts, names = ((room,), rest) if room in PARTS else (PARTS, key)
    name, dot, entry = names.partition(".")
    for part in parts:
        for field in dataclasses.fields(kinds[part]) if part in kinds else ():
            if field.name != name:
                continue
            rule = rule_of(typing.get_type_hints(kinds[part], include_extras=True)[name])
            if not dot:
                return _Place(part, field, "", rule)
            if entry and isinstance(rule, MappingRule):
                return _Place(part, field, entry, rule.rule)
    known = [f"{part}.{field.name}" for part, kind in kinds.items() for field in dataclasses.fields(kind)]
    raise unknown_name("setting", key, known, "bench describe METHOD")


def _pointed(rule: Rule, value: Any) -> Any:
    """A curve's points, where they are given as a text."""
    return rule.parsed(value) if isinstance(rule, Curve) and isinstance(value, str) else value
