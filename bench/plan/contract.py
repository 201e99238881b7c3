"""Whether a method's class can be planned with at all. `bench check` examines the whole contract. No torch at import."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.rules import shown
from seqdis.bench.plan import space
from seqdis.bench.plan.settings import fault
from seqdis.bench.records.config import TrainingConfig
from seqdis.bench.records.record import Supervision

if TYPE_CHECKING:
    from seqdis.datasets.base import Signal
    from seqdis.methods.base import Capabilities, Method, Needs


class _Broken(Exception):
    """What is wrong with a class, as the end of a sentence."""


def sound(method: type[Method]) -> type[Method]:
    """The class, if it has all that planning reads: a config with defaults, variants, rules, a space, needs, capabilities.

    Raises:
        UserError: it has not.
    """
    try:
        _settings(method)
        _rules(method)
        _space(method)
        _schedulable(method)
        for variant in ("", *method.variants):
            declared(method, _config(method, variant))
    except _Broken as error:
        raise _refusal(method, str(error)) from error
    return method


def declared(method: type[Method], config: Any) -> tuple[Needs, Capabilities]:
    """What a method says that it needs and can do under a config.

    Raises:
        UserError: it raises, or says something else.
    """
    from seqdis.methods.base import Capabilities, Needs

    found: list[Any] = []
    for name, kind in (("needs", Needs), ("capabilities", Capabilities)):
        try:
            said = getattr(method, name)(config)
        except Exception as error:  # the user's code may raise anything
            raise _refusal(method, f"its {name}(config) raises {type(error).__name__}: {error}") from error
        if not isinstance(said, kind):
            raise _refusal(method, f"its {name}(config) gives {shown(said)}, not {kind.__name__}")
        found.append(said)
    needs, capabilities = found
    return needs, capabilities


def supervision(needs: Needs, signal: Signal | None) -> Supervision:
    """What a method with such needs is given beside the clips of data that have such a signal."""
    if needs.motion_labels:
        return "motion labels"
    if needs.signal and signal is not None:
        return "privileged signal" if signal.privileged else "external signal"
    return "none"


def _refusal(method: type[Method], what: str) -> UserError:
    return UserError(f"{method.__name__} is no whole method: {what} (see docs/add-a-method.md).")


def _settings(method: type[Method]) -> None:
    kind = getattr(method, "Config", None)
    if kind is None:
        raise _Broken("it has no Config")
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise _Broken(f"its Config is {shown(kind)}, not a dataclass")
    unset = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if unset:
        raise _Broken(f"its Config has no default for {', '.join(unset)}")
    try:
        typing.get_type_hints(kind, include_extras=True)
    except Exception as error:  # annotations are the user's code
        raise _Broken(f"a type in its Config cannot be read ({type(error).__name__}: {error})") from error
    variants = method.variants
    if not isinstance(variants, Mapping) or not all(isinstance(one, Mapping) for one in variants.values()):
        raise _Broken(f"its variants are {shown(variants)}, not a dict of names and changes")


def _config(method: type[Method], variant: str) -> Any:
    """The defaults with a variant's changes, which must be of JSON's kinds: the cell's id hangs on them."""
    which = f"value in variant {variant}" if variant else "default"
    try:
        config = method.Config(**method.variants.get(variant, {}))
        for name, value in dataclasses.asdict(config).items():
            _require_json(value, f"the {which} of {name} in its Config")
    except _Broken:
        raise
    except Exception as error:  # a Config may check its settings
        what = f"its variant {variant}" if variant else "its defaults"
        raise _Broken(f"its Config cannot be made with {what} ({type(error).__name__}: {error})") from error
    return config


def _require_json(value: Any, what: str) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise _Broken(f"{what} is {shown(value)}; use finite numbers, texts and booleans") from error


def _rules(method: type[Method]) -> None:
    from seqdis.methods.base import Rule

    rules, kinds = method.rules, {"method": method.Config, "training": TrainingConfig}
    fields = {field.name for field in dataclasses.fields(method.Config)}
    if not isinstance(rules, list | tuple) or not all(isinstance(rule, Rule) for rule in rules):
        raise _Broken(f"its rules are {shown(rules)}, not a tuple of Rule")
    for rule in rules:
        for name in ("presets", "data", "variants"):
            if not isinstance(names := getattr(rule, name), list | tuple):
                raise _Broken(f"a rule's {name} are {shown(names)}, not a tuple of names")
        for name in ("method", "training"):
            if not isinstance(changes := getattr(rule, name), Mapping):
                raise _Broken(f"what a rule changes of {name} is {shown(changes)}, not a dict")
            for key, value in changes.items():
                # Settings of the method that a subclass lacks are passed over.
                wrong = (name == "training" or key in fields) and fault(kinds, f"{name}.{key}", value)
                if wrong:
                    raise _Broken(f"in its rules, {wrong}")


def _schedulable(method: type[Method]) -> None:
    names = method.schedulable
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise _Broken(f"its schedulable is {shown(names)}, not a tuple of names")


def _space(method: type[Method]) -> None:
    wrong = space.misshapen(method.space)
    if wrong:
        raise _Broken(wrong)
