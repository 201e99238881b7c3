"""Records as a pandas frame: one row a cell with a column for each number, or one row a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seqdis.bench.records.collection import Collection, Entry

if TYPE_CHECKING:
    import pandas

ABOUT = ("cell", "method", "variant", "title", "seed", "batch_size", "status", "ranked", "supervision", "steps")
"""What a row says of its cell, beside its setting."""
SETTING = ("dataset", "source", "size", "preset", "judge", "revision", "protocol", "sample", "draws", "version")


def records_frame(collection: Collection, *, long: bool = False) -> pandas.DataFrame:
    """The records of a collection.

    Columns named like `fix_dynamic/action/acc` are the numbers (means over prior draws), in the record's units: accuracies,
    shares and equal error rates as fractions, entropies and information in nats, times in seconds, memory in bytes.

    Args:
        long: a row for each number, with `metric` and `value`, in place of a column for each.
    """
    import pandas

    if not long:
        return pandas.DataFrame([{**_about(entry), **_numbers(entry)} for entry in collection.entries])
    return pandas.DataFrame(
        [
            {**_about(entry), "metric": metric, "value": value}
            for entry in collection.entries
            for metric, value in _numbers(entry).items()
        ]
    )


def _about(entry: Entry) -> dict[str, Any]:
    about = {name: getattr(entry, name) for name in ABOUT}
    about |= {name: getattr(entry.setting, name) for name in SETTING}
    return {**about, "overrides": ", ".join(entry.overrides), "path": entry.path}


def _numbers(entry: Entry) -> dict[str, float]:
    return {name: entry.values[place] for name, place in entry.names.items()}
