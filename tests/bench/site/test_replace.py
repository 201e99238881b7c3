"""A folder that is replaced: wherever it is, and whoever replaces it at the same time."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from pathlib import Path

import pytest

from seqdis.bench.core.errors import UserError
from seqdis.bench.site import replace
from seqdis.bench.site.replace import MARKER, replacing


def put(out: Path, text: str, name: str = "index.html") -> None:
    with replacing(out) as aside:
        (aside / MARKER).write_text("")
        (aside / name).write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_the_folder_that_one_is_in_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    (site / ".git" / "deep").mkdir(parents=True)
    for here, out in ((site, Path(".")), (site / ".git", Path("..")), (site / ".git" / "deep", site)):
        monkeypatch.chdir(here)
        before = site.stat().st_ino
        put(out, str(here), name=f"x{here.name}.html")
        assert site.stat().st_ino == before
        assert names(site) == [".git", MARKER, f"x{here.name}.html"]
    assert names(tmp_path) == ["site"]


def test_a_folder_of_other_files_is_refused_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="did not write"):
        put(Path("."), "new")
    assert names(tmp_path) == ["thesis.tex"]


def test_files_that_come_while_the_site_is_made_are_kept(tmp_path: Path) -> None:
    site = tmp_path / "site"

    def write_while_it_is_made() -> None:
        with replacing(site):
            site.mkdir()
            (site / "thesis.tex").write_text("precious")

    with pytest.raises(UserError, match="did not write"):
        write_while_it_is_made()
    assert names(site) == ["thesis.tex"]
    assert names(tmp_path) == ["site"]


def test_content_that_cannot_be_put_in_place_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    put(site, "old")
    monkeypatch.chdir(site)

    def full(source: Path, target: Path) -> None:
        Path(target).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(replace.shutil, "move", full)
    with pytest.raises(OSError, match="disk full"):
        put(site, "new")
    assert (site / "index.html").read_text() == "old"
    assert names(site) == [MARKER, "index.html"]


def test_a_link_that_leads_nowhere_above_the_site_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="is not a folder"):
        put(tmp_path / "link", "new")


def publisher(out: Path, rounds: int, outcomes: multiprocessing.Queue) -> None:
    found: Counter[str] = Counter()
    for number in range(rounds):
        try:
            put(out, f"{os.getpid()} {number}")
            found["ok"] += 1
        except Exception as error:
            found[repr(error)] += 1
    outcomes.put(found)


def test_several_that_replace_one_folder_at_once_take_turns(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / ".git").mkdir(parents=True)
    context = multiprocessing.get_context("fork")
    outcomes = context.Queue()
    processes = [context.Process(target=publisher, args=(site, 40, outcomes)) for _ in range(4)]
    for process in processes:
        process.start()
    found = sum((outcomes.get(timeout=60) for _ in processes), Counter())
    for process in processes:
        process.join()
    assert found == {"ok": 160}
    assert names(tmp_path) == ["site"]
    assert names(site) == [".git", MARKER, "index.html"]
