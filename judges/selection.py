"""The score that a checkpoint is chosen by on validation clips.

The papers choose by the headline accuracy alone, which an autoencoder with everything in the fixed code wins
outright. Here each direction counts what is kept and what leaks, both rescaled so that the best constant guess is 0
and perfection 1:

    side(fix_dynamic) = kept dynamic factors * (1 - leaked static factors)
    side(fix_static)  = kept static factors  * (1 - leaked dynamic factors)
    score             = sqrt(side(fix_dynamic) * side(fix_static)), each side at least 0.01

Everything in z: fixing z keeps the motion and leaks every attribute, fixing s keeps nothing: both sides are 0.
Everything in s: fixing z keeps nothing, fixing s keeps the attributes and leaks the motion: both sides are 0.
A renderer of the true factors scores 1. The floor lets a method that has learnt one direction only still be ranked
by it, early in training.

Where data have no labelled factor of one role (the motion of SM-MNIST has no classes), what leaks of it is one minus
how much a draw of its code changes the clips, and what is kept of it counts as 1.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from seqdis.datasets.base import Spec
from seqdis.judges.metrics import Labels, above_chance
from seqdis.judges.settings import KEPT, Direction

FLOOR = 0.01


@dataclasses.dataclass(frozen=True)
class Side:
    """What a direction keeps of what it should, and leaks of what it should not: both in [0, 1]."""

    kept: float
    leaked: float


Sides = dict[Direction, Side]


def chance(labels: Mapping[str, Labels]) -> dict[str, float]:
    """Accuracy of the best constant guess for each factor."""
    return {factor: float(np.bincount(label).max() / len(label)) for factor, label in labels.items()}


def kept_and_leaked(
    acc: Mapping[str, Mapping[str, float]], spec: Spec, chances: Mapping[str, float], change: Mapping[str, float]
) -> Sides:
    """What each direction keeps and leaks, in [0, 1], averaged over the factors of a role.

    Args:
        acc: direction -> factor -> accuracy (or consistency).
        chances: factor -> accuracy that is worth nothing; a factor that shows one class only (1) is left out.
        change: direction -> how much its draw changes the clips, in [0, 1]; read where a role has no factor.
    """
    sides: Sides = {}
    for direction, role in KEPT.items():
        worth = {
            kind: [
                above_chance(acc[direction][factor.name], chances[factor.name])
                for factor in spec.factors
                if factor.role == kind and chances[factor.name] < 1
            ]
            for kind in ("static", "dynamic")
        }
        kept, leaked = worth.pop(role), next(iter(worth.values()))
        sides[direction] = Side(
            kept=float(np.mean(kept)) if kept else 1.0,
            leaked=float(np.mean(leaked)) if leaked else 1 - change.get(direction, 1.0),
        )
    return sides


def balance(sides: Sides) -> float:
    """The score in [0.01, 1] of what both directions keep and leak."""
    return math.sqrt(math.prod(max(side.kept * (1 - side.leaked), FLOOR) for side in sides.values()))


def flat(sides: Sides) -> dict[str, float]:
    """`<direction>/kept` and `<direction>/leaked` of both directions, as the validation curve has them."""
    return {
        f"{direction}/{name}": value
        for direction, side in sides.items()
        for name, value in (("kept", side.kept), ("leaked", side.leaked))
    }
