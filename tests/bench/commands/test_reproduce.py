"""`bench reproduce`: what a record says comes out again, and what does not is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seqdis.bench.plan import catalog
from seqdis.bench.plan.catalog import MethodRef

SHORT = ("training.steps=8", "training.validations=1", "draws=2", "max_clips=48", "method.lr=0.002")


def bench(*arguments: str, cwd: Path, data: Path) -> subprocess.CompletedProcess[str]:
    environment = {"SEQDIS_DATA": str(data), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "seqdis.bench.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A record of a tiny cell on synthetic Sprites, and the folder of its data."""
    cwd, data = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("data")
    settings = [word for text in SHORT for word in ("--set", text)]
    line = ("run", "--methods", "dsvae", "--datasets", "sprites", "--preset", "quick", "--seeds", "1")
    done = bench(*line, *settings, cwd=cwd, data=data)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = cwd.glob("runs/cells/*/record.json")
    return path, data


def changed(path: Path, folder: Path, **parts: Any) -> Path:
    """A copy of a record with some of its keys replaced, by "part__key"."""
    record = json.loads(path.read_text())
    for name, value in parts.items():
        *where, last = name.split("__")
        node = record
        for key in where:
            node = node[key]
        node[last] = value
    copied = folder / "theirs" / "record.json"
    copied.parent.mkdir()
    copied.write_text(json.dumps(record, indent=1) + "\n")
    return copied


def test_a_record_comes_out_again_to_the_last_bit(made: tuple[Path, Path]) -> None:
    path, data = made
    cwd, text = path.parents[3], path.read_text()
    done = bench("reproduce", path.parent.name, cwd=cwd, data=data)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "code: as recorded\n" in done.stdout
    assert "data and judge: as recorded\n" in done.stdout
    assert "numbers compared: all are equal to the last bit" in done.stdout
    assert (cwd / "runs-reproduced" / "cells" / path.parent.name / "record.json").is_file()
    assert path.read_text() == text


def test_a_number_that_was_altered_is_named_alone(made: tuple[Path, Path], tmp_path: Path) -> None:
    path, data = made
    shuffle = json.loads(path.read_text())["metrics"]["shuffle"]
    copied = changed(path, tmp_path, metrics__shuffle=shuffle + 0.25)
    done = bench("reproduce", str(copied), "--out", str(tmp_path / "again"), cwd=tmp_path, data=data)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 are not equal to the last bit:" in done.stdout
    assert done.stdout.splitlines()[-1] == f"  metrics.shuffle: {shuffle + 0.25!r} recorded, {shuffle!r} now  (-0.25)"


def test_the_edited_file_of_a_method_is_other_code_and_a_preset_that_is_gone_no_obstacle(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    path, data = made
    file = tmp_path / "mine.py"
    source = Path(catalog.method_modules()["dsvae"]).read_text()
    file.write_text(source)
    recorded = MethodRef("dsvae", "", f"{file}:DSVAE").digest
    copied = changed(path, tmp_path, config__plugin_digest=recorded, cell__preset="demo")
    without = bench("reproduce", str(copied), cwd=tmp_path, data=data)
    assert (without.returncode, without.stdout) == (2, "")
    assert "--plugin path/to/file.py:Class" in without.stderr
    file.write_text(source + "\nEDITED = True\n")
    done = bench("reproduce", str(copied), "--plugin", f"{file}:DSVAE", cwd=tmp_path, data=data)
    assert done.returncode == 0, done.stdout + done.stderr  # what was edited decides nothing
    assert "code: the record was made by other code (the method's)" in done.stdout
    assert "all are equal to the last bit" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no cell of"),
        (["no/such/folder"], "holds no record.json"),
        (["."], "holds no record.json"),
        (["RECORD", "--plugin", "mine.py:Mine"], "is no plug-in's file: leave --plugin out"),
        (["RECORD", "--device", "mps"], "unknown device"),
        (["RECORD", "--out", "RUNS"], "holds the record itself"),
    ],
)
def test_what_cannot_be_reproduced_is_one_sentence(
    arguments: list[str], message: str, made: tuple[Path, Path], tmp_path: Path
) -> None:
    path, data = made
    named = {"RECORD": str(path), "RUNS": str(path.parents[2])}
    done = bench("reproduce", *[named.get(word, word) for word in arguments], cwd=tmp_path, data=data)
    assert done.returncode == 2
    assert path.is_file()
    (line,) = done.stderr.splitlines()
    assert message in line
