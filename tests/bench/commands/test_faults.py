"""What machines do to a run: kills at random moments, full and read-only disks, clocks that go back, two at once.

After each the records are those of an undisturbed run, no file is half, and a message says what to do. In short here; in
full, with a hundred kills:

    SEQDIS_KILLS=100 python -m pytest tests/bench/commands/test_faults.py
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seqdis.bench import cli
from seqdis.bench.core.exits import DONE, USER
from seqdis.bench.records.record import RECORD

KILLS = int(os.environ.get("SEQDIS_KILLS") or 2)
LINE = [
    *(
        "run",
        "--methods",
        "dsvae",
        "--datasets",
        "sprites",
        "--preset",
        "quick",
        "--source",
        "synthetic",
        "--workers",
        "1",
    ),
    *("--set", "training.steps=24", "--set", "training.validations=2", "--set", "draws=2", "--set", "max_clips=64"),
    *("--seeds", "2", "--set", "training.log_every=4"),
]
PARTS = ("training", "cell", "config", "data", "judge", "metrics", "protocol")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def start(out: Path, data: Path, **environment: str) -> subprocess.Popen[str]:
    """The line in a session of its own, so that all its processes can be killed together."""
    return subprocess.Popen(
        [sys.executable, "-m", "seqdis.bench.cli", *LINE, "--out", f"{out}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "SEQDIS_DATA": f"{data}", "OMP_NUM_THREADS": "1", "SEQDIS_HEARTBEAT": "0.5", **environment},
    )


def family(pid: int) -> list[int]:
    """A process and all below it: workers have sessions of their own."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def ended(process: subprocess.Popen[str]) -> str:
    said = process.communicate(timeout=300)[0]
    assert process.returncode == DONE, said
    return said


def records(out: Path) -> dict[str, Any]:
    """What of the records must not depend on what happened."""
    found = {path.parent.name: json.loads(path.read_text()) for path in out.glob(f"cells/*/{RECORD}")}
    return {name: {part: record[part] for part in PARTS} for name, record in found.items()}


def check_whole(out: Path) -> None:
    """Every JSON file that has its name is whole."""
    for path in out.rglob("*.json"):
        if not path.name.startswith("."):
            json.loads(path.read_text())


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    """The records, and the seconds that they took."""
    out = tmp_path_factory.mktemp("undisturbed")
    began = time.monotonic()
    ended(start(out, data))
    assert len(records(out)) == 2
    return records(out), time.monotonic() - began


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(
    undisturbed: tuple[dict[str, Any], float], data: Path, tmp_path: Path
) -> None:
    wanted, took = undisturbed
    generator, killed, grid, finished = random.Random(0), 0, 0, 0
    while killed < KILLS:
        out = tmp_path / f"{grid}"
        process = start(out, data)
        try:
            process.wait(generator.uniform(0.0, took))
        except subprocess.TimeoutExpired:
            for pid in family(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            killed += 1
        process.communicate()
        check_whole(out)
        assert all(wanted[name] == record for name, record in records(out).items())
        if process.returncode == DONE:
            grid, finished = grid + 1, finished + 1
            assert records(out) == wanted
            shutil.rmtree(out)
    ended(start(tmp_path / f"{grid}", data))
    assert records(tmp_path / f"{grid}") == wanted
    print(f"{killed} kills, {finished + 1} grids finished with the records of an undisturbed one")


@pytest.mark.slow
def test_two_grids_in_one_folder_share_the_work(
    undisturbed: tuple[dict[str, Any], float], data: Path, tmp_path: Path
) -> None:
    both = [start(tmp_path / "runs", data) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert all(process.returncode in (DONE, 1) for process in both), said
    ended(start(tmp_path / "runs", data))
    assert records(tmp_path / "runs") == undisturbed[0]


BACK = """
import time
_began, _time = time.monotonic(), time.time
time.time = lambda: _time() - (7200 if time.monotonic() - _began > 3 else 0)
"""


@pytest.mark.slow
def test_a_clock_that_goes_back_changes_nothing(
    undisturbed: tuple[dict[str, Any], float], data: Path, tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BACK)
    ended(start(tmp_path / "runs", data, PYTHONPATH=f"{tmp_path / 'site'}"))
    assert records(tmp_path / "runs") == undisturbed[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]).returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


Lines = dict[str, list[str]]


@pytest.fixture
def lines(tmp_path: Path, small_disk: Path, make_record: Any, store_record: Any) -> Lines:
    """Commands that write, and an earlier output of each on the disk."""
    runs = tmp_path / "runs"
    for seed in range(2):
        path = store_record(runs, make_record(seed=seed))
        path.with_name("config.json").write_text(json.dumps({"cell": {"seed": seed}}))
    return {
        "table": ["table", "--out", f"{runs}", "--output", f"{small_disk / 'table.csv'}"],
        "figure": ["figure", "curves", "--out", f"{runs}", "--out-dir", f"{small_disk / 'figures'}"],
        "publish": ["publish", "--runs", f"{runs}", "--out", f"{small_disk / 'site'}", "--clips", "none"],
        "pack": ["pack", f"{runs}", f"{small_disk / 'packs'}"],
        "import": ["import", f"{runs}", "--out", f"{small_disk / 'imported'}"],
    }


def content(folder: Path) -> dict[str, bytes]:
    """Every file that has its name, but what a lock leaves."""
    return {
        f"{path.relative_to(folder)}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "ballast"
    }


@pytest.mark.parametrize("name", ["table", "publish", "pack", "import"])
def test_a_disk_that_fills_at_every_write_in_turn(
    name: str, lines: Lines, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = list[dict[str, bytes]]()
    step = 4096 * (8 if name == "publish" else 1)
    for free in range(0, 1 << 20, step):
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"")
        _fill(ballast, free, small_disk)
        code = cli.main(lines[name])
        said = capsys.readouterr()
        if code == DONE and "no space left" not in said.err:
            break
        assert code in (1, USER)
        assert "no space left" in said.err + said.out, said
        states.append(content(small_disk))
    else:
        pytest.fail("the disk was never large enough")
    whole = content(small_disk)
    assert whole
    assert states
    assert all(state.items() <= whole.items() for state in states)  # what was there was whole


def _fill(ballast: Path, free: int, disk: Path) -> None:
    room = os.statvfs(disk)
    with open(ballast, "wb") as file:
        file.write(bytes(max(0, room.f_bavail * room.f_frsize - free)))


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)


@pytest.mark.parametrize("name", ["table", "publish", "pack", "import"])
def test_a_disk_that_may_only_be_read(
    name: str, lines: Lines, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remount(small_disk, "ro")
    code = cli.main(lines[name])
    said = capsys.readouterr().err
    remount(small_disk, "rw")
    assert code in (1, USER)
    assert "Read-only file system" in said
    assert f"{small_disk}" in said
    assert not content(small_disk)
