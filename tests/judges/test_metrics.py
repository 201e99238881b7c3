"""Metrics against independent formulas, bounds and invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqdis.bench.core.schema import to_json
from seqdis.judges import metrics


def _random(seed: int, n: int, k: int, scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k)) * scale, rng.integers(0, k, size=n)


def _slow(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The same numbers from the definitions, one clip at a time in plain Python; IS from the divergences."""
    rows = []
    for row in logits.tolist():
        weights = [math.exp(value - max(row)) for value in row]
        rows.append([weight / sum(weights) for weight in weights])
    n, k = len(rows), len(rows[0])
    mean = [sum(row[j] for row in rows) / n for j in range(k)]
    divergence = (
        sum(sum(p * (math.log(p) - math.log(m)) for p, m in zip(row, mean, strict=True) if p > 0) for row in rows) / n
    )
    pairs = zip(logits.tolist(), labels.tolist(), strict=True)
    hits = sum(max(range(k), key=row.__getitem__) == label for row, label in pairs)
    return {
        "acc": hits / n,
        "is": math.exp(divergence),
        "h_y_given_x": sum(-sum(p * math.log(p) for p in row if p > 0) for row in rows) / n,
        "h_y": -sum(m * math.log(m) for m in mean if m > 0),
    }


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 40), k=st.integers(1, 12), scale=st.floats(0, 200))
def test_scores_agree_with_definitions_and_stay_in_bounds(seed: int, n: int, k: int, scale: float) -> None:
    logits, labels = _random(seed, n, k, scale)
    found, expected = metrics.scores(logits, labels), _slow(logits, labels)
    for key, value in expected.items():
        assert to_json(found)[key] == pytest.approx(value, rel=1e-9, abs=1e-9), key
    assert math.log(found.is_) == pytest.approx(found.h_y - found.h_y_given_x, abs=1e-12)
    assert 0 <= found.acc <= 1
    assert 1 <= found.is_ <= k + 1e-9
    assert 0 <= found.h_y_given_x <= found.h_y <= math.log(k) + 1e-9
    assert 0 <= found.label_entropy <= math.log(k) + 1e-9


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_scores_do_not_depend_on_the_order_of_clips_or_classes(seed: int) -> None:
    logits, labels = _random(seed, 30, 6)
    rng = np.random.default_rng(seed + 1)
    clips, classes = rng.permutation(30), rng.permutation(6)
    renamed = np.argsort(classes)[labels]
    before = to_json(metrics.scores(logits, labels))
    assert to_json(metrics.scores(logits[clips], labels[clips])) == pytest.approx(before, rel=1e-12)
    assert to_json(metrics.scores(logits[:, classes], renamed)) == pytest.approx(before, rel=1e-12)
    assert to_json(metrics.scores(logits + rng.normal(size=(30, 1)), labels)) == pytest.approx(before, rel=1e-9)


def test_scores_of_a_perfect_judge_reach_the_ceiling() -> None:
    labels = np.tile(np.arange(9), 7)
    found = metrics.scores(1e4 * np.eye(9)[labels], labels)
    assert to_json(found) == pytest.approx(
        {"acc": 1, "is": 9, "h_y_given_x": 0, "h_y": math.log(9), "label_entropy": math.log(9)}
    )


def test_scores_of_a_collapsed_and_of_an_uncertain_judge() -> None:
    labels = np.tile(np.arange(4), 5)
    collapsed = metrics.scores(1e4 * np.eye(4)[np.zeros(20, dtype=int)], labels)
    assert to_json(collapsed) == pytest.approx({"acc": 0.25, "is": 1, "h_y_given_x": 0, "h_y": 0, "label_entropy": 0})
    uncertain = metrics.scores(np.zeros((20, 4)), labels)
    assert uncertain.is_ == pytest.approx(1)
    assert uncertain.h_y == pytest.approx(uncertain.h_y_given_x) == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.full((2, 3), np.nan), [0, 1]),
        (np.zeros((2, 3)), [0, 3]),
        (np.zeros((2, 3)), [0, -1]),
        (np.zeros((2, 3)), [0]),
        (np.zeros((0, 3)), np.zeros(0, dtype=int)),
        (np.zeros(3), [0, 1, 2]),
        (np.zeros((2, 3)), [0.0, 1.0]),
    ],
)
def test_scores_refuse_what_is_not_scorable(logits: np.ndarray, labels: object) -> None:
    with pytest.raises(ValueError):
        metrics.scores(logits, np.asarray(labels))


def test_entropy_of_counts_equals_that_of_shares_and_refuses_nonsense() -> None:
    assert metrics.entropy([2, 2, 0]) == pytest.approx(math.log(2))
    assert metrics.label_entropy(np.array([0, 0, 1, 1]), 5) == pytest.approx(math.log(2))
    assert str(metrics.entropy([1.0, 0.0])) == "0.0"
    for bad in ([0.0, 0.0], [-1.0, 2.0], [[1.0]], [np.nan, 1.0]):
        with pytest.raises(ValueError):
            metrics.entropy(bad)


def test_sorted_pair_of_digits_has_the_known_label_entropy() -> None:
    """The smaller of two independent digits has an entropy of 2.113 nats (the ceiling of a sorted head)."""
    first, second = np.divmod(np.arange(100), 10)
    assert metrics.label_entropy(np.minimum(first, second), 10) == pytest.approx(2.113, abs=5e-4)


def test_joint_accuracy_counts_clips_with_every_head_right() -> None:
    a, b = np.eye(3)[[0, 1, 2, 0]], np.eye(3)[[0, 1, 1, 1]]
    assert metrics.joint_accuracy([a, b], [np.array([0, 1, 2, 1]), np.array([0, 2, 1, 1])]) == 0.5


def test_above_chance() -> None:
    rescaled = [metrics.above_chance(acc, 0.25) for acc in (0.0, 0.25, 0.625, 1.0)]
    assert rescaled == pytest.approx([0, 0, 0.5, 1])
    assert metrics.above_chance(1.0, 1.0) == 0


def test_equal_error_rate_of_known_cases() -> None:
    target = np.array([True] * 4 + [False] * 6)
    assert metrics.equal_error_rate(np.where(target, 0.9, 0.1), target) == 0
    assert metrics.equal_error_rate(np.where(target, 0.1, 0.9), target) == 1
    assert metrics.equal_error_rate(np.zeros(10), target) == 0.5
    rng = np.random.default_rng(0)
    independent = metrics.equal_error_rate(rng.normal(size=40_000), rng.random(40_000) < 0.3)
    assert independent == pytest.approx(0.5, abs=0.01)
    for bad in (np.ones(10, bool), np.zeros(10, bool)):
        with pytest.raises(ValueError):
            metrics.equal_error_rate(np.arange(10.0), bad)


def test_equal_error_rate_of_two_gaussians_is_the_closed_form() -> None:
    """Scores N(d, 1) and N(0, 1) cross at d / 2, where both errors are Phi(-d / 2)."""
    rng, d, n = np.random.default_rng(1), 2.0, 200_000
    score = np.concatenate([rng.normal(d, 1, n), rng.normal(0, 1, n)])
    expected = 0.5 * math.erfc(d / 2 / math.sqrt(2))
    assert metrics.equal_error_rate(score, np.arange(2 * n) < n) == pytest.approx(expected, abs=2e-3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.integers(1, 12))
def test_equal_error_rate_is_rank_based_and_mirrored(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.integers(0, levels, size=60).astype(float)
    target = np.append(rng.random(58) < 0.4, [True, False])
    found = metrics.equal_error_rate(score, target)
    order = rng.permutation(60)
    assert metrics.equal_error_rate(np.exp(score)[order], target[order]) == pytest.approx(found, abs=1e-12)
    assert metrics.equal_error_rate(-score, target) == pytest.approx(1 - found, abs=1e-12)
    assert metrics.equal_error_rate(-score, ~target) == pytest.approx(found, abs=1e-12)
