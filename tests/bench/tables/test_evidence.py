"""Intervals end where their metric does, in every table that has any."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("dataset", ["sprites", "timit"])
def test_no_interval_goes_beyond_what_the_metric_can_be(build, make_record, dataset):
    """Three seeds far apart: Student's interval alone would reach below 0 and above 100 %."""
    records = [
        make_record(method, dataset, seed, acc=acc)
        for method in ("cdsvae", "dsvae")
        for seed, acc in enumerate((0.05, 0.95, 0.5))
    ]
    reach = {"gap": (-1.0, 1.0)}
    (table,) = build("comparison", records).tables
    for row in table.rows:
        found = {key: cell.interval for key, cell in row.cells.items() if cell.interval and not key.endswith("_ci")}
        assert found.keys() == ({"acc"} if dataset == "sprites" else {"gap", "eer_static", "eer_dynamic"})
        for key, (low, high) in found.items():
            least, most = reach.get(key, (0.0, 1.0))
            assert least <= low < row.cell(key).mean < high <= most
    assert any("cut at the metric's limits" in note for note in table.notes)
    intervals, pairs = build("seeds", records).tables
    for row in intervals.rows:
        least, most = (0.0, 1.0) if dataset == "sprites" else (-1.0, 1.0)
        assert least <= row.cell("t_low").mean < row.cell("t_high").mean <= most
    assert any("cut at the limits" in note for note in intervals.notes)
    widest = 1.0 if dataset == "sprites" else 2.0
    assert all(-widest <= row.cell("low").mean < row.cell("high").mean <= widest for row in pairs.rows)


@pytest.mark.parametrize("dataset", ["sprites", "smmnist", "timit"])
def test_columns_of_known_range_say_so(build, make_record, dataset):
    (table,) = build("comparison", [make_record("cdsvae", dataset)]).tables
    units = {
        column.unit: column.limits for column in table.columns if not column.key.endswith(("_published", "_difference"))
    }
    assert units["%"] == (0.0, 1.0)
    assert units.get("nats", (0.0,))[0] == 0.0
