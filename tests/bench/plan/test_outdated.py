"""Results that today's code, data, judge or settings would not give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seqdis.bench.plan.outdated import Outdated, of_cells, other_code, other_settings, settings_line
from seqdis.bench.plan.today import method_code, suite_code
from seqdis.bench.records.config import config_json
from seqdis.bench.records.store import Store
from seqdis.judges.cards import shipped_cards

OTHER = "0" * 64


@pytest.fixture(autouse=True)
def _no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQDIS_DATA", str(tmp_path / "data"))


def codes(method: str = "", suite: str = "", name: str = "cdsvae") -> dict[str, Any]:
    """Changes of a record: digests of today's code, unless others are named."""
    return {"code.digests": {"method": method or method_code(name), "suite": suite or suite_code("sprites")}}


def look(out: Path, *records: Any) -> Outdated:
    for record in records:
        folder = out / "cells" / record["cell"]["id"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    return of_cells(Store(out), [record["cell"]["id"] for record in records])


def test_results_of_today_s_code_are_nothing_to_speak_of(tmp_path, make_record):
    found = look(tmp_path, make_record(changes=codes()), make_record("dsvae", changes=codes(name="dsvae")))
    assert (found.reasons, found.unsaid, found.lines(), found.cells) == ({}, {}, [], [])


def test_other_code_is_named_and_counted_in_one_line(tmp_path, make_record):
    records = [
        make_record(seed=0, changes=codes()),
        make_record(seed=1, changes=codes(method=OTHER)),
        make_record(seed=2, changes=codes(method=OTHER, suite=OTHER)),
        make_record("dsvae", changes=codes(name="dsvae", suite=OTHER)),
        make_record("a-plug-in", changes={**codes(method=OTHER), "config.plugin_digest": OTHER}),
        make_record("none-of-ours", changes=codes(method=OTHER)),
    ]
    found = look(tmp_path, *records)
    ids = [record["cell"]["id"] for record in records]
    assert found.reasons == {ids[1]: ("method",), ids[2]: ("method", "suite"), ids[3]: ("suite",)}
    assert found.lines() == [
        "3 results were made by other code (of the method: cdsvae 2; of the suite: 2); 'bench run --again' repeats them "
        "and keeps the old records."
    ]
    assert found.words(ids[2]) == "made by other code (the method's and the suite's)"
    assert found.words(ids[0]) == ""


def test_records_of_the_first_version_say_which_version(tmp_path, make_record):
    found = look(tmp_path, *(make_record(seed=seed) for seed in range(3)))
    assert len(found.unsaid) == len(found.cells) == 3
    (line,) = found.lines()
    assert line.startswith("3 results were made by version 0.1.0, which did not record its code; 'bench run --again'")


def test_data_that_were_prepared_anew_are_told(tmp_path, make_record):
    folder = tmp_path / "data" / "sprites-synthetic-32"
    folder.mkdir(parents=True)
    record = make_record(changes=codes())
    cell = record["cell"]["id"]
    for revision, digest, expected in (
        ("1", record["data"]["digest"], {}),
        ("1", OTHER, {cell: ("data",)}),
        ("2", OTHER, {}),  # of another revision: those are other cells
    ):
        (folder / "meta.json").write_text(json.dumps({"revision": revision, "digest": digest}))
        found = look(tmp_path, record)
        assert found.reasons == expected
    (folder / "meta.json").write_text("no JSON")
    assert not look(tmp_path, record).reasons


def test_another_judge_of_the_same_name_is_told(tmp_path, make_record):
    card = next(card for card in shipped_cards().values() if card.dataset == "sprites" and card.source == "synthetic")
    changes = {**codes(), "judge.name": card.name, "data.revision": card.data.revision}
    ours = make_record(changes={**changes, "judge.sha256": card.sha256})
    other = make_record(seed=1, changes=changes)
    found = look(tmp_path, ours, other)
    assert found.reasons == {other["cell"]["id"]: ("judge",)}
    assert "by another judge (sprites 1)" in found.lines()[0]


def test_a_record_that_names_another_cell_is_none_of_the_store_s(tmp_path, make_record):
    record = make_record(changes=codes(method=OTHER))
    folder = tmp_path / "cells" / "sprites-synth-cdsvae-quick-s0-0000000000"
    folder.mkdir(parents=True)
    for cell in ("../../elsewhere", record["cell"]["id"]):
        record["cell"]["id"] = cell
        (folder / "record.json").write_text(json.dumps(record))
        assert not of_cells(Store(tmp_path), [folder.name]).cells


def test_a_result_of_the_same_row_under_other_settings_is_told_once(tmp_path, make_record):
    def planned(**changes: Any) -> str:
        record = make_record(changes=changes)
        look(tmp_path, record)
        cell = str(record["cell"]["id"])
        config = config_json(record["cell"], record["config"])
        (tmp_path / "cells" / cell / "config.json").write_text(json.dumps(config))
        return cell

    old = planned()
    overridden = planned(**{"cell.overrides": {"method.lr": 1}, "config.method": {"lr": 1}})
    store = Store(tmp_path)
    assert other_settings(store, [old, overridden]) == {}
    new = planned(**{"config.training": {"steps": 1200, "batch_size": 16}})
    (tmp_path / "cells" / new / "record.json").unlink()
    assert other_settings(store, [old, overridden, new]) == {new: ("training.steps",)}
    for text in ("[]", "no JSON", '{"cell": 3}', json.dumps(dict.fromkeys(("cell", "method", "training"), 3))):
        (tmp_path / "cells" / f"{new[:-1]}x").mkdir(exist_ok=True)
        (tmp_path / "cells" / f"{new[:-1]}x" / "config.json").write_text(text)
        assert list(other_settings(store, [new])) == [new]
    (line,) = settings_line(other_settings(store, [new]))
    assert line.startswith(
        "1 cell stands beside a result of the same row and seed under other settings (training.steps)"
    )


def test_what_is_put_aside_is_kept_each_time(tmp_path, make_record):
    store, record = Store(tmp_path), make_record()
    cell = record["cell"]["id"]
    for text in ("first", "second"):
        look(tmp_path, record)
        (store.folder(cell) / "record.json").write_text(text)
        store.set_aside(cell)
        store.set_aside(cell)
    assert {path.name: path.read_text() for path in store.folder(cell).iterdir()} == {
        "record.json.1": "first",
        "record.json.2": "second",
    }
    assert not store.is_done(cell)


def test_a_method_that_is_not_here_is_not_compared():
    assert other_code("nobody", "nowhere", (OTHER, OTHER)) == ()
    assert other_code("cdsvae", "sprites", (OTHER, OTHER)) == ("method", "suite")
