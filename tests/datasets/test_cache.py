from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.datasets.cache import (
    array_digest,
    cache_folder,
    is_good,
    open_cache,
    prepare_command,
    preparing,
    verify_cache,
    writing_cache,
)

WORDS: dict[str, Any] = {"revision": "r1", "title": "Toy", "command": "bench data prepare toy"}


def write(folder: Path, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    with writing_cache(folder, {"revision": "r1", "note": "kept"}) as writer:
        writer.save("labels", rng.integers(0, 9, 50))
        stream = writer.stream("x", (50, 3, 200, 200), np.uint8)
        for start in (30, 0, 10, 20, 40):
            stream.write(start, rng.integers(0, 256, (10, 3, 200, 200), dtype=np.uint8))


def test_written_cache_opens_with_the_same_arrays_and_verifies(tmp_path: Path) -> None:
    write(tmp_path / "toy")
    cache = open_cache(tmp_path / "toy", **WORDS)
    rng = np.random.default_rng(0)
    assert (cache.array("labels") == rng.integers(0, 9, 50)).all()
    blocks = {start: rng.integers(0, 256, (10, 3, 200, 200), dtype=np.uint8) for start in (30, 0, 10, 20, 40)}
    assert (cache.array("x") == np.concatenate([blocks[start] for start in sorted(blocks)])).all()
    assert cache.meta["note"] == "kept"
    checked = verify_cache(tmp_path / "toy", **WORDS)
    assert checked["digest"] == cache.digest
    assert set(checked) == {"x", "labels", "digest"}


def test_same_content_has_the_same_digest_and_other_content_another(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write(tmp_path / name, seed)
    digests = [open_cache(tmp_path / name, **WORDS).digest for name in "abc"]
    assert digests[0] == digests[1] != digests[2]


def test_tensor_shares_the_mapping_and_writing_to_it_leaves_the_file_alone(tmp_path: Path) -> None:
    write(tmp_path / "toy")
    cache = open_cache(tmp_path / "toy", **WORDS)
    cache.tensor("x").zero_()
    assert verify_cache(tmp_path / "toy", **WORDS)["digest"] == cache.digest


def test_missing_cache_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"not prepared.*bench data prepare toy"):
        open_cache(tmp_path / "toy", **WORDS)


def _truncate(folder: Path) -> None:
    with open(folder / "x.npy", "r+b") as file:
        file.truncate(1000)


def _remove(folder: Path) -> None:
    (folder / "x.npy").unlink()


def _relabel(folder: Path) -> None:
    array = np.load(folder / "labels.npy")
    array[0] = (array[0] + 1) % 9
    np.save(folder / "labels.npy", array)


def _edit_meta(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    meta["arrays"]["x"]["sha256"] = "0" * 64
    (folder / "meta.json").write_text(json.dumps(meta))


def _cut_meta(folder: Path) -> None:
    (folder / "meta.json").write_text((folder / "meta.json").read_text()[:50])


def _no_meta(folder: Path) -> None:
    (folder / "meta.json").unlink()


def _object_array(folder: Path) -> None:
    size = (folder / "labels.npy").stat().st_size
    np.save(folder / "labels.npy", np.array([{}], dtype=object), allow_pickle=True)
    with open(folder / "labels.npy", "r+b") as file:
        file.truncate(size)


DAMAGES = [_truncate, _remove, _relabel, _edit_meta, _cut_meta, _no_meta, _object_array]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_cache_is_refused_with_the_command_and_prepared_anew(tmp_path: Path, damage: Any) -> None:
    folder = tmp_path / "toy"
    write(folder)
    damage(folder)
    with pytest.raises(UserError, match=r"cannot be used.*bench data prepare toy"):
        open_cache(folder, **WORDS)
    with preparing(folder, revision="r1") as needed:
        assert needed
        write(folder)
    open_cache(folder, **WORDS)


def test_other_revision_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "toy")
    with pytest.raises(UserError, match=r"'r1'.*reads 'r2'"):
        open_cache(tmp_path / "toy", revision="r2", title="Toy", command="do")


def test_a_changed_byte_in_a_large_array_is_found_by_verify(tmp_path: Path) -> None:
    write(tmp_path / "toy")
    with open(tmp_path / "toy" / "x.npy", "r+b") as file:
        file.seek(100_000)
        byte = file.read(1)
        file.seek(100_000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(UserError, match=r"x\.npy does not match.*bench data prepare toy"):
        verify_cache(tmp_path / "toy", **WORDS)


def test_failure_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with writing_cache(tmp_path / "toy", {"revision": "r1"}) as writer:
            writer.save("x", np.zeros(3))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_unfilled_stream_is_never_published(tmp_path: Path) -> None:
    def leave_rows_out() -> None:
        with writing_cache(tmp_path / "toy", {"revision": "r1"}) as writer:
            writer.stream("x", (4, 2), np.uint8).write(0, np.zeros((3, 2), np.uint8))

    with pytest.raises(ValueError, match=r"3 of 4"):
        leave_rows_out()
    assert not (tmp_path / "toy").exists()


def test_too_little_space_is_said_before_writing(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"MiB are free.*--data-dir"),
        writing_cache(tmp_path / "toy", {"revision": "r1"}, needs_bytes=1 << 60),
    ):
        pytest.fail("entered")


def test_unwritable_place_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with (
        pytest.raises(UserError, match=r"cannot write.*--data-dir"),
        writing_cache(tmp_path / "file" / "toy", {"revision": "r1"}),
    ):
        pytest.fail("entered")


def test_array_digest_is_of_the_array_alone(tmp_path: Path) -> None:
    import hashlib

    array = np.arange(3_000_000, dtype=np.int64).reshape(1000, 3000)
    np.save(tmp_path / "a.npy", array)
    assert array_digest(tmp_path / "a.npy") == hashlib.sha256(array.tobytes()).hexdigest()


def test_names_and_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQDIS_DATA", str(tmp_path))
    assert cache_folder(tmp_path, "mug", "real", 64, "subject").name == "mug-real-64-subject"
    assert cache_folder(tmp_path, "timit", "real").name == "timit-real"
    short = prepare_command("sprites", tmp_path, "synthetic", 32)
    assert short == "bench data prepare sprites --source synthetic --size 32"
    elsewhere = prepare_command("mug", tmp_path / "x", "real", 0, "--from DIR")
    assert elsewhere == f"bench data prepare mug --from DIR --data-dir {tmp_path / 'x'}"


def _prepare_slowly(folder: Path, log: Any) -> None:
    with preparing(folder, revision="r1") as needed:
        if needed:
            time.sleep(0.3)
            write(folder)
        log.put(needed)


def test_two_processes_at_once_write_one_good_cache_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    log = context.Queue()
    workers = [context.Process(target=_prepare_slowly, args=(tmp_path / "toy", log)) for _ in range(2)]
    for worker in workers:
        worker.start()
    outcomes = sorted(log.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert outcomes == [False, True]
    assert is_good(tmp_path / "toy", "r1")
    verify_cache(tmp_path / "toy", **WORDS)
    assert {path.name for path in tmp_path.iterdir()} == {"toy", ".toy.lock"}


def test_a_killed_writer_blocks_nobody(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    worker = context.Process(target=_hold, args=(tmp_path / "toy", started))
    worker.start()
    assert started.wait(60)
    worker.kill()
    worker.join(60)
    with preparing(tmp_path / "toy", revision="r1") as needed:
        assert needed
        write(tmp_path / "toy")
    open_cache(tmp_path / "toy", **WORDS)


def _hold(folder: Path, started: Any) -> None:
    with preparing(folder, revision="r1"), writing_cache(folder, {"revision": "r1"}) as writer:
        writer.save("x", np.zeros(3))
        started.set()
        time.sleep(600)


def test_what_a_killed_writer_left_is_swept_after_a_day(tmp_path: Path) -> None:
    old, fresh = tmp_path / ".toy.old.tmp", tmp_path / ".toy.new.tmp"
    for folder in (old, fresh):
        folder.mkdir()
        (folder / "x.npy").write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    with preparing(tmp_path / "toy", revision="r1") as needed:
        assert needed
    assert not old.exists()
    assert fresh.exists()
