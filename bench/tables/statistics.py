"""What seeds can and cannot tell apart. Tests and distributions are SciPy's; it is imported when first needed.

Values are one number a training seed (the mean over prior draws of that seed's model): draws of one model are not
independent evidence about a method, and are never treated as if they were.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

MIN_SEEDS = 3
"""Rows with fewer seeds are provisional: they are neither ranked nor bold."""
MIN_DATASETS = 6
"""A critical difference over fewer data sets separates nothing: it is not computed."""
LEVEL = 0.05
LETTERS = "abcdefghijklmnopqrstuvwxyz"
ANYWHERE = (-math.inf, math.inf)
"""The limits of a quantity that may have any value."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """Mean and standard deviation (n - 1 in the denominator; None for one value) of n values."""

    n: int
    mean: float
    std: float | None


def summarise(values: Sequence[float]) -> Summary:
    """Mean and standard deviation of at least one value.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"at least one finite value is needed, got {list(values)}")
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Summary(1, mean, None)
    return Summary(len(values), mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)))


def within(interval: tuple[float, float], limits: tuple[float, float]) -> tuple[float, float]:
    """The part of an interval that the quantity can reach at all.

    The true value always lies within the limits, so that the cut interval holds it exactly as often as the whole one.
    """
    low, high = (min(max(end, limits[0]), limits[1]) for end in interval)
    return low, high


def t_interval(
    values: Sequence[float], level: float = 1 - LEVEL, *, limits: tuple[float, float] = ANYWHERE
) -> tuple[float, float] | None:
    """Student's interval of the mean, cut at the limits of what it can be; None for fewer than two values."""
    summary = summarise(values)
    if summary.std is None:
        return None
    from scipy import special

    half = float(special.stdtrit(summary.n - 1, (1 + level) / 2)) * summary.std / math.sqrt(summary.n)
    return within((summary.mean - half, summary.mean + half), limits)


def bootstrap_interval(
    values: Sequence[float], *, seed: int = 0, level: float = 1 - LEVEL, resamples: int = 9999
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean over seeds; None for fewer than two values.

    With few seeds it is too narrow (three values have only ten distinct resamples): it stands beside the t interval,
    not in its place.
    """
    if len(values) < 2:
        return None
    if min(values) == max(values):
        return values[0], values[0]
    import numpy as np
    from scipy import stats

    found = stats.bootstrap(
        (np.asarray(values, float),),
        np.mean,
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p values that hold jointly for the whole family (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(p_values), 0.0
    for position, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - position) * p_values[index]))
        corrected[index] = largest
    return corrected


@dataclasses.dataclass(frozen=True)
class Rank:
    """Where a row may stand: it is beaten by `low - 1` others and beats all below `high`, each by a Holm-corrected
    Welch test. Rows that share a letter of `groups` are not separable."""

    low: int
    high: int
    groups: str

    def __str__(self) -> str:
        span = str(self.low) if self.low == self.high else f"{self.low}–{self.high}"
        return f"{span} {self.groups}".strip()


@dataclasses.dataclass(frozen=True)
class Pair:
    """Welch's test of two rows: difference of their means with its 95 % interval, p value, and p after Holm's
    correction over all pairs of the family."""

    first: str
    second: str
    difference: float
    interval: tuple[float, float]
    p_value: float
    corrected: float

    @property
    def is_separable(self) -> bool:
        return self.corrected < LEVEL


def compare(rows: Mapping[str, Sequence[float]], *, limits: tuple[float, float] = ANYWHERE) -> list[Pair]:
    """Every pair of rows, in the order given. Each row has at least two values.

    Two rows without any spread cannot be tested: p is 1. Intervals are cut at what a difference can be of quantities
    that lie within the limits.
    """
    names = list(rows)
    pairs = [(a, b) for index, a in enumerate(names) for b in names[index + 1 :]]
    if not pairs:
        return []
    import numpy as np
    from scipy import special  # not stats, whose import takes longer than a whole table

    found = {name: summarise(values) for name, values in rows.items()}
    mean, spread, n = (
        {name: np.float64(getattr(summary, key)) for name, summary in found.items()} for key in ("mean", "std", "n")
    )
    columns = [np.array([table[pair[side]] for pair in pairs]) for side in (0, 1) for table in (mean, spread, n)]
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(columns[1] ** 2 / columns[2] + columns[4] ** 2 / columns[5])
        freedom = error**4 / (
            (columns[1] ** 2 / columns[2]) ** 2 / (columns[2] - 1)
            + (columns[4] ** 2 / columns[5]) ** 2 / (columns[5] - 1)
        )
        half = special.stdtrit(freedom, 1 - LEVEL / 2) * error
        differences = columns[0] - columns[3]
        tested = 2 * special.stdtr(freedom, -np.abs(differences / error))
    testable = error > 0
    p_values = np.where(testable & np.isfinite(tested), tested, 1.0)
    corrected = holm([float(p) for p in p_values])
    half = np.where(testable, half, 0.0)
    reach = (limits[0] - limits[1], limits[1] - limits[0])
    return [
        Pair(a, b, float(d), within((float(d - h), float(d + h)), reach), float(p), c)
        for (a, b), d, h, p, c in zip(pairs, differences, half, p_values, corrected, strict=True)
    ]


def rank(rows: Mapping[str, Sequence[float]], *, higher_is_better: bool = True) -> dict[str, Rank]:
    """Ranks rows by name from their values by seed. Rows with fewer than MIN_SEEDS values are left out.

    Returns an empty mapping if fewer than two rows are left.
    """
    names = [name for name, values in rows.items() if len(values) >= MIN_SEEDS]
    if len(names) < 2:
        return {}
    sign = 1 if higher_is_better else -1
    names.sort(key=lambda name: (-sign * summarise(rows[name]).mean, name))
    separable = {
        (pair.first, pair.second) for pair in compare({name: rows[name] for name in names}) if pair.is_separable
    }
    # There are letters for so many rows only, and the number of groups may grow exponentially.
    groups = _groups(names, separable) if len(names) <= len(LETTERS) else []
    behind = {name: sum((other, name) in separable for other in names) for name in names}
    ahead = {name: sum((name, other) in separable for other in names) for name in names}
    return {
        name: Rank(
            low=1 + behind[name],
            high=len(names) - ahead[name],
            groups="".join(letter for letter, members in zip(LETTERS, groups, strict=False) if name in members),
        )
        for name in names
    }


def _groups(names: list[str], separable: set[tuple[str, str]]) -> list[set[str]]:
    """Largest sets of rows no two of which are separable (maximal cliques), best first."""
    together = {
        name: {
            other
            for other in names
            if other != name and (name, other) not in separable and (other, name) not in separable
        }
        for name in names
    }
    found: list[set[str]] = []

    def extend(chosen: set[str], candidates: set[str], done: set[str]) -> None:
        if not candidates and not done:
            found.append(chosen)
            return
        # With a pivot (Bron and Kerbosch) many rows that cannot be told apart stay cheap.
        pivot = max(sorted(candidates | done, key=names.index), key=lambda name: len(candidates & together[name]))
        for name in sorted(candidates - together[pivot], key=names.index):
            extend(chosen | {name}, candidates & together[name], done & together[name])
            candidates = candidates - {name}
            done = done | {name}

    extend(set(), set(names), set())
    return sorted(found, key=lambda members: sorted(map(names.index, members)))


@dataclasses.dataclass(frozen=True)
class AcrossDatasets:
    """Average ranks over data sets (1 is best; ties share the mean rank).

    `critical_difference` is Nemenyi's at 5 %, `p_value` Friedman's; both None below MIN_DATASETS data sets or three
    rows, where `reason` says so.
    """

    average: dict[str, float]
    n_datasets: int
    critical_difference: float | None
    p_value: float | None
    reason: str


def across_datasets(scores: Mapping[str, Mapping[str, float]]) -> AcrossDatasets:
    """Average ranks from scores[data set][row], higher is better. Only rows that every data set has are ranked.

    Source: Demsar 2006, Statistical comparisons of classifiers over multiple data sets, section 3.2.
    """
    common = sorted(set.intersection(*(set(rows) for rows in scores.values()))) if scores else []
    if len(common) < 2:
        return AcrossDatasets({}, len(scores), None, None, "fewer than two rows have all data sets")
    from scipy import stats

    ranks = [stats.rankdata([-rows[name] for name in common]) for rows in scores.values()]
    n, k = len(scores), len(common)
    average = {name: float(sum(line[index] for line in ranks)) / n for index, name in enumerate(common)}
    if n < MIN_DATASETS:
        return AcrossDatasets(
            average, n, None, None, f"too few data sets for a critical difference: {n} of at least {MIN_DATASETS}"
        )
    if k < 3:
        return AcrossDatasets(average, n, None, None, "a critical difference needs at least three rows")
    p_value = float(stats.friedmanchisquare(*([rows[name] for rows in scores.values()] for name in common)).pvalue)
    quantile = float(stats.studentized_range.ppf(1 - LEVEL, k, math.inf)) / math.sqrt(2)
    return AcrossDatasets(average, n, quantile * math.sqrt(k * (k + 1) / (6 * n)), p_value, "")
