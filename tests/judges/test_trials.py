"""Trials and equal error rates against slow definitions, and the bootstrap over speakers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from seqdis.bench.core.schema import problems, to_json
from seqdis.judges import trials
from seqdis.judges.metrics import equal_error_rate
from seqdis.judges.scores import Verification


def slow_eer(scores: np.ndarray, target: np.ndarray) -> float:
    """By definition: rates at every threshold, one by one; the crossing of two line segments."""
    points = []
    for threshold in [np.inf, *sorted(set(scores.tolist()), reverse=True)]:
        accepted = [score >= threshold for score in scores]
        far = sum(a and not t for a, t in zip(accepted, target, strict=True)) / sum(~target)
        frr = sum(not a and t for a, t in zip(accepted, target, strict=True)) / sum(target)
        points.append((far, frr))
    for (far_0, frr_0), (far_1, frr_1) in itertools.pairwise(points):
        if far_1 >= frr_1:
            w = (frr_0 - far_0) / ((frr_0 - far_0) + (far_1 - frr_1))
            return far_0 + w * (far_1 - far_0)
    raise AssertionError("the rates must cross")


@pytest.mark.parametrize("seed", range(30))
def test_eer_equals_the_definition_at_ties_and_small_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    target = rng.random(n) < 0.4
    target[:2] = True, False
    scores = rng.integers(0, int(rng.integers(1, 12)) + 1, n) / 7 + 0.3 * target * (seed % 2)
    assert equal_error_rate(scores, target) == pytest.approx(slow_eer(scores, target), abs=1e-12)


def test_eer_rules() -> None:
    target = np.array([True] * 50 + [False] * 70)
    assert equal_error_rate(target.astype(float), target) == 0.0
    assert equal_error_rate(-target.astype(float), target) == 1.0  # reversed scores are not folded
    assert equal_error_rate(np.ones(120), target) == 0.5
    rng = np.random.default_rng(0)
    noise = rng.random(40_000)
    assert equal_error_rate(noise, rng.random(40_000) < 0.1) == pytest.approx(0.5, abs=0.01)


def test_trials_are_all_pairs_and_leave_out_one_utterance() -> None:
    speaker, utterance = np.array([7, 7, 3, 3, 9]), np.array([0, 0, 1, 2, 3])
    every = trials.all_pairs(speaker)
    assert len(every.first) == 10
    assert every.target.sum() == 2
    assert every.n_speakers == 3
    across = trials.all_pairs(speaker, utterance)
    assert len(across.first) == 9
    assert across.target.sum() == 1


def test_core_test_of_timit_has_18336_trials() -> None:
    every = trials.all_pairs(np.repeat(np.arange(24), 8))
    assert (len(every.first), every.target.sum()) == (18_336, 672)


def test_cosine_of_codes_without_length_is_zero_and_equal_codes_tie() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6, 33))
    vectors[0] = 0
    vectors[1] = 1e-12
    every = trials.all_pairs(np.arange(6))
    scores = trials.cosine_scores(vectors, every)
    assert (scores[(every.first <= 1)] == 0).all()
    same = trials.cosine_scores(np.repeat(rng.normal(size=(1, 257)), 6, 0) * rng.uniform(0.1, 9, (6, 1)), every)
    assert np.unique(same).size == 1


def test_bootstrap_equals_scoring_the_repeated_trials() -> None:
    """With few distinct scores the bins are exact, so each resample must equal the EER of repeated trials."""
    rng = np.random.default_rng(1)
    speaker = np.repeat(np.arange(5), 4)
    every = trials.all_pairs(speaker)
    scores = np.round(rng.normal(size=len(every.first)) + every.target, 1)
    counts = trials.resample_speakers(5, 40, rng)
    found = trials.resampled_eer(scores, every, counts)
    for eer, count in zip(found, counts, strict=True):
        a, b = count[every.speaker_first], count[every.speaker_second]
        repeats = np.where(every.target, a, a * b).astype(int)
        target = np.repeat(every.target, repeats)
        if target.all() or not target.any():
            assert np.isnan(eer)
        else:
            assert eer == pytest.approx(equal_error_rate(np.repeat(scores, repeats), target), abs=1e-12)


def test_interval_that_too_few_resamples_hold_is_left_out_of_the_record() -> None:
    assert trials.interval(np.array([0.1, np.nan, np.nan])) is None
    rates = {"eer_static": 0.1, "eer_dynamic": 0.4, "gap": 0.3, "n_trials": 9, "n_target": 3, "n_speakers": 2}
    found = Verification(**rates, gap_ci=trials.interval(np.full(3, np.nan)))  # type: ignore[arg-type]
    assert to_json(found) == rates
    assert not list(problems(Verification, to_json(found)))


def test_bootstrap_interval_covers_the_estimate_and_is_wider_than_one_over_trials() -> None:
    rng = np.random.default_rng(2)
    n_speakers, n_utterances = 24, 8
    centre = rng.normal(size=(n_speakers, 10))
    vectors = (centre[:, None] + 1.2 * rng.normal(size=(n_speakers, n_utterances, 10))).reshape(-1, 10)
    every = trials.all_pairs(np.repeat(np.arange(n_speakers), n_utterances))
    scores = trials.cosine_scores(vectors, every)
    eer = equal_error_rate(scores, every.target)
    drawn = trials.resampled_eer(scores, every, trials.resample_speakers(n_speakers, 400, rng))
    interval = trials.interval(drawn)
    assert interval is not None
    low, high = interval
    assert low < eer < high
    # Were the 18,336 trials independent, the standard error would be about sqrt(p (1 - p) / 672).
    assert high - low > 2 * 1.96 * np.sqrt(eer * (1 - eer) / 672)


def test_bootstrap_with_many_bins_is_close_to_exact() -> None:
    rng = np.random.default_rng(3)
    every = trials.all_pairs(np.repeat(np.arange(12), 12))
    scores = rng.normal(size=len(every.first)) + 1.5 * every.target
    once = np.ones((1, 12))
    exact = equal_error_rate(scores, every.target)
    assert trials.resampled_eer(scores, every, once)[0] == pytest.approx(exact, abs=2e-3)
