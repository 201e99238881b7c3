"""Intervals over training seeds and test identities together, from the counts that records keep by identity.

Clips of one identity hang together, and another test set would have other identities: an interval over seeds alone
says nothing of them. Both are drawn anew, independently of each other, because they are crossed: every seed's model is
scored on the same identities (Owen 2007, The pigeonhole bootstrap; it errs on the wide side). Rows share the draws of
identities, so that the difference of two rows is a paired one.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.records.collection import Entry
from seqdis.bench.records.record import COUNTS
from seqdis.bench.records.search import read_bytes
from seqdis.bench.tables import statistics

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 4999
_KEY = b'\n "identities": '
_BATCH = 250

Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Counts:
    """Clips and right answers (over all prior draws) of each test identity in one record."""

    unit: str
    metric: str
    clips: tuple[int, ...]
    right: tuple[int, ...]


def counts(entry: Entry) -> Counts | None:
    """What the record of an entry holds by test identity; None if it holds nothing usable."""
    try:
        raw = read_bytes(entry.path)
        found = _section(raw) if raw is not None else None
    except (UserError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in ("unit", "metric")):
        return None
    clips, right = (_numbers(found.get(key)) for key in ("clips", "right"))
    if len(clips) != len(right) or not clips:
        return None
    return Counts(found["unit"], found["metric"], clips, right)


def _section(raw: bytes) -> Any:
    # No string of JSON holds a line end, so this is a key of the record itself if it is there.
    start = raw.find(_KEY)
    if start < 0:
        record = json.loads(raw)
        return record.get("identities") if isinstance(record, dict) else None
    return json.JSONDecoder().raw_decode(raw[start + len(_KEY) :].decode())[0]


def _numbers(text: Any) -> tuple[int, ...]:
    return tuple(map(int, text.split())) if isinstance(text, str) and COUNTS.fullmatch(text) else ()


@dataclasses.dataclass(frozen=True)
class Crossed:
    """Percentile intervals (95 %) of each row's mean, and of the difference of two rows that both have one."""

    unit: str
    n_identities: int
    rows: dict[str, Interval]
    distribution: dict[str, NDArray[Any]]

    def difference(self, first: str, second: str) -> Interval | None:
        """The interval of first - second; None unless both rows have counts."""
        if first not in self.rows or second not in self.rows:
            return None
        return _ends(self.distribution[first] - self.distribution[second])


def crossed(rows: Mapping[str, Sequence[Entry]], metric: str) -> Crossed | None:
    """The bootstrap over seeds and identities.

    Args:
        rows: the entries of each row, one a seed. Rows whose records lack counts of `metric`, or were scored on other
            clips than most records, are left out. A row of one seed varies in its identities only.
        metric: flat name of the headline metric.

    Returns:
        None if no row has counts of two identities or more.
    """
    found: dict[str, list[Counts]] = {}
    for label, entries in rows.items():
        read = [counts(entry) for entry in entries]
        usable = [each for each in read if each is not None and each.metric == metric]
        if usable and len(usable) == len(entries):
            found[label] = usable
    if not found:
        return None
    unit, clips = Counter((each.unit, each.clips) for read in found.values() for each in read).most_common(1)[0][0]
    found = {label: read for label, read in found.items() if all((c.unit, c.clips) == (unit, clips) for c in read)}
    if not found or len(clips) < 2:
        return None
    draws = next(entry.setting.draws for entries in rows.values() for entry in entries)
    table = {label: [[number / draws for number in each.right] for each in read] for label, read in found.items()}
    distribution = resample(table, clips)
    ends = {label: _ends(values) for label, values in distribution.items()}
    return Crossed(unit, len(clips), ends, distribution)


def resample(
    rows: Mapping[str, Sequence[Sequence[float]]], clips: Sequence[int], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, NDArray[Any]]:
    """Bootstrap distributions (resamples,) of each row's share of right clips.

    Args:
        rows: for each row (S, I) right clips of each seed and identity; one seed or more.
        clips: (I,) clips of each identity, two identities or more.
    """
    import numpy as np
    from scipy import stats

    tables = {label: np.asarray(values, float) for label, values in rows.items()}
    seeded = [label for label, values in tables.items() if len(values) > 1]
    stacked = np.concatenate([*tables.values(), np.asarray([clips], float)])  # (all seeds and the clips, I)
    starts = dict(zip(tables, np.cumsum([0, *map(len, tables.values())]), strict=False))

    def shares(identities: NDArray[Any], *seeds: NDArray[Any], axis: int) -> NDArray[Any]:
        del axis  # always the last
        flat = identities.reshape(-1, identities.shape[-1])
        places = flat + len(clips) * np.arange(len(flat))[:, None]
        times = np.bincount(places.ravel(), minlength=flat.size).reshape(flat.shape)  # each identity is drawn
        sums = times @ stacked.T
        chosen = dict(zip(seeded, seeds, strict=True))
        found = []
        for label, values in tables.items():
            own = sums[:, starts[label] : starts[label] + len(values)]
            if label in chosen:
                own = np.take_along_axis(own, chosen[label].reshape(len(flat), -1), axis=1)
            found.append(own.mean(axis=1) / sums[:, -1])
        return np.stack(found).reshape(len(found), *identities.shape[:-1])

    result = stats.bootstrap(
        (np.arange(len(clips)), *(np.arange(len(tables[label])) for label in seeded)),
        shares,
        n_resamples=resamples,
        batch=_BATCH,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return dict(zip(tables, np.atleast_2d(result.bootstrap_distribution), strict=True))


def _ends(values: NDArray[Any]) -> Interval:
    import numpy as np

    low, high = np.percentile(values, [50 * statistics.LEVEL, 100 - 50 * statistics.LEVEL])
    return float(low), float(high)
