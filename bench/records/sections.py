"""The text of a record in the parts that its top-level keys name, so that what a table never looks at is not decoded.

A record that `write_record` wrote has each top-level key on a line of its own with one blank before it. Standard library
only.
"""

from __future__ import annotations

from typing import NamedTuple

from seqdis.bench.core.schema import keys
from seqdis.bench.records.record import Record

_FIELDS = {field.key: field for field in keys(Record)}
_ORDER = tuple(_FIELDS)
_SPANS = (("title", "protocol"), ("environment", "code"))
"""What the seeds of a row have in common: the keys from one to another."""
_STRETCHES = [_ORDER[_ORDER.index(first) : _ORDER.index(last) + 1] for first, last in _SPANS]
SHARED = (*_STRETCHES[0], *_STRETCHES[1])
OWN = tuple(name for name in _ORDER if name not in (*SHARED, "metrics"))
_AFTER_LOGS = _ORDER[_ORDER.index("training") + 1]
_AFTER = tuple(_ORDER[_ORDER.index(names[-1]) + 1] for names in _STRETCHES)
_COMMA = ord(",")
_LAYOUT = [(name, f'\n "{name}": '.encode(), not field.is_optional) for name, field in _FIELDS.items()]


class Sections(NamedTuple):
    """The text of each top-level value, and the two stretches of text that the seeds of a row have in common."""

    values: dict[str, bytes]
    shared: tuple[bytes, bytes]


def sections_of(raw: bytes) -> Sections | None:
    """The text of each top-level value of a record that `write_record` wrote; None for another layout.

    A text is cut where the next key begins, so that anything unforeseen leaves a text that is no JSON value. Of
    `training`, only what comes before its logs is kept: they are most of a record, and are not even searched.
    """
    if not raw.startswith(b'{\n "schema": ') or not raw.endswith(b"\n}\n"):
        return None
    marks: list[tuple[str, int, int]] = []
    at = 1
    for name, needle, is_required in _LAYOUT:
        found = raw.rfind(needle, at) if name == _AFTER_LOGS else raw.find(needle, at)
        if found >= 0:
            at = found + len(needle)
            marks.append((name, found, at))
        elif is_required:
            return None
    ends = [begin for _, begin, _ in marks[1:]] + [len(raw) - 3]
    values = {}
    for (name, _, start), end in zip(marks, ends, strict=True):
        stop = end if name == marks[-1][0] else end - 1
        if stop < end and raw[stop] != _COMMA:
            return None
        logs = raw.find(b',\n  "validation": ', start, stop) if name == "training" else -1
        values[name] = raw[start:stop] if logs < 0 or raw[stop - 3 : stop] != b"\n }" else raw[start:logs] + b"}"
    begins = {name: begin for name, begin, _ in marks}
    first, second = (raw[begins[names[0]] : begins[after]] for names, after in zip(_STRETCHES, _AFTER, strict=True))
    return Sections(values, (first, second))
