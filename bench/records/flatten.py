"""A record's numbers under flat names. Standard library only.

Names: `<direction>/<factor>/<score>`, `generator/<kind>/<factor>/<score>`,
`consistency/<direction>/<factor>/<score>`, `rec/<factor>/<score>`, `real/<factor>/<score>`, `rec/mse`, `shuffle`,
`<level>/eer_static` and so on for `verification`, `probes/<factor>/<code>`, `cost/<what>`. Scores of several prior
draws become their mean. Entropies are kept for the headline only, since nothing prints the others: decoding numbers is
most of what reading records costs.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Iterator
from typing import Any, TypeGuard

from seqdis.bench.core.schema import keys
from seqdis.bench.records.record import Cost

_COST = tuple(field.key for field in keys(Cost))
_NUMBER = re.compile(rb'": ([0-9.eE+-]+)')
_ANYWHERE = re.compile(rb" (-?[0-9][0-9.eE+-]*)(?=[,\n])")
_IN_LIST = re.compile(rb"\[\n *-?[0-9]")
_MARK = re.compile(r"#([0-9]+)")
_MOST_SHAPES = 200
LARGEST = 1e30

Leaves = list[Any]
Names = tuple[str, ...]


def flatten(record: dict[str, Any]) -> tuple[Names, array[float]]:
    """A record's metrics and costs.

    Raises:
        ValueError: a number is not finite.
    """
    headline = headline_of(record["data"])
    fields = [
        (name, leaves)
        for name, leaves in _fields(record["metrics"] or {})
        if _is_wanted(name, headline) and all(map(_is_number, leaves))
    ]
    return _finished([name for name, _ in fields], [sum(leaves) / len(leaves) for _, leaves in fields], record["cost"])


def headline_of(data: dict[str, Any] | None) -> tuple[str, str]:
    """Direction and factor of the headline; no factor if it is a joint one, made of all heads."""
    direction, factor = ((data or {}).get("headline") or ("", ""))[:2]
    is_head = any(item["name"] == factor for item in (data or {}).get("factors") or ())
    return direction, factor if is_head else ""


def _is_wanted(name: str, headline: tuple[str, str]) -> bool:
    where, _, score = name.rpartition("/")
    if score not in ("is", "h_y_given_x", "h_y", "label_entropy"):
        return True
    direction, factor = headline
    if where.startswith(("generator/", "consistency/")):
        return True
    if not where.startswith(f"{direction}/"):
        return False
    return score == "label_entropy" or not factor or where == f"{direction}/{factor}"


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _finished(names: list[str], values: list[float], cost: dict[str, Any] | None) -> tuple[Names, array[float]]:
    for name in _COST:
        value = (cost or {}).get(name)
        if _is_number(value):
            names.append(f"cost/{name}")
            values.append(value)
    return tuple(names), _checked(values)


def _checked(values: list[float]) -> array[float]:
    """The numbers, if statistics of them stay finite too."""
    if not math.isfinite(sum(values)) or max(values, default=0) > LARGEST or min(values, default=0) < -LARGEST:
        raise ValueError("a number is not finite or too large")
    return array("d", values)


def _fields(metrics: dict[str, Any]) -> Iterator[tuple[str, Leaves]]:
    """Flat names, each with one leaf, or with one leaf a prior draw."""
    for direction, part in (metrics.get("directions") or {}).items():
        yield from _draws(direction, part)
    for kind, part in (metrics.get("generator") or {}).items():
        if kind == "consistency":
            for direction, factors in part.items():
                yield from _scores(f"consistency/{direction}", factors)
        else:
            yield from _draws(f"generator/{kind}", part)
    reconstruction = metrics.get("reconstruction") or {}
    yield "rec/mse", [reconstruction.get("mse")]
    yield from _scores("rec", reconstruction.get("factors") or {})
    yield from _scores("real", (metrics.get("real") or {}).get("factors") or {})
    yield "shuffle", [metrics.get("shuffle")]
    for level, part in (metrics.get("verification") or {}).items():
        for name, value in part.items():
            if name.endswith("_ci") and value:
                yield f"{level}/{name}/low", [value[0]]
                yield f"{level}/{name}/high", [value[1]]
            else:
                yield f"{level}/{name}", [value]
    yield from _scores("probes", metrics.get("probes") or {})


def _scores(prefix: str, factors: dict[str, dict[str, Any]]) -> Iterator[tuple[str, Leaves]]:
    for factor, scores in factors.items():
        for score, value in scores.items():
            yield f"{prefix}/{factor}/{score}", [value]


def _draws(prefix: str, part: dict[str, Any]) -> Iterator[tuple[str, Leaves]]:
    yield f"{prefix}/n_clips", [part.get("n_clips")]
    draws = part["draws"]
    for factor, scores in draws[0].items() if draws else ():
        for score in scores:
            yield f"{prefix}/{factor}/{score}", [draw[factor][score] for draw in draws]


class Shapes:
    """Reads the numbers of many records whose metrics are laid out alike, without building objects each time.

    The text between the numbers is the shape. It is decoded once, with marks in the places of the numbers, which gives
    the places of each name's numbers.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, tuple[str, str]], tuple[Names, list[tuple[slice, int]]]] = {}
        self._names: dict[tuple[Names, Names], Names] = {}

    def read(
        self, raw: bytes, headline: tuple[str, str], cost: dict[str, Any] | None
    ) -> tuple[Names, array[float]] | None:
        """As `flatten`, from the text of the metrics; None for a text that has to be decoded as a whole.

        Raises:
            ValueError: damaged text, or a number that is not finite.
        """
        pattern, before = (_ANYWHERE, b" ") if _IN_LIST.search(raw) else (_NUMBER, b'": ')
        pieces = pattern.split(raw)
        shape = (b"\0".join(pieces[::2]), headline)
        places = self._known.get(shape)
        if places is None:
            found = _places(pieces[::2], before, headline) if len(self._known) < _MOST_SHAPES else None
            if found is None:
                return None
            places = self._known[shape] = (tuple(name for name, _, _ in found), [(place, n) for _, place, n in found])
        names, slices = places
        numbers = pieces[1::2]
        values = [sum(map(float, numbers[place])) / n if n > 1 else float(numbers[place.start]) for place, n in slices]
        return self._finished(names, values, cost or {})

    def _finished(self, names: Names, values: list[float], cost: dict[str, Any]) -> tuple[Names, array[float]]:
        """As the function, with one tuple for all records of a kind."""
        costs = tuple(name for name in _COST if _is_number(cost.get(name)))
        whole = self._names.get((names, costs))
        if whole is None:
            whole = self._names[names, costs] = (*names, *(f"cost/{name}" for name in costs))
        values += [cost[name] for name in costs]
        return whole, _checked(values)


def _places(texts: list[bytes], before: bytes, headline: tuple[str, str]) -> list[tuple[str, slice, int]] | None:
    """For each name the slice of the numbers that belong to it, and how many; None if they are spread unevenly."""
    # A mark in the midst of a text would end it and leave what is no JSON.
    parts = [texts[0], *(before + f'"#{number}"'.encode() + text for number, text in enumerate(texts[1:]))]
    found = []
    for name, leaves in _fields(json.loads(b"".join(parts))):
        if not _is_wanted(name, headline):
            continue
        if any(map(_is_number, leaves)):  # a number in a list, which the shape holds: every text has its own
            return None
        marks = [_MARK.fullmatch(leaf) if isinstance(leaf, str) else None for leaf in leaves]
        at = [int(mark.group(1)) for mark in marks if mark is not None]
        if len(at) < len(leaves):
            continue
        step = at[1] - at[0] if len(at) > 1 else 1
        if step < 1 or any(number != at[0] + step * position for position, number in enumerate(at)):
            return None
        found.append((name, slice(at[0], at[-1] + 1, step), len(at)))
    return found
