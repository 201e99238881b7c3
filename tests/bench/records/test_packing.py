"""Packs: everything comes back as it was, files stay below their limit, and what is damaged or foreign is refused."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqdis.bench.core.errors import UserError
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.plan.cells import Planned, grid, plan
from seqdis.bench.records import packing
from seqdis.bench.records.clips import save_clips
from seqdis.bench.records.importing import import_packed
from seqdis.bench.records.packing import Press, pack, packs
from seqdis.bench.records.record import write_record
from seqdis.bench.records.store import CHECKPOINT, Store

LIMIT = 1 << 20


@pytest.fixture(scope="module")
def cells() -> list[Planned]:
    return plan(
        grid([MethodRef("dsvae"), MethodRef("cdsvae")], ["sprites"], source="synthetic", preset="quick", seeds=range(2))
    )


def noise(n: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(n)


def clip_arrays(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, 256, (*lead, 4, 16, 16, 3), dtype=np.uint8)
        for name, lead in (("originals", (6,)), ("swaps", (6, 6)), ("samples", (9,)))
    }


@pytest.fixture
def store(tmp_path: Path, cells: list[Planned], valid_record: Any) -> Store:
    """Two finished cells with clips, one failed one, one with a checkpoint of 2.5 MiB."""
    made = Store(tmp_path / "runs")
    for number, cell in enumerate(cells):
        folder = made.add(cell.id, cell.config)
        (folder / "log.txt").write_text(f"log of {cell.id}\n" * 20_000)
        if number < 2:
            write_record(folder, valid_record(cell))
            save_clips(folder, clip_arrays(number))
    (made.folder(cells[2].id) / "error.json").write_text('{"reason": "it broke"}')
    (made.folder(cells[3].id) / CHECKPOINT).write_bytes(noise(5 << 19, 1))
    return made


@pytest.fixture
def valid_record() -> Any:
    """Records as the suite writes them, of methods that never ran: status "n/a"."""
    from seqdis.bench.cell.report import not_applicable

    return lambda cell: not_applicable(cell.config, "a test's record")


def test_records_clips_and_logs_come_back_as_they_were(store: Store, cells: list[Planned], tmp_path: Path) -> None:
    packed = pack(store, tmp_path / "packed", limit=LIMIT)
    assert (packed.records, packed.clips, packed.states) == (2, 2, 1)
    assert not packed.left_out
    taken = import_packed(packs(tmp_path / "packed"), tmp_path / "there")
    assert sorted(taken.taken) == sorted(cell.id for cell in cells[:2])
    assert not taken.refused
    assert taken.clips == 2
    there = Store(tmp_path / "there")
    for cell in cells[:2]:
        for name in ("record.json", "clips.npz"):
            assert (there.folder(cell.id) / name).read_bytes() == (store.folder(cell.id) / name).read_bytes()
        log = (there.folder(cell.id) / "log.txt").read_text()
        assert (store.folder(cell.id) / "log.txt").read_text().endswith(log)
        assert len(log) == packing.LOG_BYTES
    assert sorted(there.ids()) == sorted(cell.id for cell in cells[:2])
    again = import_packed(packs(tmp_path / "packed"), tmp_path / "there")
    assert sorted(again.known) == sorted(cell.id for cell in cells[:2])


def test_state_is_carried_in_parts_and_taken_over_only_when_asked_for(
    store: Store, cells: list[Planned], tmp_path: Path
) -> None:
    packed = pack(store, tmp_path / "packed", limit=LIMIT)
    assert sum("state" in path.name for path in packed.files) == 3
    taken = import_packed(packs(tmp_path / "packed"), tmp_path / "there", state=True)
    assert taken.states == [cells[3].id]
    source, target = (place.folder(cells[3].id) for place in (store, Store(tmp_path / "there")))
    assert (target / CHECKPOINT).read_bytes() == (source / CHECKPOINT).read_bytes()
    assert json.loads((target / "config.json").read_text()) == cells[3].config.to_json()
    # What was trained on there since is not thrown back.
    (target / CHECKPOINT).write_bytes(b"newer")
    assert import_packed(packs(tmp_path / "packed"), tmp_path / "there", state=True).states == []
    assert (target / CHECKPOINT).read_bytes() == b"newer"


@pytest.mark.parametrize("limit", [1 << 17, 1 << 20, 15 << 20])
def test_no_file_is_larger_than_the_limit_nor_are_there_too_many(store: Store, tmp_path: Path, limit: int) -> None:
    packed = pack(store, tmp_path / "packed", limit=limit, files=3)
    assert packed.files
    assert all(path.stat().st_size <= limit for path in packed.files)
    assert len(packed.files) <= 3
    assert sorted(packed.files) == sorted(path for path in (tmp_path / "packed").iterdir())
    assert packed.records == 2
    assert bool(packed.left_out) == (limit < 15 << 20)


def test_what_lies_behind_a_link_is_not_packed(store: Store, cells: list[Planned], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("SECRET")
    for cell, name in zip(cells, ("log.txt", "clips.npz", "error.json", CHECKPOINT), strict=True):
        path = store.folder(cell.id) / name
        path.unlink()
        path.symlink_to(tmp_path / "secret")
    packed = pack(store, tmp_path / "packs")
    assert {text.rpartition(": ")[2] for text in packed.left_out} == {"a link"}
    assert len(packed.left_out) == 4
    for path in packed.files:
        with zipfile.ZipFile(path) as zipped:
            assert all(b"SECRET" not in zipped.read(name) for name in zipped.namelist())


def test_state_beyond_the_limit_is_named_and_left_out(
    store: Store, tmp_path: Path, cells: list[Planned], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "STATE_BYTES", 1 << 20)
    packed = pack(store, tmp_path / "packed")
    assert packed.states == 0
    (sentence,) = packed.left_out
    assert cells[3].id in sentence
    assert "begins anew" in sentence


def test_packing_again_leaves_nothing_of_the_earlier_pack(store: Store, cells: list[Planned], tmp_path: Path) -> None:
    pack(store, tmp_path / "packed", limit=LIMIT)
    (store.folder(cells[3].id) / CHECKPOINT).unlink()
    packed = pack(store, tmp_path / "packed")
    assert {path.name for path in (tmp_path / "packed").iterdir()} == {"results-records-1.zip", "results-clips-1.zip"}
    before = {path: path.read_bytes() for path in packed.files}
    assert {path: path.read_bytes() for path in pack(store, tmp_path / "packed").files} == before


def test_file_is_deflated_once_and_again_only_when_it_changes(
    store: Store, cells: list[Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deflated = []
    really = zlib.compressobj

    def counted(*arguments: Any) -> Any:
        deflated.append(arguments)
        return really(*arguments)

    monkeypatch.setattr(packing.zlib, "compressobj", counted)
    press = Press()
    packed = pack(store, tmp_path / "packed", press=press)
    names = [
        member.filename
        for path in packed.files
        for member in zipfile.ZipFile(path).infolist()
        if member.compress_type == zipfile.ZIP_DEFLATED
    ]
    assert len(deflated) == len(set(names)) > 4
    deflated.clear()
    (store.folder(cells[2].id) / "error.json").write_text('{"reason": "something else"}')
    packed = pack(store, tmp_path / "packed", press=press)
    assert len(deflated) == 1
    assert {path.name: path.read_bytes() for path in packed.files} == {
        path.name: path.read_bytes() for path in pack(store, tmp_path / "anew").files
    }


def test_packs_are_what_zipfile_writes(store: Store, tmp_path: Path) -> None:
    for path in pack(store, tmp_path / "packed", limit=LIMIT).files:
        copy = io.BytesIO()
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as written:
            assert archive.testzip() is None
            for member in archive.infolist():
                info = zipfile.ZipInfo(member.filename, date_time=(1980, 1, 1, 0, 0, 0))
                info.compress_type = member.compress_type
                written.writestr(info, archive.read(member))
        assert path.read_bytes() == copy.getvalue()


def test_record_that_is_not_valid_is_refused_with_its_clips(store: Store, cells: list[Planned], tmp_path: Path) -> None:
    path = store.folder(cells[0].id) / "record.json"
    record = json.loads(path.read_text())
    record["cell"]["seed"] = -1
    path.write_text(json.dumps(record))
    pack(store, tmp_path / "packed")
    taken = import_packed(packs(tmp_path / "packed"), tmp_path / "there")
    assert taken.taken == [cells[1].id]
    assert len(taken.refused) == 1
    assert taken.clips == 1
    assert not (Store(tmp_path / "there").folder(cells[0].id)).exists()


def test_state_that_is_cut_or_of_another_config_is_not_taken_over(
    store: Store, cells: list[Planned], tmp_path: Path
) -> None:
    pack(store, tmp_path / "packed", limit=LIMIT)
    (tmp_path / "packed" / "results-state-2.zip").unlink()
    assert import_packed(packs(tmp_path / "packed"), tmp_path / "there", state=True).states == []
    config = json.loads((store.folder(cells[3].id) / "config.json").read_text())
    config["training"]["steps"] += 1
    (store.folder(cells[3].id) / "config.json").write_text(json.dumps(config))
    pack(store, tmp_path / "packed", limit=LIMIT)
    assert import_packed(packs(tmp_path / "packed"), tmp_path / "there", state=True).states == []
    assert cells[3].id not in set(Store(tmp_path / "there").ids())


@pytest.mark.parametrize("member", ["../escaped", "/escaped", "cells/../../escaped"])
def test_file_that_would_be_unpacked_elsewhere_is_refused(tmp_path: Path, member: str) -> None:
    (tmp_path / "packed").mkdir()
    with zipfile.ZipFile(tmp_path / "packed" / "results-records-1.zip", "w") as archive:
        archive.writestr(member, "harm")
    with pytest.raises(UserError, match="leads out of its folder"):
        import_packed(packs(tmp_path / "packed"), tmp_path / "there")
    assert not list(tmp_path.rglob("escaped"))
    assert not [path for path in (tmp_path / "there").iterdir() if path.name != "cells"]


def test_bytes_that_are_no_pack_are_no_pack(tmp_path: Path) -> None:
    (tmp_path / "file.zip").write_bytes(b"no zip")
    assert packs(tmp_path / "file.zip") == []
    assert packs(tmp_path) == []
