"""The wheel holds every module and data file of the tree, and lists without the heavy dependencies."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("bench", "methods", "datasets", "judges", "results")
DATA = {".safetensors", ".json", ".csv", ".typed", ".html", ".css", ".js", ".txt", ".j2", ".svg"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what git tracks, so that stray files of a working tree cannot hide a gap."""
    source = tmp_path_factory.mktemp("source")
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(source)], check=True, capture_output=True
    )
    return next(out.glob("*.whl"))


def tracked() -> set[str]:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", *ROOMS], capture_output=True, text=True, check=True)
    names = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    return {
        name
        for name in names
        if name.endswith(".py")
        or (Path(name).suffix in DATA and not name.startswith(("results/records", "results/leaderboard")))
        or name.startswith("bench/page/")
    }


@pytest.mark.wheel
def test_wheel_holds_the_tree(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name.removeprefix("seqdis/") for name in archive.namelist() if name.startswith("seqdis/")}
    front = "bench/front/"  # installed as the package above the rooms
    assert inside == {name.removeprefix(front) for name in tracked()}
    assert not any(name.split("/")[0] in ROOMS for name in zipfile.ZipFile(wheel).namelist())


@pytest.mark.wheel
def test_wheel_lists_in_a_clean_environment_without_dependencies(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    binaries = tmp_path / "venv" / "bin"
    subprocess.run([str(binaries / "pip"), "install", "-q", "--no-deps", str(wheel)], check=True, capture_output=True)
    done = subprocess.run([str(binaries / "bench"), "list"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("dsvae", "cdsvae", "sprites", "mug", "comparison", "quick"):
        assert name in done.stdout
    helped = subprocess.run([str(binaries / "bench"), "--help"], capture_output=True, text=True, cwd=ROOT)
    assert helped.returncode == 0
