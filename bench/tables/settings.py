"""What a table says of its rows' settings: the capacity schedule in words, and the weights, rates and sizes that differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqdis.bench.core.schema import rule_of
from seqdis.bench.records.collection import Collection
from seqdis.bench.records.config import NOISE, Points
from seqdis.bench.tables.grouping import Block

_CAPACITY = rule_of(dict[str, Points])
_SIZES = ("lr", "static_dim", "dynamic_dim")
_LONGEST = 700
"""Characters of a note, of which formats cut what is much longer."""


def settings_notes(block: Block, collection: Collection) -> list[str]:
    """The capacity schedule of each row, and the settings in which the rows of a small preset differ."""
    configs = {
        group.label: collection.configs.get(group.config) or {}
        for group in block.groups
        if any(entry.planned_steps for entry in group.entries)
    }
    if not configs:
        return []
    schedules: dict[str, list[str]] = {}
    for label, config in configs.items():
        schedules.setdefault(schedule_words(config), []).append(label)
    none = schedules.pop("", [])
    rows = [f"{', '.join(labels)}: {words}" for words, labels in schedules.items()]
    rows += [f"none: {', '.join(none)}"] if rows and none else []
    notes = _noted("Capacity schedule: ", rows) or ["No capacity schedule."]
    return notes if block.setting.preset.startswith("paper") else notes + _differing(configs)


def schedule_words(config: Mapping[str, Any]) -> str:
    """The capacity schedule of a recorded config in words; "" if it has none that can be read."""
    capacity = (config.get("training") or {}).get("capacity") or {}
    if _CAPACITY is None or any(True for _ in _CAPACITY.problems(capacity, "")):
        return ""
    return ", ".join(_curve_words(name, points) for name, points in capacity.items())


def _curve_words(name: str, points: list[list[float]]) -> str:
    subject = f"weight of {name.replace('_', ' ')} times"
    if name.startswith(NOISE):
        subject = f"noise on the {name.removeprefix(NOISE)} code of deviation"
    plateaus: list[tuple[float, list[float]]] = []  # a value, and where it begins and ends
    for progress, value in points:
        if plateaus and plateaus[-1][0] == value:
            plateaus[-1][1].append(100 * progress)
        else:
            plateaus.append((value, [100 * progress]))
    if len(plateaus) == 1:
        return f"{subject} {points[0][1]:g} throughout"
    (first, begins), *between, (last, ends) = plateaus
    start = f"until {begins[-1]:g} % of training" if begins[-1] else "at the start of training"
    words = [f"{subject} {first:g} {start}"]
    words += [
        f"{value:g} {f'from {places[0]:g} to {places[-1]:g}' if len(places) > 1 else f'at {places[0]:g}'} %"
        for value, places in between
    ]
    return ", ".join([*words[:-1], f"{words[-1]} and {last:g} from {ends[0]:g} %"])


def _differing(configs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Weights, rates and code sizes that are not the same in every row that has them, row by row."""
    settings = {
        label: {
            key: value
            for key, value in (config.get("method") or {}).items()
            if (key in _SIZES or key.endswith("_weight")) and isinstance(value, int | float) and value
        }
        for label, config in configs.items()
    }
    found: dict[str, set[float]] = {}
    for values in settings.values():
        for key, value in values.items():
            found.setdefault(key, set()).add(value)
    rows = []
    for label, values in settings.items():
        own = [
            f"{key.removesuffix('_weight').replace('_', ' ')} {value:g}"
            for key, value in values.items()
            if len(found[key]) > 1
        ]
        rows += [f"{label}: {', '.join(own)}"] if own else []
    return _noted("Settings where rows differ, not the published ones: ", rows)


def _noted(head: str, rows: list[str]) -> list[str]:
    """Sentences of rows, as few as their length allows; none without rows."""
    notes: list[str] = []
    for row in rows:
        if notes and len(notes[-1]) + len(row) < _LONGEST:
            notes[-1] += f"; {row}"
        else:
            notes.append(head + row)
    return [f"{text}." for text in notes]
