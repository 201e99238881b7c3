"""The last job of a grid, also under the name that version 0.1.0 queued it by."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqdis.bench.cli import main
from seqdis.bench.commands import last_tables


@pytest.fixture
def out(make_record: Callable[..., dict[str, Any]], store_record: Callable[..., Path], tmp_path: Path) -> Path:
    """A run folder with two records."""
    for method in ("dsvae", "cdsvae"):
        store_record(tmp_path, make_record(method))
    return tmp_path


def job(*words: str, module: str = "seqdis.bench.commands.last_tables") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", "-m", module, *words], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("module", ["seqdis.bench.commands.last_tables", "seqdis.bench.launch.tables"])
def test_job_writes_what_the_table_command_writes(module: str, out: Path, tmp_path: Path) -> None:
    (out / "cells" / "never-run").mkdir()
    done = job(str(out), "comparison", module=module)
    assert done.returncode == 0, done.stderr
    assert "missing: never-run" in done.stdout
    for suffix in last_tables.WRITTEN:
        again = tmp_path / f"again{suffix}"
        more = ["--format", "terminal", "--wide"] if suffix == ".txt" else []
        assert main(["table", "comparison", "--out", str(out), "--output", str(again), *more]) == 0
        assert (out / "tables" / f"comparison{suffix}").read_bytes() == again.read_bytes()


def test_unknown_table_is_refused_and_the_others_are_written(out: Path) -> None:
    done = job(str(out), "comparisson", "cost")
    assert (done.returncode, "did you mean 'comparison'" in done.stderr) == (2, True)
    assert (out / "tables" / "cost.md").exists()


def test_nothing_is_written_while_no_cell_has_a_record(tmp_path: Path) -> None:
    (tmp_path / "cells" / "never-run").mkdir(parents=True)
    done = job(str(tmp_path), "comparison")
    assert (done.returncode, done.stdout) == (0, "0 of 1 cells have a record; missing: never-run\n")
    assert not (tmp_path / "tables").exists()
