"""A machine that has only the repository and its packages: nothing installed, no network, no SLURM or audio libraries."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ABSENT = {"submitit", "pooch", "soundfile", "seqdis-bench", "pytest", "hypothesis", "playwright"}
TINY = [
    "--preset",
    "quick",
    "--set",
    "training.steps=6",
    "--set",
    "training.validations=1",
    "--set",
    "draws=1",
    "--set",
    "max_clips=32",
]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Python that has this one's packages but the absent ones, and the folders linked as `seqdis`."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(
        subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    )
    links: dict[str, Path] = {}
    for found in distributions():
        if found.metadata["Name"].lower() not in ABSENT:
            for file in found.files or ():
                if file.parts[0] not in ("..", "__pycache__") and not file.parts[0].endswith(".pth"):
                    links[file.parts[0]] = Path(str(found.locate_file(file.parts[0])))
    for name, target in links.items():
        (packages / name).symlink_to(target)
    (folder / "site" / "seqdis").mkdir(parents=True)
    for room in ("bench", "methods", "datasets", "judges", "results"):
        (folder / "site" / "seqdis" / room).symlink_to(ROOT / room)
    return folder


def bench(machine: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    alone = ["unshare", "-rn"] if _can_leave_the_network() else []
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(machine / "home"),
        "PYTHONPATH": str(machine / "site"),
        "SEQDIS_DATA": str(machine / "data"),
        "OMP_NUM_THREADS": "1",
        "SEQDIS_COMMIT": "ab" * 20,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [*alone, str(machine / "venv/bin/python"), "-P", "-m", "seqdis.bench.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=machine,
        env=environment,
        timeout=400,
    )


def _can_leave_the_network() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode == 0
    )


def test_the_python_lacks_what_it_should_lack(machine: Path) -> None:
    code = (
        "import importlib.util as u, seqdis.bench; print([n for n in ('submitit', 'pooch', 'soundfile', 'torch') "
        "if u.find_spec(n)], seqdis.bench.__file__)"
    )
    done = subprocess.run(
        [str(machine / "venv/bin/python"), "-P", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(machine / "site"), "PATH": os.environ["PATH"]},
    )
    assert done.stdout.startswith("['torch'] ")
    assert str(machine / "site") in done.stdout


def test_version_and_doctor_answer_where_nothing_is_installed(machine: Path) -> None:
    version = bench(machine, "--version")
    assert version.stdout.startswith("seqdis-bench "), version.stderr
    assert "unknown" not in version.stdout
    found = {check["check"]: check["state"] for check in json.loads(bench(machine, "doctor", "--json").stdout)}
    assert (found["submitit"], found["pooch"], found["soundfile"]) == ("missing", "missing", "missing")
    assert "wrong" not in found.values()


def test_changed_records_are_found_out_where_nothing_is_installed(machine: Path, make_record: Any) -> None:
    record = make_record()
    for name, seed in (("whole", record["cell"]["seed"]), ("changed", record["cell"]["seed"] + 1)):
        changed = {**record, "cell": {**record["cell"], "seed": seed}}
        (machine / f"{name}.json").write_text(json.dumps(changed))
    assert "config or cell was changed" not in bench(machine, "validate", "whole.json").stdout
    assert "config or cell was changed" in bench(machine, "validate", "changed.json").stdout


@pytest.mark.slow
def test_real_sprites_from_sheets_to_packed_records(machine: Path, tmp_path: Path) -> None:
    folder = os.environ.get("SEQDIS_TEST_DATA")
    if not folder:
        pytest.skip("SEQDIS_TEST_DATA names no folder with the LPC sheets")
    prepared = bench(machine, "data", "prepare", "sprites", "--from", f"{folder}/lpc-sprites", "--size", "32")
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    done = bench(
        machine,
        "run",
        "--methods",
        "dsvae",
        "--datasets",
        "sprites",
        "--source",
        "real",
        *TINY,
        "--workers",
        "1",
        "--time-budget",
        "5m",
        "--pack-to",
        "packed",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (cell,) = (machine / "runs" / "cells").iterdir()
    figure = bench(machine, "figure", "swap", str(cell))
    assert figure.returncode == 0, figure.stdout + figure.stderr
    from seqdis.bench.records.importing import import_packed
    from seqdis.bench.records.packing import packs

    taken = import_packed(packs(machine / "packed"), tmp_path)
    assert taken.taken == [cell.name]
    record = json.loads((tmp_path / "cells" / cell.name / "record.json").read_text())
    assert record["data"]["source"] == "real"
    assert record["judge"]["name"] == "sprites-real-32"
    # A clone with its .git knows its commit; a copy without believes what it is told.
    assert len(record["code"]["commit"]) == 40
