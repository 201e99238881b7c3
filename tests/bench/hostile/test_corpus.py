"""Every hostile case gets its answer: it is refused in a sentence that says why, or taken; never a traceback.

In-process, each in a folder of its own, in which nothing may appear outside of what the command was told to write.
"""

from __future__ import annotations

import re
import signal
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from seqdis.bench import cli
from seqdis.bench.cell.__main__ import take_threads
from seqdis.bench.cell.progress import ProgressFile
from seqdis.bench.cell.report import cells_beside
from seqdis.bench.core.environment import MALLOC
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE
from seqdis.bench.core.lease import Lease
from seqdis.bench.core.rules import REORDERING

from . import corpora, lines
from .cases import TAKEN, Case

CASES = [
    *lines.command_lines(),
    *lines.settings(),
    *(c for c in lines.environments() if c.line),
    *corpora.archives(),
    *corpora.audio(),
    *corpora.images(),
]
HANGS = 15
"""Seconds; the slowest take two."""
LONGEST = 6000
"""Characters of an answer: what is hostile is not echoed whole."""


def is_harmless(text: str) -> bool:
    """Whether a terminal shows a text as it is."""
    return not any(char in REORDERING or (unicodedata.category(char) == "Cc" and char not in "\n\t\r") for char in text)


def hangs(number: int, frame: object) -> None:
    raise AssertionError("it hangs")


@pytest.fixture
def watch() -> Iterator[None]:
    """Ends a case that waits for ever."""
    signal.signal(signal.SIGALRM, hangs)
    signal.alarm(HANGS)
    yield
    signal.alarm(0)


@pytest.mark.usefixtures("watch")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_case_gets_its_answer(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "case"
    root.mkdir()
    case.lay(root)
    monkeypatch.chdir(root)
    for name, value in MALLOC.items():  # without them `bench perf` starts the process anew
        monkeypatch.setenv(name, value)
    for name, value in case.variables.items():
        monkeypatch.setenv(name, value)
    try:
        code = cli.main([word.replace("{root}", str(root)) for word in case.line])
    except SystemExit as end:  # argparse
        code = int(end.code or 0)
    captured = capsys.readouterr()
    said = captured.err + captured.out
    answer = f"exit code {code}: {said[:500]!r}"
    assert code == DONE if case.answer == TAKEN else code in (1, 2), answer
    assert re.search(case.answer, said) is not None, answer
    assert case.answer == TAKEN or len(captured.err) < LONGEST, answer
    assert "Traceback" not in said, answer
    assert is_harmless(said), answer
    assert [path.name for path in tmp_path.iterdir()] == ["case"]
    assert not list(root.rglob("owned"))


READERS = {
    "SEQDIS_HEARTBEAT": lambda folder: Lease(folder),
    "SEQDIS_PROGRESS_SECONDS": ProgressFile,
    "SEQDIS_THREADS": lambda folder: take_threads(),
    "SEQDIS_BESIDE": lambda folder: cells_beside(),
}


@pytest.mark.parametrize("case", [c for c in lines.environments() if not c.line], ids=lambda case: case.name)
def test_a_variable_of_ours_is_a_number_in_its_range_or_one_sentence(case, tmp_path, monkeypatch):
    ((name, value),) = case.variables.items()
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"{name} is .*: it is a number from") as caught:
        READERS[name](tmp_path)
    assert len(str(caught.value)) < 300
