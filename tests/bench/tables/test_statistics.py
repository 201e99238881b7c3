from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from seqdis.bench.tables import statistics


def test_summary_of_known_values():
    summary = statistics.summarise([1.0, 2.0, 4.0])
    assert summary.n == 3
    assert summary.mean == pytest.approx(7 / 3)
    assert summary.std == pytest.approx(math.sqrt(7 / 3))


def test_summary_of_one_value_has_no_spread():
    summary = statistics.summarise([0.5])
    assert (summary.n, summary.mean, summary.std) == (1, 0.5, None)
    assert statistics.t_interval([0.5]) is None
    assert statistics.bootstrap_interval([0.5]) is None


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_summary_refuses_what_is_no_number(values):
    with pytest.raises(ValueError, match="finite"):
        statistics.summarise(values)


def test_t_interval_is_scipys():
    values = [0.61, 0.58, 0.66, 0.7]
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert statistics.t_interval(values) == pytest.approx(expected)


def test_an_interval_ends_where_the_quantity_does():
    values = (0.2, 0.99)
    low, high = statistics.t_interval(values)
    assert low < -1
    assert high > 2
    assert statistics.t_interval(values, limits=(0.0, 1.0)) == (0.0, 1.0)
    assert statistics.t_interval(values, limits=(0.0, math.inf)) == (0.0, high)
    assert statistics.t_interval((0.5, 0.52), limits=(0.0, 1.0)) == pytest.approx(statistics.t_interval((0.5, 0.52)))
    (pair,) = statistics.compare({"a": values, "b": (0.1, 0.9)}, limits=(0.0, 1.0))
    (whole,) = statistics.compare({"a": values, "b": (0.1, 0.9)})
    assert pair.interval == (-1.0, 1.0)
    assert whole.interval[0] < -1 < 1 < whole.interval[1]
    assert pair.p_value == whole.p_value


def test_a_cut_interval_covers_as_often_as_the_whole_one():
    rng = np.random.default_rng(0)
    for p in (0.02, 0.5, 0.97):
        for values in rng.binomial(30, p, size=(200, 3)) / 30:
            low, high = statistics.t_interval(list(values))
            cut_low, cut_high = statistics.t_interval(list(values), limits=(0.0, 1.0))
            assert 0 <= cut_low <= cut_high <= 1
            assert (low <= p <= high) == (cut_low <= p <= cut_high)


def test_t_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [statistics.t_interval(list(rng.normal(size=3))) for _ in range(1000)]
    assert 0.93 < np.mean([low <= 0 <= high for low, high in intervals]) < 0.97


def test_bootstrap_is_repeatable_and_inside_the_data():
    values = [0.5, 0.6, 0.65, 0.9]
    low, high = statistics.bootstrap_interval(values, seed=3)
    assert (low, high) == statistics.bootstrap_interval(values, seed=3)
    assert 0.5 <= low < np.mean(values) < high <= 0.9
    assert statistics.bootstrap_interval([0.4, 0.4, 0.4]) == (0.4, 0.4)


def test_holm_of_a_worked_example():
    # Sorted p values times 4, 3, 2, 1, never decreasing.
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_holm_keeps_the_family_error():
    rng = np.random.default_rng(1)
    rejected = [min(statistics.holm(list(rng.uniform(size=6)))) < 0.05 for _ in range(4000)]
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.012)


def test_pairs_are_scipys_welch_tests():
    rows = {"a": [1.0, 1.1, 0.9], "b": [2.0, 2.4, 1.9, 2.2], "c": [1.0, 1.05, 1.1, 0.98]}
    pairs = {(pair.first, pair.second): pair for pair in statistics.compare(rows)}
    assert list(pairs) == [("a", "b"), ("a", "c"), ("b", "c")]
    for (first, second), pair in pairs.items():
        expected = stats.ttest_ind(rows[first], rows[second], equal_var=False)
        assert pair.p_value == pytest.approx(expected.pvalue)
        interval = expected.confidence_interval(0.95)
        assert pair.interval == pytest.approx((interval.low, interval.high))
    assert [pair.corrected for pair in pairs.values()] == statistics.holm([pair.p_value for pair in pairs.values()])


def test_rows_without_spread_are_never_separable():
    (pair,) = statistics.compare({"a": [0.9, 0.9, 0.9], "b": [1.0, 1.0, 1.0]})
    assert (pair.p_value, pair.is_separable, pair.difference) == (1.0, False, pytest.approx(-0.1))
    (pair,) = statistics.compare({"a": [1.0, 1.0, 1.0], "b": [1.0, 1.0, 1.0]})
    assert pair.interval == (0.0, 0.0)
    assert statistics.rank({"a": [0.9] * 3, "b": [1.0] * 3})["a"] == statistics.Rank(1, 2, "a")
    assert statistics.compare({"a": [0.9, 0.8]}) == []


def test_very_many_rows_are_ranked_without_letters():
    rng = np.random.default_rng(0)
    ranks = statistics.rank({str(row): list(row + 0.01 * rng.normal(size=5)) for row in range(200)})
    assert (ranks["199"].low, ranks["199"].high, ranks["199"].groups) == (1, 1, "")


def test_clearly_different_rows_are_ranked_and_close_ones_share_a_letter():
    ranks = statistics.rank(
        {
            "best": [0.90, 0.91, 0.905, 0.895],
            "twin a": [0.50, 0.51, 0.49, 0.505],
            "twin b": [0.501, 0.495, 0.512, 0.49],
            "worst": [0.10, 0.11, 0.105, 0.095],
        }
    )
    assert [(rank.low, rank.high) for rank in ranks.values()] == [(1, 1), (2, 3), (2, 3), (4, 4)]
    assert ranks["twin a"].groups == ranks["twin b"].groups
    assert len({ranks["best"].groups, ranks["twin a"].groups, ranks["worst"].groups}) == 3
    assert str(ranks["best"]) == "1 a"
    assert str(ranks["twin b"]) == "2–3 b"


def test_lower_can_be_better():
    rows = {"low": [0.1, 0.11, 0.09], "high": [0.9, 0.91, 0.89]}
    assert statistics.rank(rows, higher_is_better=False)["low"].low == 1
    assert statistics.rank(rows)["low"].low == 2


def test_few_seeds_rank_nothing():
    assert statistics.rank({"a": [0.9], "b": [0.1]}) == {}
    assert statistics.rank({"a": [0.9, 0.91], "b": [0.1, 0.11]}) == {}
    assert set(statistics.rank({"a": [0.9, 0.91, 0.9], "b": [0.1, 0.1, 0.12], "c": [0.5]})) == {"a", "b"}


def test_rows_of_one_distribution_are_seldom_separated():
    rng = np.random.default_rng(2)
    split = 0
    for _ in range(200):
        ranks = statistics.rank({str(row): list(rng.normal(size=5)) for row in range(5)})
        split += any(rank.low > 1 for rank in ranks.values())
    assert split / 200 < 0.1


def test_a_row_between_two_groups_carries_both_letters():
    groups = statistics._groups(["a", "b", "c"], {("a", "c")})
    assert groups == [{"a", "b"}, {"b", "c"}]


def test_critical_difference_waits_for_six_data_sets():
    rng = np.random.default_rng(0)
    scores = {f"set {i}": {name: float(rng.random()) for name in "abcd"} for i in range(5)}
    few = statistics.across_datasets(scores)
    assert few.critical_difference is None
    assert "too few" in few.reason
    assert sum(few.average.values()) == pytest.approx(10)
    scores["set 5"] = {name: float(rng.random()) for name in "abcd"}
    enough = statistics.across_datasets(scores)
    # Demsar 2006, Table 5: q = 2.569 for four rows at 5 %.
    assert enough.critical_difference == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 6)), rel=1e-3)
    assert 0 <= enough.p_value <= 1


def test_only_rows_that_every_data_set_has_are_averaged():
    found = statistics.across_datasets({"x": {"a": 1.0, "b": 0.5, "c": 0.1}, "y": {"a": 1.0, "b": 2.0}})
    assert found.average == {"a": 1.5, "b": 1.5}
    assert statistics.across_datasets({"x": {"a": 1.0}, "y": {"b": 1.0}}).average == {}


def test_ties_share_the_mean_rank():
    assert statistics.across_datasets({"x": {"a": 1.0, "b": 1.0, "c": 0.0}}).average == {"a": 1.5, "b": 1.5, "c": 3.0}
