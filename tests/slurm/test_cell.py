"""How a cell's process ends. Needs no SLURM."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import safe_open

from seqdis.bench.core.exits import INTERRUPTED
from seqdis.bench.core.provenance import code_version

from .conftest import LINE, until


@pytest.fixture(scope="module")
def planned(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of a short cell that nobody has run."""
    out = tmp_path_factory.mktemp("planned")
    line = [*LINE, "--methods", "dsvae", "--seeds", "1", "--launcher", "local", "--time-budget", "1s"]
    subprocess.run(
        [sys.executable, "-P", "-m", "seqdis.bench.cli", *line, "--out", str(out), "--data-dir", str(data)],
        capture_output=True,
        timeout=300,
        cwd=out,
    )
    return next(out.glob("cells/*/config.json"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP])
def test_signals_that_keep_coming_do_not_change_how_a_cell_ends(
    number: signal.Signals, planned: Path, data: Path, tmp_path: Path
) -> None:
    """SLURM, srun and the job's worker all pass signals on: the later ones reach a process that is leaving, and its
    children too."""
    shutil.copy(planned, tmp_path)
    command = [
        sys.executable,
        "-P",
        "-m",
        "seqdis.bench.cell",
        str(tmp_path),
        "--device",
        "cpu",
        "--data-dir",
        str(data),
    ]
    environment = {**os.environ, "SEQDIS_PROGRESS_SECONDS": "0", "SEQDIS_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with open(tmp_path / "out", "wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
    text = tmp_path / "out"
    try:
        until(lambda: process.poll() is not None or '"train"' in _text(tmp_path / "progress.json"), "training")
        until(lambda: _signalled(process, number), "the end")
    finally:
        process.kill()
    assert process.wait() == INTERRUPTED, _text(text)
    assert "stopped at step" in _text(text)
    assert not (tmp_path / "lease.json").exists()
    with safe_open(tmp_path / "checkpoint.safetensors", "pt") as file:
        assert json.loads(file.metadata()["maker"])["commit"] == code_version().commit


def _signalled(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    """One more signal to the process and its children. Returns whether it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    time.sleep(0.002)
    return process.poll() is not None


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""
