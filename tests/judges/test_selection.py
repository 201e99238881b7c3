"""The score that chooses a checkpoint: chance, and the balance of both directions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seqdis.datasets.base import DataSet
from seqdis.judges.selection import FLOOR, balance, chance, kept_and_leaked


def test_chance_is_the_best_constant_guess() -> None:
    assert chance({"a": np.array([0, 1, 1, 1]), "b": np.array([0, 1])}) == {"a": 0.75, "b": 0.5}


def test_balance_falls_with_every_fault_and_has_a_floor(toy: DataSet) -> None:
    kept = {"motion": 0.9, "colour": 0.8, "row": 0.9}
    drawn = {"motion": 1 / 3, "colour": 1 / 3, "row": 1 / 2}
    good = {"fix_dynamic": drawn | {"motion": 0.9}, "fix_static": kept | {"motion": 1 / 3}}
    chances = {"motion": 1 / 3, "colour": 1 / 3, "row": 1 / 2}

    def score(direction: str, factor: str, value: float) -> float:
        changed = {key: dict(values) for key, values in good.items()}
        changed[direction][factor] = value
        return balance(kept_and_leaked(changed, toy.spec, chances, {}))

    before = score("fix_dynamic", "motion", 0.9)
    assert score("fix_dynamic", "motion", 0.7) < before
    assert score("fix_dynamic", "colour", 0.6) < before
    assert score("fix_static", "row", 0.7) < before
    assert score("fix_static", "motion", 0.6) < before
    assert score("fix_dynamic", "motion", 0.0) == pytest.approx(math.sqrt(FLOOR * (0.7 + 0.8) / 2), rel=1e-9)
