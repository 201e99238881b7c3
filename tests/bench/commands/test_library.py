"""`import seqdis`: a user's own model, records and tables in Python, and the weights that a cell keeps."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import seqdis
from seqdis.bench import cli
from seqdis.bench.cell import weights
from seqdis.bench.core.errors import UserError
from seqdis.bench.records.record import read_record
from seqdis.bench.records.validate import check_file
from seqdis.datasets.sprites import Sprites
from seqdis.judges.cards import trained_folder, trained_stem
from seqdis.judges.judge import load_judge, save_judge

TINY = {"training.steps": 3, "training.validations": 1, "training.batch_size": 4, "draws": 2, "max_clips": 48}
TINY |= {"selection_clips": 16, "shuffle_clips": 16}
ROOT = Path(__file__).resolve().parents[3]
EXAMPLES, RECORDS = ROOT / "examples", ROOT / "results" / "records"


class Mean(nn.Module):
    """A model from elsewhere without a prior: the mean frame, and how each frame differs from it in 4 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.small = nn.AdaptiveAvgPool2d(4)
        self.scale = nn.Parameter(torch.ones(()))

    def encode(self, x):
        frames = self.small(x.flatten(0, 1)).flatten(1).unflatten(0, x.shape[:2]) * self.scale
        return frames.mean(1), frames - frames.mean(1, keepdim=True)

    def decode(self, static, dynamic):
        frames = (static[:, None] + dynamic).unflatten(-1, (3, 4, 4)).clamp(0, 1)
        return nn.functional.interpolate(frames.flatten(0, 1), size=32).unflatten(0, frames.shape[:2])


class WithPrior(Mean):
    def sample_static(self, n, generator):
        return torch.rand(n, 48, generator=generator)

    def sample_dynamic(self, n, n_frames, generator):
        return torch.zeros(n, n_frames, 48)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    Sprites.prepare(root, "synthetic", 32)
    return root


@pytest.fixture(scope="module")
def cell(root, tmp_path_factory):
    """The folder of a small cell that `seqdis.run` has trained."""
    out = tmp_path_factory.mktemp("runs")
    found = seqdis.run(
        methods="dsvae",
        datasets=["sprites"],
        settings=TINY,
        out=out,
        arguments=["--workers", "1", "--data-dir", str(root), "--launcher", "local"],
    )
    assert list(found["method"]) == ["dsvae"]
    return out / "cells" / found["cell"][0]


def test_importing_it_and_reading_records_loads_no_torch():
    code = "import sys, seqdis; seqdis.table('published').to_pandas(); assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert set(dir(seqdis)) == set(seqdis.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = seqdis.nothing


def test_records_and_tables_hold_the_numbers_of_the_record(cell):
    record = read_record(cell / "record.json")
    draws = [draw["motion"].acc for draw in record.metrics.directions.fix_dynamic.draws]
    frame = seqdis.records(cell.parents[1])
    assert frame["fix_dynamic/motion/acc"][0] == pytest.approx(sum(draws) / len(draws))
    long = seqdis.records([cell.parents[1]], long=True)
    assert long.loc[long["metric"] == "fix_dynamic/motion/acc", "value"].item() == frame["fix_dynamic/motion/acc"][0]


def test_a_table_is_a_frame_latex_and_html():
    frame = seqdis.records(RECORDS)
    row = frame[(frame["method"] == "dsvae") & (frame["variant"] == "") & (frame["preset"] == "quick")]
    table = seqdis.table("comparison", records=RECORDS, presets="quick")
    numbers = table.to_pandas()
    assert row["fix_dynamic/motion/acc"].mean() in [pytest.approx(mean) for mean in numbers["mean"]]
    assert "DSVAE" in table.to_latex()
    assert "<td>" in table._repr_html_()
    assert "<script" not in table._repr_html_()


def test_a_wrong_name_is_one_sentence():
    with pytest.raises(UserError, match="unknown table"):
        seqdis.table("comparisons", records="results/records")
    with pytest.raises(UserError, match="does not exist"):
        seqdis.records("nowhere")


def test_a_loaded_method_scores_what_its_record_says(cell, root):
    method, dataset = seqdis.load(cell, data_dir=root)
    record = read_record(cell / "record.json")
    again = seqdis.evaluate(method, dataset, draws=2, max_clips=48, judge=load_judge(dataset.spec, root))
    assert again.metrics.directions == record.metrics.directions
    assert again.metrics.reconstruction == record.metrics.reconstruction
    assert not again.ranked
    assert "trained elsewhere" in again.notes[0]


@pytest.mark.slow
def test_weights_that_are_not_wanted_are_not_kept_and_that_is_said(root, tmp_path):
    words = ["--workers", "1", "--data-dir", str(root), "--launcher", "local", "--no-weights"]
    (name,) = seqdis.run(methods="dsvae", datasets="sprites", settings=TINY, out=tmp_path, arguments=words)["cell"]
    assert "SEQDIS_WEIGHTS" not in os.environ
    with pytest.raises(UserError, match="weights of this cell were not kept"):
        seqdis.load(tmp_path / "cells" / name, data_dir=root)


def test_a_cell_scored_by_another_judge_is_a_record_of_its_own(cell, root, tmp_path, capsys):
    judge = load_judge(Sprites.describe("synthetic", 32), root)
    with pytest.raises(UserError, match="was scored by"):
        weights.score_again(cell, judge, tmp_path, device=torch.device("cpu"), data_dir=root)
    with torch.no_grad():
        for value in judge.parameters():
            value.add_(0.01)
    spec = Sprites.describe("synthetic", 32)
    judge.card = dataclasses.replace(judge.card, judge="second")
    save_judge(judge, trained_folder(root), trained_stem(spec, "second"))
    changed = judge.card.sha256
    line = ["judge", "apply", str(cell), "--name", "second", "--out", str(tmp_path), "--data-dir", str(root)]
    assert cli.main(line) == 0
    folder = Path(capsys.readouterr().out.strip())
    first, second = read_record(cell / "record.json"), read_record(folder / "record.json")
    assert second.judge.sha256 == changed != first.judge.sha256
    assert second.cell.id != first.cell.id
    assert second.training == first.training
    assert first.cell.id in second.notes[-1]
    assert seqdis.records([cell.parents[1], tmp_path])["judge"].nunique() == 2


@pytest.mark.parametrize("model", [Mean, WithPrior])
def test_a_model_from_elsewhere_is_scored_and_its_record_is_valid(model, root, tmp_path, monkeypatch):
    monkeypatch.setenv("SEQDIS_DATA", str(root))
    record = seqdis.evaluate(
        model(), "sprites", name="mean", source="synthetic", size=32, draws=1, max_clips=64, out=tmp_path
    )
    assert record.metrics.reconstruction.mse < 0.1
    path = tmp_path / "cells" / record.cell.id / "record.json"
    assert check_file(path).problems == ()
    assert record.protocol.sample == ("draw" if model is WithPrior else "training codes")
    assert any("no prior" in note for note in record.notes) == (model is Mean)
    assert record.training.steps == 0
    table = str(seqdis.table(records=tmp_path))
    assert "mean" in table
    assert "outside" in table
    other = model()
    with torch.no_grad():
        other.scale.mul_(2)
    assert (
        seqdis.evaluate(other, "sprites", name="mean", source="synthetic", size=32, draws=1, max_clips=64).cell.id
        != record.cell.id
    )
    with pytest.raises(UserError, match="has a record of this model"):
        seqdis.evaluate(
            model(), "sprites", name="mean", source="synthetic", size=32, draws=1, max_clips=64, out=tmp_path
        )


class Wrong(Mean):
    def __init__(self, what):
        super().__init__()
        self.what = what

    def encode(self, x):
        static, dynamic = super().encode(x)
        return {
            "one": static,
            "flat": (static, static),
            "nan": (static * torch.nan, dynamic),
        }.get(self.what, (static, dynamic))

    def decode(self, static, dynamic):
        clips = super().decode(static, dynamic)
        return {"size": clips[..., :16], "range": clips * 255, "inf": clips / 0}.get(self.what, clips)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("one", "encode gave a Tensor"),
        ("flat", "static is .B, Ds., dynamic"),
        ("nan", "codes that are not finite"),
        ("size", "decode gave"),
        ("range", "clips are in .0, 1."),
        ("inf", "not finite"),
    ],
)
def test_what_a_model_gives_in_a_wrong_shape_is_one_sentence(what, sentence, root):
    with pytest.raises(UserError, match=sentence):
        seqdis.evaluate(Wrong(what), "sprites", source="synthetic", size=32, data_dir=root)


def test_a_model_without_codes_or_with_half_a_prior_is_one_sentence(root):
    with pytest.raises(UserError, match="has no encode and no decode"):
        seqdis.evaluate(nn.Identity(), "sprites", source="synthetic", size=32, data_dir=root)
    half = Mean()
    half.sample_static = lambda n, generator: torch.zeros(n, 48)
    with pytest.raises(UserError, match="one of sample_static and sample_dynamic"):
        seqdis.evaluate(half, "sprites", source="synthetic", size=32, data_dir=root)


def test_the_example_that_wraps_a_model_runs(root, tmp_path):
    environment = {**os.environ, "SEQDIS_DATA": str(root)}
    line = [sys.executable, str(EXAMPLES / "wrap_model.py"), str(tmp_path)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "theirs: motion" in done.stdout
    assert len(list(tmp_path.glob("cells/*/clips.npz"))) == 1


def test_codes_of_training_clips_are_for_models_from_elsewhere():
    with pytest.raises(UserError, match="the methods here have priors"):
        seqdis.run(datasets="sprites", methods="dsvae", settings={"evaluation.sample": "training codes"})
