"""A record's numbers under flat names. Standard library only."""

from __future__ import annotations

from array import array
from typing import Any

_COST = (
    "train_seconds",
    "evaluation_seconds",
    "sequences_per_second",
    "peak_memory_bytes",
    "gpu_memory_bytes",
    "parameters",
    "energy_joules",
)


def flatten(record: dict[str, Any]) -> tuple[list[str], array[float]]:
    """A record's metrics and costs as flat names and numbers. Scores of several prior draws become their mean.

    Names: `<direction>/<factor>/<score>`, `generator/<kind>/<factor>/<score>`,
    `consistency/<direction>/<factor>/<score>`, `rec/<factor>/<score>`, `real/<factor>/<score>`, `rec/mse`, `shuffle`,
    `<level>/eer_static` and so on for `verification`, `probes/<factor>/<code>`, `cost/<what>`.
    """
    metrics = record["metrics"] or {}
    names: list[str] = []
    values = array("d")

    def put(name: str, value: Any) -> None:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            names.append(name)
            values.append(value)

    def put_scores(prefix: str, factors: dict[str, dict[str, Any]]) -> None:
        for factor, scores in factors.items():
            for score, value in scores.items():
                put(f"{prefix}/{factor}/{score}", value)

    def put_draws(prefix: str, part: dict[str, Any]) -> None:
        put(f"{prefix}/n_clips", part.get("n_clips"))
        draws = part["draws"]
        if not draws:
            return
        for factor, first in draws[0].items():
            rows = [draw[factor] for draw in draws]
            names.extend([f"{prefix}/{factor}/{score}" for score in first])
            values.extend([sum([row[score] for row in rows]) / len(rows) for score in first])

    for direction, part in (metrics.get("directions") or {}).items():
        put_draws(direction, part)
    for kind, part in (metrics.get("generator") or {}).items():
        if kind == "consistency":
            for direction, factors in part.items():
                put_scores(f"consistency/{direction}", factors)
        else:
            put_draws(f"generator/{kind}", part)
    reconstruction = metrics.get("reconstruction") or {}
    put("rec/mse", reconstruction.get("mse"))
    put_scores("rec", reconstruction.get("factors") or {})
    put_scores("real", (metrics.get("real") or {}).get("factors") or {})
    put("shuffle", metrics.get("shuffle"))
    for level, part in (metrics.get("verification") or {}).items():
        for name, value in part.items():
            if name.endswith("_ci") and value:
                put(f"{level}/{name}/low", value[0])
                put(f"{level}/{name}/high", value[1])
            else:
                put(f"{level}/{name}", value)
    put_scores("probes", metrics.get("probes") or {})
    cost = record["cost"] or {}
    for name in _COST:
        put(f"cost/{name}", cost.get(name))
    return names, values
