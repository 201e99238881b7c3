"""A run folder in which one cell's folder may not be read: the others are shown, and that one is named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Root reads everything unless it gives that power up.
PLAIN = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
pytestmark = pytest.mark.skipif(bool(PLAIN) and shutil.which("setpriv") is None, reason="root without setpriv")


@pytest.fixture
def private(tmp_path: Path, make_record, store_record):
    """The id of a cell that may not be read, of three below tmp_path/r."""
    paths = [store_record(tmp_path / "r", make_record(seed=seed)) for seed in range(3)]
    for path in paths:
        (path.parent / "config.json").write_text('{"cell": {"seed": 0}}')
    paths[1].parent.chmod(0)
    yield paths[1].parent.name
    paths[1].parent.chmod(0o755)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("table --records r --format json", '"n": 2'),
        ("table --records r/cells --format json", '"n": 2'),
        ("validate r", "2 valid, 1 with problems"),
        ("validate r/cells", "2 valid, 1 with problems"),
        ("validate r/cells/PRIVATE", "0 valid, 1 with problems"),
        ("status --out r --all", "2 done, 1 unknown"),
        ("publish --runs r --clips none --out s", "2 cells, 1 tables"),
        ("publish --runs r/cells --clips none --out s", "2 cells, 1 tables"),
        ("import r --out other", "2 imported into other, 0 already there, 1 refused"),
        ("pack r p", "packed 2 records"),
        ("cancel --out r", "cancelled 0 jobs"),
        ("logs PRIVATE --out r", ""),
    ],
)
def test_one_private_cell_is_named_and_the_rest_stands(tmp_path: Path, private: str, line: str, kept: str) -> None:
    arguments = line.replace("PRIVATE", private).split()
    done = subprocess.run(
        [*PLAIN, sys.executable, "-m", "seqdis.bench.cli", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert kept in said
    assert private in said


@pytest.mark.parametrize("line", ["table --out r", "status --out r", "validate r", "cancel --out r", "import r"])
def test_a_private_run_folder_is_one_sentence(tmp_path: Path, line: str) -> None:
    (tmp_path / "r" / "cells").mkdir(parents=True)
    for folder in (tmp_path / "r" / "cells", tmp_path / "r"):
        folder.chmod(0)
        done = subprocess.run(
            [*PLAIN, sys.executable, "-m", "seqdis.bench.cli", *line.split()],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        folder.chmod(0o755)
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "cannot be read" in done.stdout + done.stderr
