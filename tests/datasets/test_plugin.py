"""A data set from outside of the suite, with nothing but the documented contract: the one of docs/data.md."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.bench.plan import catalog
from seqdis.datasets.base import DataSet

DOCS = Path(__file__).resolve().parents[2] / "docs" / "data.md"
TINY = ("training.steps=20", "training.validations=1", "draws=2", "max_clips=32")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages with the guide's file and the entry point that the guide gives it."""
    site = tmp_path_factory.mktemp("site")
    text = DOCS.read_text()
    blocks = dict(re.findall(r"```(python|toml)\n(.*?)```", text, re.DOTALL))
    (site / "squares.py").write_text(blocks["python"])
    about = site / "squares-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: squares\nVersion: 1.0\n")
    name, _, place = blocks["toml"].splitlines()[1].partition(" = ")
    (about / "entry_points.txt").write_text(f"[seqdis.datasets]\n{name} = {json.loads(place)}\n")
    return site


@pytest.fixture
def squares(installed: Path, monkeypatch: pytest.MonkeyPatch) -> type[DataSet]:
    monkeypatch.syspath_prepend(str(installed))
    importlib.invalidate_caches()
    return catalog.load_dataset("squares")


def test_it_is_a_name_like_the_others(squares: type[DataSet]) -> None:
    assert squares.__module__ == "squares"
    assert catalog.parse_datasets("squares") == ["squares"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_this_name", "cannot be imported .ModuleNotFoundError"),
        ("class Squares: ...", "not a subclass"),
    ],
)
def test_one_that_is_none_is_refused_in_one_sentence(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    shutil.copytree(installed / "squares-1.0.dist-info", tmp_path / "squares-1.0.dist-info")
    (tmp_path / "squares.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "squares", raising=False)
    with pytest.raises(UserError, match=message):
        catalog.load_dataset("squares")
    sys.modules.pop("squares", None)


def test_prepare_open_and_verify(squares: type[DataSet], tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="Squares is not prepared"):
        squares.open(tmp_path, "synthetic", 32)
    folder = squares.prepare(tmp_path, "synthetic", 32)
    data = squares.open(tmp_path, "synthetic", 32)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 96, "validation": 32, "test": 32}
    assert data.digest == squares.verify(tmp_path, "synthetic", 32)["digest"]
    assert folder.is_dir()


def test_what_it_leaves_out_has_its_default(squares: type[DataSet], tmp_path: Path) -> None:
    squares.prepare(tmp_path, "synthetic", 32)
    data = squares.open(tmp_path, "synthetic", 32)
    index, generator = torch.tensor([3, 1]), torch.Generator().manual_seed(0)
    drawn = data.train.draw(index, generator)
    assert torch.equal(drawn.x, data.train.x[index].float() / 256)
    assert drawn.signal() is None
    assert drawn.motion_view(generator) is None
    assert torch.equal(data.train.varied_clips(index, generator), drawn.x)
    assert data.train.windows(3, generator) is None
    assert data.train.fixed() is data.train
    assert data.train.frame_labels == {}
    assert data.cache is None
    assert squares.options == {}
    with pytest.raises(UserError, match="squares: each training sequence is one clip"):
        data.segmented()
    with pytest.raises(UserError, match="squares has no external signal"):
        data.load_signal()


def test_it_is_prepared_judged_and_trained_on_from_the_command_line(installed: Path, tmp_path: Path) -> None:
    def bench(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "seqdis.bench.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=300,
            env={
                **os.environ,
                "PYTHONPATH": str(installed),
                "SEQDIS_DATA": str(tmp_path / "data"),
                "OMP_NUM_THREADS": "1",
            },
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "squares" in bench("list", "datasets")
    assert "a square drifts" in bench("describe", "squares")
    said = bench("data", "prepare", "squares", "--source", "synthetic", "--size", "32")
    assert "Squares (synthetic): 96 training, 32 validation, 32 test clips of 6 frames" in said
    assert "every digest matches" in bench("data", "verify", "squares", "--source", "synthetic", "--size", "32")
    bench("data", "preview", "squares", "--source", "synthetic", "--size", "32", "--out", "squares.png")
    assert (tmp_path / "squares.png").read_bytes().startswith(b"\x89PNG")
    assert " 0 fail" in bench("check", "squares")
    options = [word for setting in TINY for word in ("--set", setting)]
    bench("run", "--methods", "dsvae,cdsvae", "--datasets", "squares", "--preset", "quick", *options)
    found = [json.loads(path.read_text()) for path in tmp_path.glob("runs/cells/*/record.json")]
    assert {record["cell"]["method"] for record in found} == {"dsvae", "cdsvae"}
    for record in found:
        assert record["status"] == "done", record
        assert record["data"]["revision"] == "squares-1"
        assert record["judge"]["accuracy"]["direction"] > 0.9
