"""Records of every kind of cell, from small real runs: each key that is written is described, and each is valid."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from seqdis.bench.cell import prerequisites
from seqdis.bench.cell.report import change_notes
from seqdis.bench.cell.run import run_cell
from seqdis.bench.plan import catalog
from seqdis.bench.plan.cells import Cell, Planned, plan
from seqdis.bench.plan.today import method_code, suite_code
from seqdis.bench.records.config import cell_id
from seqdis.bench.records.contradictions import rebuilt_config
from seqdis.bench.records.importing import import_records
from seqdis.bench.records.record import Change, Record, read_record, write_record
from seqdis.bench.records.store import Store
from seqdis.bench.records.validate import check_file

PLUGIN = f"{Path(__file__).resolve().parents[3] / 'examples' / 'first_frame_vae.py'}:FirstFrameVAE"
TINY = {
    "training.steps": 2,
    "training.validations": 1,
    "training.log_every": 1,
    "draws": 1,
    "max_clips": 32,
    "selection_clips": 16,
    "shuffle_clips": 16,
}
KINDS: dict[str, tuple[str, str, int]] = {
    "encoder": ("dsvae", "sprites", 0),
    "batch size": ("dsvae", "sprites", 8),
    "matched": ("mocogan", "sprites", 0),
    "labels": ("mocogan:labels", "sprites", 0),
    "signal": ("s3vae", "sprites", 0),
    "oracle": ("oracle", "sprites", 0),
    "verification": ("fhvae", "timit", 0),
    "n/a": ("mocogan", "timit", 0),
    "plug-in": (PLUGIN, "sprites", 0),
}


def planned(kind: str) -> Planned:
    method, dataset, batch = KINDS[kind]
    training = {} if method == "oracle" else {"training.batch_size": batch or 4}
    overrides = tuple(sorted({**TINY, **training}.items()))
    (ref,) = catalog.parse_methods(method)
    (one,) = plan([Cell(dataset, "synthetic", ref, "quick", 0, batch, overrides)])
    return one


SLOW = ("signal", "verification", "n/a")
EVERY = [pytest.param(kind, marks=pytest.mark.slow if kind in SLOW else ()) for kind in KINDS]
Made = Callable[[str], tuple[Path, Record]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A kind's record, and its file; run when it is first asked for."""
    root, store = tmp_path_factory.mktemp("data"), Store(tmp_path_factory.mktemp("runs"))

    @functools.cache
    def of(kind: str) -> tuple[Path, Record]:
        cell = planned(kind)
        prerequisites.make([cell.config], root, "cpu", quiet=True)
        folder = store.add(cell.id, cell.config)
        assert run_cell(folder, device="cpu", data_dir=root) == 0, (folder / "error.json").read_text()
        return folder / "record.json", read_record(folder / "record.json")

    return of


@pytest.mark.parametrize("kind", EVERY)
def test_every_key_that_is_written_is_described_and_valid(made, kind, tmp_path, monkeypatch, undescribed):
    monkeypatch.setenv("SEQDIS_DATA", str(tmp_path))
    path, record = made(kind)
    assert not undescribed(record)
    assert check_file(path).problems == ()
    assert write_record(tmp_path, record)
    assert (tmp_path / "record.json").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", EVERY)
def test_the_id_follows_from_the_record_alone(made, kind):
    path, record = made(kind)
    config = rebuilt_config(record)
    assert config is not None
    assert cell_id(config) == record.cell.id == path.parent.name
    stored = json.loads((path.parent / "config.json").read_text())
    assert config | {"plugin": ""} == stored | {"plugin": ""}
    changed = dataclasses.replace(record, cell=dataclasses.replace(record.cell, seed=1))
    assert cell_id(rebuilt_config(changed) or {}) != record.cell.id


def test_kinds_that_a_judge_looks_at_are_what_they_are_called(made):
    of = {kind: made(kind)[1] for kind in KINDS if kind not in SLOW}
    assert of["encoder"].protocol.name == of["oracle"].protocol.name == of["plug-in"].protocol.name == "encoder"
    assert of["encoder"].identities is not None
    assert of["batch size"].cell.batch == of["batch size"].training.batch_size == 8
    assert of["matched"].metrics.generator.matched is not None
    assert of["labels"].metrics.generator.labels is not None
    assert of["labels"].supervision == "motion labels"
    assert of["plug-in"].code.digests.method == of["plug-in"].config.plugin_digest != ""
    assert of["encoder"].code.digests.method == method_code(of["encoder"].cell.method)
    assert of["encoder"].code.digests.suite == suite_code(of["encoder"].cell.dataset)
    assert of["oracle"].code.digests.method == ""
    assert not of["oracle"].ranked


@pytest.mark.slow
def test_kinds_with_a_signal_or_without_a_judge_are_what_they_are_called(made):
    of = {kind: made(kind)[1] for kind in SLOW}
    assert of["signal"].config.versions["signal"] == of["signal"].signal != ""
    assert of["verification"].judge is None
    assert of["verification"].metrics.probes
    assert of["n/a"].error.reason.startswith("MoCoGAN has no encoder")


def test_a_plugin_is_imported_without_a_config_that_names_no_file(made, tmp_path):
    path, record = made("plug-in")
    there = tmp_path / "theirs" / "cells" / record.cell.id
    there.mkdir(parents=True)
    os.link(path, there / "record.json")
    assert import_records(tmp_path / "theirs", tmp_path / "ours").taken == [record.cell.id]
    assert [one.name for one in (tmp_path / "ours" / "cells" / record.cell.id).iterdir()] == ["record.json"]


def test_a_run_of_several_pieces_says_what_was_other_in_each() -> None:
    changes = (
        Change(step=12, what="threads", before="1", after="2"),
        Change(step=12, what="torch", before="2.10", after="2.11"),
        Change(step=40, what="threads", before="2", after="1"),
    )
    assert change_notes(changes) == [
        "not run in one piece: threads 1 to step 12, then 2 to step 40, then 1",
        "not run in one piece: torch 2.10 to step 12, then 2.11",
    ]
    many = [Change(step=step, what="device", before="A", after="B") for step in range(1000)]
    assert [len(note) for note in change_notes(many)] == [500]
