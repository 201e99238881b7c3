"""Seeds and test identities drawn anew together, against plain loops and known variances."""

from __future__ import annotations

import numpy as np
import pytest

from seqdis.bench.records.collection import load
from seqdis.bench.tables import identities


def _by_hand(right: np.ndarray, clips: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """The same bootstrap as loops."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(resamples):
        chosen = rng.integers(right.shape[1], size=right.shape[1])
        models = rng.integers(len(right), size=len(right))
        found.append(np.mean([right[model, chosen].sum() / clips[chosen].sum() for model in models]))
    return np.array(found)


@pytest.mark.parametrize("n_seeds", [1, 2, 5])
def test_the_distribution_is_that_of_plain_loops(n_seeds):
    rng = np.random.default_rng(1)
    clips = rng.integers(1, 9, size=30)
    right = rng.binomial(clips, rng.uniform(0.3, 0.9, size=(n_seeds, 30)))
    fast = identities.resample({"row": right.tolist()}, clips.tolist(), resamples=3000)["row"]
    slow = _by_hand(right, clips, 3000, seed=2)
    assert fast.shape == (3000,)
    assert fast.mean() == pytest.approx(slow.mean(), abs=0.004)
    assert fast.std() == pytest.approx(slow.std(), rel=0.08)
    assert np.percentile(fast, [2.5, 97.5]) == pytest.approx(np.percentile(slow, [2.5, 97.5]), abs=0.01)


def test_rows_share_the_draws_of_identities():
    """Two models that are right on the same identities do not differ, however much the identities do."""
    rng = np.random.default_rng(0)
    clips = [4] * 40
    right = rng.integers(0, 5, size=40).tolist()
    found = identities.resample({"a": [right], "b": [right]}, clips, resamples=500)
    assert found["a"].std() > 0.01
    assert np.array_equal(found["a"], found["b"])


def test_seeds_of_two_rows_are_drawn_apart():
    """Rows whose seeds are numbered alike have nothing in common but the test set."""
    right = [[0, 0], [4, 4], [4, 4]]
    found = identities.resample({"a": right, "b": right}, [4, 4], resamples=2000)
    assert abs(np.corrcoef(found["a"], found["b"])[0, 1]) < 0.1


def test_only_identities_vary_where_seeds_agree():
    clips = np.full(100, 6)
    right = np.random.default_rng(0).binomial(6, 0.7, size=100)
    found = identities.resample({"a": [right.tolist()] * 3}, clips.tolist(), resamples=4000)["a"]
    assert found.std() == pytest.approx(np.std(right / 6) / 10, rel=0.06)


def test_intervals_cover_the_mean_of_a_crossed_population():
    """Seeds and identities both have effects of their own: intervals over both hold at least as often as they say."""
    rng = np.random.default_rng(5)
    hits = []
    for _ in range(120):
        shares = 0.6 + 0.05 * rng.normal(size=(8, 1)) + 0.1 * rng.normal(size=(1, 40))
        found = identities.resample({"a": (shares * 10).tolist()}, [10] * 40, resamples=400)["a"]
        low, high = np.percentile(found, [2.5, 97.5])
        hits.append(low <= 0.6 <= high)
    assert np.mean(hits) > 0.85


def test_the_same_counts_give_the_same_interval():
    right, clips = [[1, 2, 3], [3, 2, 1]], [3, 3, 3]
    first, second = (identities.resample({"a": right}, clips, resamples=300)["a"] for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "9 9",
        {},
        {"unit": "x"},
        {"unit": "x", "metric": "m", "clips": "1 2", "right": "1"},
        {"unit": "x", "metric": "m", "clips": "1 b", "right": "1 1"},
        {"unit": "x", "metric": "m", "clips": "", "right": ""},
        {"unit": 3, "metric": "m", "clips": "1", "right": "1"},
        {"unit": "x", "metric": "m", "clips": [1], "right": [1]},
    ],
)
def test_damaged_counts_are_none(tmp_path, make_record, store_record, value):
    store_record(tmp_path, make_record(changes={"identities": value}))
    (entry,) = load([tmp_path]).entries
    assert identities.counts(entry) is None


@pytest.mark.parametrize("layout", ["written", "compact"])
def test_counts_are_read_from_any_layout(tmp_path, make_record, store_record, layout):
    import json

    record = make_record()
    path = store_record(tmp_path, record)
    if layout == "compact":
        path.write_text(json.dumps(record))
    (entry,) = load([tmp_path]).entries
    found = identities.counts(entry)
    assert found is not None
    assert found.unit == "character"
    assert sum(found.clips) == 2664
    assert sum(found.right) == pytest.approx(entry.get("fix_dynamic/action/acc") * 3 * 2664)


def test_a_text_that_looks_like_the_key_is_not_read(tmp_path, make_record, store_record):
    store_record(tmp_path, make_record(changes={"notes": ['\n "identities": {"unit": "x"}']}))
    (entry,) = load([tmp_path]).entries
    assert identities.counts(entry).unit == "character"
