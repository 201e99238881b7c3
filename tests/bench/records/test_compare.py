"""Two records of one configuration, number by number."""

from __future__ import annotations

import copy
import statistics

import pytest

from seqdis.bench.core.schema import from_json
from seqdis.bench.records import compare
from seqdis.bench.records.collection import load
from seqdis.bench.records.record import Record

HERE = {
    "torch": "2.11.0",
    "threads": 1,
    "device": "cpu (x86_64)",
    "machine": "x86_64",
    "processor": "A",
    "platform": "linux",
}
HEADLINE = "fix_dynamic/action/acc"


def altered(record, where, value):
    found = copy.deepcopy(record)
    node = found
    for key in where[:-1]:
        node = node[key]
    node[where[-1]] = value
    return found


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (
            ("metrics", "directions", "fix_static", "draws", 1, "tops", "acc"),
            "metrics.directions.fix_static.draws[1].tops.acc",
        ),
        (("metrics", "shuffle"), "metrics.shuffle"),
        (("training", "losses", 2, "total"), "training.losses[2].total"),
        (("training", "selected_step"), "training.selected_step"),
    ],
)
def test_one_number_that_differs_in_its_last_bit_is_named(make_record, where, name):
    record = make_record()
    same = compare.exactly(record, copy.deepcopy(record))
    assert same.differences == ()
    assert same.total > 50
    value = record
    for key in where:
        value = value[key]
    found = compare.exactly(record, altered(record, where, value * (1 + 1e-15) + (value == int(value)) * 1))
    assert [difference.name for difference in found.differences] == [name]
    assert found.differences[0].by


def test_what_is_there_once_only_is_a_difference(make_record):
    record = make_record()
    (found,) = compare.exactly(
        record, altered(record, ("training", "losses"), record["training"]["losses"][:2])
    ).differences[:1]
    assert found.text() == "training.losses[2].step: 1500 recorded, nothing now"


def test_costs_do_not_follow_from_the_configuration(make_record):
    record = make_record()
    assert not compare.exactly(record, altered(record, ("cost", "train_seconds"), 1.0)).differences


def test_elsewhere_an_accuracy_may_differ_as_seeds_do(tmp_path, make_record, store_record):
    records = [make_record(seed=seed, acc=0.7 + 0.02 * seed) for seed in range(4)]
    for record in records:
        store_record(tmp_path, record)
    row = load([tmp_path]).entries
    assert compare.tolerances(row[:2]) == {}
    allowed = compare.tolerances(row)
    values = [entry.get(HEADLINE) for entry in row]
    assert allowed[HEADLINE] > 0.05
    assert allowed[HEADLINE] == pytest.approx(5 * statistics.stdev(values))
    assert set(allowed) == {name for name in row[0].names if name.endswith("/acc")}
    assert min(allowed.values()) == 0.05
    for factor, expected in ((0.99, []), (1.01, [HEADLINE])):
        other = copy.deepcopy(records[0])
        for draw in other["metrics"]["directions"]["fix_dynamic"]["draws"]:
            draw["action"]["acc"] += factor * allowed[HEADLINE]
        found = compare.loosely(records[0], other, allowed)
        assert [difference.name for difference in found.differences] == expected
        assert found.total == len(allowed)
        assert found.largest is not None
        assert found.largest.name == HEADLINE
        assert found.largest.by == pytest.approx(factor * allowed[HEADLINE])


def test_elsewhere_and_without_seeds_fractions_only_are_compared(make_record):
    record = make_record()
    for by, count in ((0.04, 0), (0.06, 1)):
        other = copy.deepcopy(record)
        other["metrics"]["shuffle"] += 1
        for draw in other["metrics"]["directions"]["fix_dynamic"]["draws"]:
            draw["action"]["acc"] += by
        assert len(compare.loosely(record, other, {}).differences) == count


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"environment.torch": "2.10.0"}, ["torch 2.10.0 there, 2.11.0 here"]),
        ({"environment.threads": 2}, ["threads 2 there, 1 here"]),
        ({"environment.processor": "B"}, ["processor B there, A here"]),
        (
            {"training.changes": [{"step": 3, "what": "threads", "before": "1", "after": "2"}]},
            ["it was stopped and went on elsewhere"],
        ),
    ],
)
def test_where_every_number_must_be_equal(make_record, changes, words):
    here = {f"environment.{key}": value for key, value in HERE.items()}
    first = from_json(Record, make_record(changes={**here, **changes}))
    again = from_json(Record, make_record(changes=here))
    assert compare.other_place(first, again.environment) == words


def test_a_record_that_does_not_name_its_processor_or_a_gpu_promise_no_bits(make_record):
    again = from_json(Record, make_record(changes={f"environment.{key}": value for key, value in HERE.items()}))
    old = from_json(Record, make_record(changes={"environment.machine": "x86_64", "environment.platform": "linux"}))
    assert "processor not recorded" in compare.other_place(old, again.environment)
    on_gpu = {f"environment.{key}": value for key, value in {**HERE, "device": "NVIDIA H200"}.items()}
    gpu = from_json(Record, make_record(changes=on_gpu))
    assert compare.other_place(gpu, gpu.environment) == ["a GPU repeats no run to the last bit"]
