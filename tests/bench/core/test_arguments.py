"""The words of processes that launchers start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seqdis.bench.core.arguments import folder_and_options
from seqdis.bench.core.errors import UserError


def test_folder_and_options_are_told_apart() -> None:
    assert folder_and_options(["a/b"], ("device",)) == (Path("a/b"), {})
    words = ["cell", "--data-dir", "/data with blanks", "--device", "cuda:1"]
    assert folder_and_options(words, ("device", "data-dir")) == (
        Path("cell"),
        {"data-dir": "/data with blanks", "device": "cuda:1"},
    )


@pytest.mark.parametrize("words", [[], ["--device", "cpu"], ["cell", "--device"], ["cell", "--size", "3"], ["a", "b"]])
def test_other_words_are_refused_with_those_there_are(words: list[str]) -> None:
    with pytest.raises(UserError, match=r"FOLDER \[--device VALUE\]"):
        folder_and_options(words, ("device",))


@pytest.mark.parametrize(
    "process",
    [["seqdis.bench.cell"], ["seqdis.bench.cli", "cell"], ["seqdis.bench.launch.slurm.prepare"]],
)
def test_process_without_its_folder_says_so_and_ends_with_2(process: list[str], tmp_path: Path) -> None:
    line = [sys.executable, "-P", "-m", *process, str(tmp_path / "nowhere")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("bench: ")
    assert "config.json does not exist" in done.stderr
