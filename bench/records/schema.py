"""The record schema as data: every key, its type and its range. `validate` checks records against it.

The rules are the ones written out in `records.py`; what one number says about another is checked in `validate.py`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

Problem = tuple[str, str]
"""Where in the record, and what is wrong."""
Rule = Callable[[Any, str], Iterator[Problem]]

LONGEST_TEXT = 2000
LONGEST_KEY = 80
MOST_ITEMS = 200_000
CELL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}")
COUNTS = re.compile(r"(?:[0-9]{1,7} )*[0-9]{1,7}")
LONGEST_COUNTS = 400_000
SHA256 = re.compile(r"[0-9a-f]{64}")


def shown(value: Any) -> str:
    """A value as it may be quoted in a message: short, on one line, without control characters."""
    text = "".join(char if char.isprintable() else "?" for char in repr(value)[:60])
    return text if len(repr(value)) <= 60 else text + "..."


def text(
    longest: int = 300, pattern: re.Pattern[str] | None = None, *, empty: bool = True, lines: bool = False
) -> Rule:
    """A string: not too long, without control characters (but line ends, if `lines`), matching `pattern`."""

    def check(value: Any, where: str) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield where, f"must be text, not {shown(value)}"
        elif len(value) > longest:
            yield where, f"has {len(value)} characters, more than {longest}"
        elif any(unicodedata.category(char) in ("Cc", "Cs") and not (lines and char in "\n\t") for char in value):
            yield where, f"holds control characters: {shown(value)}"
        elif not value and not empty:
            yield where, "must not be empty"
        elif value and pattern is not None and not pattern.fullmatch(value):
            yield where, f"{shown(value)} is not of the form {pattern.pattern}"

    return check


def choice(*options: Any) -> Rule:
    """One of the given values."""

    def check(value: Any, where: str) -> Iterator[Problem]:
        if not any(value == option and type(value) is type(option) for option in options):
            yield where, f"must be one of {', '.join(map(str, options))}, not {shown(value)}"

    return check


def number(low: float = -math.inf, high: float = math.inf, *, integer: bool = False) -> Rule:
    """A finite number in [low, high]."""

    def check(value: Any, where: str) -> Iterator[Problem]:
        kinds = (int,) if integer else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            yield where, f"must be a{' whole' if integer else ''} number, not {shown(value)}"
        elif not math.isfinite(value):
            yield where, "is not finite"
        elif not low <= value <= high:
            yield where, f"is {value:.12g}, outside [{low:.12g}, {high:.12g}]"

    return check


def boolean(value: Any, where: str) -> Iterator[Problem]:
    """True or false."""
    if not isinstance(value, bool):
        yield where, f"must be true or false, not {shown(value)}"


def optional(rule: Rule) -> Rule:
    """Null, or what the rule says."""

    def check(value: Any, where: str) -> Iterator[Problem]:
        if value is not None:
            yield from rule(value, where)

    return check


def items(rule: Rule, least: int = 0, most: int = MOST_ITEMS) -> Rule:
    """A list of `least` to `most` items that keep the rule."""

    def check(value: Any, where: str) -> Iterator[Problem]:
        if not isinstance(value, list):
            yield where, f"must be a list, not {shown(value)}"
        elif not least <= len(value) <= most:
            yield where, f"has {len(value)} items, not {least} to {most}"
        else:
            for position, item in enumerate(value):
                yield from rule(item, f"{where}[{position}]")

    return check


def mapping(rule: Rule, most: int = 500) -> Rule:
    """An object with any text keys, whose values keep the rule."""

    def check(value: Any, where: str) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield where, f"must be an object, not {shown(value)}"
        elif len(value) > most:
            yield where, f"has {len(value)} keys, more than {most}"
        else:
            for key, item in value.items():
                yield from text(LONGEST_KEY, empty=False)(key, f"{where} (a key)")
                yield from rule(item, f"{where}.{key[:LONGEST_KEY]}")

    return check


def fields(required: dict[str, Rule], extra: dict[str, Rule] | None = None, *, others: Rule | None = None) -> Rule:
    """An object with these keys; `extra` may be absent; any other key must keep `others`, or is wrong."""

    def check(value: Any, where: str) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield where, f"must be an object, not {shown(value)}"
            return
        for key, rule in required.items():
            if key not in value:
                yield _join(where, key), "is missing"
            else:
                yield from rule(value[key], _join(where, key))
        for key, item in value.items():
            if key in required:
                continue
            found = (extra or {}).get(key, others)
            if found is None:
                yield _join(where, shown(key)), "is not a key of the schema"
            else:
                yield from found(item, _join(where, str(key)[:LONGEST_KEY]))

    return check


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def plain(value: Any, where: str, depth: int = 0) -> Iterator[Problem]:
    """Any small JSON value: what configs and options hold."""
    if depth > 8:
        yield where, "is nested too deeply"
    elif isinstance(value, dict):
        yield from mapping(lambda item, place: plain(item, place, depth + 1))(value, where)
    elif isinstance(value, list):
        yield from items(lambda item, place: plain(item, place, depth + 1), most=1000)(value, where)
    elif isinstance(value, str):
        yield from text(LONGEST_TEXT)(value, where)
    elif isinstance(value, float):
        yield from number()(value, where)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
        yield where, "is too large"


fraction = number(0.0, 1.0)
count = number(0, 1 << 53, integer=True)
positive = number(1, 1 << 53, integer=True)
amount = number(0.0, 1e18)
entropy = number(-1e-9, 50.0)
scores = fields(
    {"acc": fraction, "is": number(1 - 1e-6, 1e9), "h_y_given_x": entropy, "h_y": entropy}, {"label_entropy": entropy}
)
draws = fields({"n_clips": positive, "draws": items(mapping(scores), 1, 1000)})
interval = items(number(-1.0, 1.0), 2, 2)
equal_error = fields(
    {
        "eer_static": fraction,
        "eer_dynamic": fraction,
        "gap": number(-1.0, 1.0),
        "n_trials": positive,
        "n_target": count,
        "n_speakers": positive,
    },
    {"eer_static_ci": interval, "eer_dynamic_ci": interval, "gap_ci": interval, "options": plain},
    others=plain,
)
agreement = mapping(fields({"acc_consistency": number(-1.0, 1.0), "h_y": entropy}, others=number()))

METRICS: Rule = fields(
    {},
    {
        "directions": fields({}, {"fix_dynamic": draws, "fix_static": draws}),
        "reconstruction": fields({"mse": amount, "sse": amount, "factors": mapping(scores)}),
        "real": fields({"factors": mapping(scores)}),
        "shuffle": amount,
        "generator": fields(
            {},
            {
                "matched": draws,
                "labels": draws,
                "consistency": fields({}, {"fix_dynamic": agreement, "fix_static": agreement}),
            },
        ),
        "verification": mapping(equal_error),
        "probes": mapping(fields({"dynamic": fraction, "static": fraction, "chance": fraction}, others=plain)),
    },
    others=plain,
)

DATA: dict[str, Rule] = {
    "name": text(64, NAME, empty=False),
    "title": text(100),
    "source": choice("real", "synthetic"),
    "revision": text(100),
    "digest": text(128),
    "frame": items(positive, 1, 3),
    "n_frames": positive,
    "split_rule": text(500),
    "licence": text(300),
    "splits": fields({"train": count, "validation": count, "test": count}, others=count),
    "factors": items(
        fields(
            {"name": text(64, empty=False), "role": choice("static", "dynamic"), "classes": items(text(100), 1, 10_000)}
        ),
        0,
        100,
    ),
    "headline": items(text(64), 2, 2),
    "may_show": boolean,
}

RECORD: dict[str, Rule] = {
    "schema": choice(1),
    "status": choice("done", "failed", "n/a"),
    "cell": fields(
        {
            "id": text(200, CELL_ID, empty=False),
            "method": text(64, NAME, empty=False),
            "variant": text(64, NAME),
            "dataset": text(64, NAME, empty=False),
            "source": choice("real", "synthetic"),
            "preset": text(64, NAME, empty=False),
            "seed": number(0, 1 << 53, integer=True),
            "size": number(0, 4096, integer=True),
            "overrides": mapping(plain),
        },
        {"batch": count},
        others=plain,
    ),
    "title": text(100, empty=False),
    "supervision": choice("none", "external signal", "motion labels", "privileged signal"),
    "ranked": boolean,
    "notes": items(text(500), 0, 50),
    "config": fields(
        {"method": mapping(plain), "training": mapping(plain), "evaluation": mapping(plain)}, others=plain
    ),
    "data": plain,
    "judge": optional(
        fields(
            {"name": text(100), "sha256": text(64, SHA256, empty=False), "accuracy": mapping(fraction)}, others=plain
        )
    ),
    "protocol": fields(
        {
            "name": choice("encoder", "generator", "verification", "none"),
            "version": positive,
            "draws": count,
            "sample": choice("draw", "means", ""),
        },
        others=plain,
    ),
    "metrics": METRICS,
    "training": fields(
        {
            "steps": count,
            "planned_steps": count,
            "complete": boolean,
            "epochs": number(0),
            "selected_step": count,
            "selection": text(100),
            "validation": items(mapping(plain)),
            "losses": items(mapping(plain)),
        },
        others=plain,
    ),
    "cost": fields(
        {
            **dict.fromkeys(("train_seconds", "evaluation_seconds", "sequences_per_second"), amount),
            "peak_memory_bytes": optional(count),
            "gpu_memory_bytes": optional(count),
            "parameters": optional(count),
            "energy_joules": optional(amount),
        },
        others=plain,
    ),
    "environment": fields(
        {
            "python": text(50),
            "torch": text(50),
            "platform": text(200),
            "device": text(200),
            "threads": optional(count),
            "precision": text(50),
        },
        others=plain,
    ),
    "code": fields({"version": text(50), "commit": optional(text(64)), "dirty": optional(boolean)}, others=plain),
    "attempts": number(1, 1_000_000, integer=True),
    "finished": text(40, re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"), empty=False),
}
counts = text(LONGEST_COUNTS, COUNTS, empty=False)
EXTRA: dict[str, Rule] = {
    "identities": fields(
        {"unit": text(40, empty=False), "metric": text(200, empty=False), "clips": counts, "right": counts}
    ),
    "paper": text(500),
    "signal": text(500),
    "error": fields({"reason": text(LONGEST_TEXT, lines=True)}, {"traceback": text(20_000, lines=True)}, others=plain),
}
check_record: Rule = fields(RECORD, EXTRA, others=plain)
