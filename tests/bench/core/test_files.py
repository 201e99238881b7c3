"""Files are whole or absent, whatever happens to the writer."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seqdis.bench.core import files
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import (
    canonical_json,
    make_folder,
    publish,
    read_json,
    write_json,
    write_output,
    writing,
    writing_folder,
)
from seqdis.bench.core.seeds import derive


def test_writing_a_block_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_half_way() -> None:
        with writing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from seqdis.bench.core.files import writing
        with writing(Path({str(path)!r})) as temporary:
            temporary.write_text("{{half")
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    assert read_json(path) == {"old": 1}


def test_publish_first_writer_wins(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    assert publish(path, b"first")
    assert not publish(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system as exFAT is: link(2) says EPERM."""

    def link(*names: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)


@pytest.mark.usefixtures("without_links")
def test_publish_first_writer_wins_without_hard_links(tmp_path: Path) -> None:
    path, won = tmp_path / "record.json", []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        if publish(path, b"%d" % number):
            won.append(number)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [path.read_bytes()] == [b"%d" % number for number in won]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("without_links")
def test_claim_of_a_process_that_died_does_not_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    monkeypatch.setattr(files, "CLAIM_SECONDS", 0.1)
    (tmp_path / ".record.json.claim").mkdir()
    assert publish(path, b"first")
    assert list(tmp_path.iterdir()) == [path]


def test_writing_folder_second_one_keeps_the_first(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with writing_folder(tmp_path / "cache") as temporary:
            (temporary / "x").write_text(text)
    assert (tmp_path / "cache" / "x").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_files_are_readable_by_others_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_json(tmp_path / "a.json", 1)
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk_is_one_sentence(tmp_path: Path) -> None:
    def fill() -> None:
        with writing(tmp_path / "a"), open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(UserError, match="no space left"):
        fill()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write"):
        write_json(tmp_path / "a.json", 1)


def write_each(path: Path) -> Iterator[Callable[[], object]]:
    yield lambda: write_json(path, 1)
    yield lambda: write_output(path, b"x")
    yield lambda: publish(path, b"x")

    def folder() -> None:
        with writing_folder(path):
            pass

    yield folder


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda root: root / ("x" * 300), "name is too long"),
        (lambda root: root / "circle" / "a", "does not exist: make that folder|links lead in a circle|Too many levels"),
        (lambda root: root / "file" / "a", "a folder is needed|Not a directory"),
        (lambda root: Path("/proc/none/a"), "cannot write /proc/none/a"),
    ],
)
def test_places_where_nothing_can_be_written_are_one_sentence(
    tmp_path: Path, make: Callable[[Path], Path], text: str, number: int
) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match=text):
        list(write_each(make(tmp_path)))[number]()
    assert (tmp_path / "file").read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_where_a_file_is_meant_stays(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    for write in (write_json, lambda path, _: write_output(path, b"x")):
        with pytest.raises(UserError, match="is a folder"):
            write(tmp_path / "a.json", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_library_s_own_words_for_a_full_disk_are_one_sentence(tmp_path: Path) -> None:
    def save() -> None:
        with writing(tmp_path / "a"):
            raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(UserError, match="no space left to write"):
        save()
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_another_file_does_not_blame_the_output(tmp_path: Path) -> None:
    def read() -> None:
        with writing(tmp_path / "out" / "a"):
            (tmp_path / "none").read_bytes()

    with pytest.raises(UserError, match=r"/none: No such file"):
        read()


def test_read_json_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        read_json(tmp_path / "bad.json")


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("inf"))


def test_derive_is_the_same_everywhere_and_differs_by_part() -> None:
    assert derive(0, "step", 1) == 4570293211867536398
    seeds = {derive(seed, purpose, step) for seed in range(5) for purpose in ("step", "order") for step in range(50)}
    assert len(seeds) == 500
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive("a", "bc") != derive("ab", "c")


def test_output_through_a_link_replaces_what_it_leads_to(tmp_path: Path) -> None:
    paper = tmp_path / "shared" / "table.tex"
    paper.parent.mkdir()
    link = tmp_path / "table.tex"
    link.symlink_to("shared/table.tex")
    for text in (b"first", b"second"):  # the target is not there yet, then it is
        write_output(link, text)
        assert link.is_symlink()
        assert paper.read_bytes() == text
    assert list(paper.parent.iterdir()) == [paper]


def test_output_into_a_pipe_reaches_its_reader(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        write_output(pipe, b"x" * 100_000)
        assert reader.communicate(timeout=30)[0] == b"x" * 100_000
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_output_to_stdout_goes_after_what_is_there(tmp_path: Path, name: str) -> None:
    script = (
        "from pathlib import Path; from seqdis.bench.core.files import write_output; "
        f"write_output(Path({name!r}), b'new')"
    )
    path = tmp_path / "o"
    path.write_text("old ")
    with open(path, "ab") as out:
        subprocess.run([sys.executable, "-c", script], check=True, stdout=out, cwd=tmp_path)
    assert path.read_text() == "old new"
    assert list(tmp_path.iterdir()) == [path]


def test_output_where_a_folder_is_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for path in (tmp_path, tmp_path / "link"):
        with pytest.raises(UserError, match="is a folder"):
            write_output(path, b"x")


def test_link_that_leads_nowhere_says_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path / "scratch" / "runs")
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "runs", tmp_path / "runs" / "cells" / "x"):
        with pytest.raises(UserError, match=r"runs is a link to .*scratch/runs, which does not exist"):
            make_folder(path)
        with pytest.raises(UserError, match="is a link to"):
            write_json(path / "a.json", 1)
        with pytest.raises(UserError, match="is a link to"), writing_folder(path / "a"):
            pass
    with pytest.raises(UserError, match="is a file, where a folder is needed"):
        make_folder(tmp_path / "file" / "x")
    assert not (tmp_path / "scratch").exists()
