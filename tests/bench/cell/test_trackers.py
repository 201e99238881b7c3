"""Trackers: the log and curves.csv hold what the record holds, also after a stop; others' are offline, and never end a cell."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import pytest

from seqdis.bench.cell import trackers
from seqdis.bench.cell.checkpoint import State
from seqdis.bench.cell.run import run_cell
from seqdis.bench.core.environment import TRACK
from seqdis.bench.core.errors import UserError
from seqdis.bench.plan import catalog
from seqdis.bench.plan.cells import Cell, plan
from seqdis.bench.records.record import read_record
from seqdis.bench.records.store import Store
from seqdis.datasets.sprites import Sprites

TINY = {"training.steps": 6, "training.validations": 2, "training.log_every": 2, "training.batch_size": 4, "draws": 1}
TINY |= {"max_clips": 16, "selection_clips": 16, "shuffle_clips": 16}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    Sprites.prepare(root, "synthetic", 32)
    return root


def run(out: Path, root: Path, method: str = "dsvae") -> Path:
    (ref,) = catalog.parse_methods(method)
    (one,) = plan([Cell("sprites", "synthetic", ref, "quick", 0, 0, tuple(sorted(TINY.items())))])
    folder = Store(out).add(one.id, one.config)
    assert run_cell(folder, device="cpu", data_dir=root) == 0, (folder / "error.json").read_text()
    return folder


def curves(folder: Path) -> list[tuple[str, int, str, float]]:
    with open(folder / "curves.csv", newline="") as file:
        return [(line["kind"], int(line["step"]), line["name"], float(line["value"])) for line in csv.DictReader(file)]


def test_the_log_and_the_curves_hold_what_the_record_holds(root, tmp_path, capsys):
    folder = run(tmp_path, root)
    record = read_record(folder / "record.json")
    found = curves(folder)
    losses = [(step, name, value) for kind, step, name, value in found if kind == "train"]
    assert losses == [
        (line["step"], name, value)
        for line in record.training.losses
        for name, value in line.items()
        if name not in ("step", "player")
    ]
    scores = {(step, name): value for kind, step, name, value in found if kind == "validation"}
    assert scores[6, "score"] == record.training.validation[-1]["score"]
    test = {name: value for kind, _, name, value in found if kind == "test"}
    assert test["rec/mse"] == record.metrics.reconstruction.mse
    printed = capsys.readouterr().out
    assert "validation at step 3 of 6: score" in printed
    assert "train at step 2 of 6: total" in printed
    assert "test at step 6 of 6: " in printed


def test_players_are_told_apart(root, tmp_path):
    kinds = {kind for kind, *_ in curves(run(tmp_path, root, "mocogan"))}
    assert {"train/generator", "validation", "test"} < kinds
    assert "train" not in kinds


def test_after_a_stop_the_curves_go_on_after_what_the_checkpoint_holds(tmp_path):
    state = State(step=4)
    state.losses = tuple({"step": step, "player": "model", "total": float(step)} for step in (2, 4))
    state.validation = ({"step": 3, "score": 0.5},)
    (tmp_path / "curves.csv").write_text("kind,step,name,value\ntrain,6,total,9\nhalf a li")
    found = trackers.Curves(tmp_path / "curves.csv", state)
    found.numbers("train", 6, {"total": 6.0})
    found.close()
    assert curves(tmp_path) == [
        ("train", 2, "total", 2.0),
        ("validation", 3, "score", 0.5),
        ("train", 4, "total", 4.0),
        ("train", 6, "total", 6.0),
    ]


class Failing:
    told = 0

    def numbers(self, kind, step, values):
        Failing.told += 1
        raise ConnectionError("no route")

    def close(self):
        raise ConnectionError("no route")


def test_a_tracker_that_fails_is_left_out_and_the_others_go_on(tmp_path, capsys):
    state = State()
    kept = trackers.Curves(tmp_path / "curves.csv", state)
    every = trackers.Trackers([Failing(), kept])
    for step in (1, 2):
        every.validation({"step": step, "score": 0.1})
    every.close()
    assert Failing.told == 1
    assert len(curves(tmp_path)) == 2
    assert "Failing is left out from here: ConnectionError: no route" in capsys.readouterr().out


def test_an_unknown_tracker_or_one_that_is_not_installed_is_one_sentence(monkeypatch):
    with pytest.raises(UserError, match="unknown tracker 'comet'"):
        trackers.wanted("tensorboard,comet")
    monkeypatch.setitem(trackers.EXTRAS, "wandb", ("no_such_package_here", object))
    with pytest.raises(UserError, match=r"pip install 'seqdis-bench\[wandb\]'"):
        trackers.wanted("wandb")


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="no tensorboard here")
def test_tensorboard_holds_the_same_numbers(root, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv(TRACK, "tensorboard")
    folder = run(tmp_path, root)
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    record = read_record(folder / "record.json")
    assert [event.value for event in events.Scalars("train/total")] == pytest.approx(
        [line["total"] for line in record.training.losses], rel=1e-6
    )
    assert events.Scalars("test/rec/mse")[0].value == pytest.approx(record.metrics.reconstruction.mse)


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="no mlflow here")
@pytest.mark.filterwarnings("ignore")  # its own, of its database
def test_mlflow_holds_the_same_numbers(root, tmp_path, monkeypatch):
    import mlflow

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv(TRACK, "mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    record = read_record(run(tmp_path / "runs", root) / "record.json")
    (one,) = mlflow.MlflowClient(tracking_uri=uri).search_runs(["1"])
    assert one.data.metrics["test/rec/mse"] == pytest.approx(record.metrics.reconstruction.mse)
    assert one.data.params["method"] == "dsvae"


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="no wandb here")
def test_wandb_is_offline_unless_it_is_told_otherwise(root, tmp_path, monkeypatch):
    monkeypatch.setenv(TRACK, "wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    import wandb

    folder = run(tmp_path, root)
    wandb.teardown()  # its service would live as long as the tests
    assert list((folder / "wandb").glob("offline-run-*"))
    assert json.loads((folder / "config.json").read_text())["cell"]["method"] == "dsvae"
