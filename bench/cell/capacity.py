"""Where a capacity schedule stands at a point of training: see `records.config.TrainingConfig.capacity`. No torch here."""

from __future__ import annotations

import bisect
from collections.abc import Mapping

from seqdis.bench.records.config import NOISE, Points


def levels(capacity: Mapping[str, Points], progress: float) -> dict[str, float]:
    """The factor of each scheduled term's weight, and the deviation of each scheduled noise, at `progress` in [0, 1]."""
    return {name: level(points, progress, is_linear=name.startswith(NOISE)) for name, points in capacity.items()}


def level(points: Points, progress: float, *, is_linear: bool) -> float:
    """The value of a curve: its ends hold beyond it; between two points linear, or geometric if both are above 0."""
    after = bisect.bisect_right([at for at, _ in points], progress)
    if after in (0, len(points)):
        return points[min(after, len(points) - 1)][1]
    (start, first), (end, last) = points[after - 1 : after + 1]
    share = (progress - start) / (end - start)
    if is_linear or not (first and last):
        return first + (last - first) * share
    return float(first * (last / first) ** share)
