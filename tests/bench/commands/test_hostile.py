"""Whatever one file of a run folder holds, the commands go on with the others and name it."""

from __future__ import annotations

import copy
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqdis.bench import cli
from seqdis.bench.core.errors import UserError
from seqdis.bench.records.clips import NAME, load_clips, save_clips
from seqdis.bench.records.collection import load
from seqdis.bench.tables.build import TABLES, build

HUGE = int("9" * 400)
DEEP = "[" * 100_000
VALUES: tuple[Any, ...] = (None, [], "text", -1, HUGE, {"a": [HUGE]})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the parts of a JSON value are; of lists the first item stands for all."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def changed(record: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    found = copy.deepcopy(record)
    node: Any = found
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return found


@pytest.fixture
def runs(tmp_path: Path, make_record, store_record):
    """A folder of two good records, and a way to lay others beside them."""
    for seed in range(2):
        store_record(tmp_path / "runs", make_record(seed=seed))

    def add(name: str, text: str) -> Path:
        path = tmp_path / "runs" / "cells" / name / "record.json"
        path.parent.mkdir()
        path.write_text(text)
        return path

    add.root = tmp_path / "runs"
    return add


@pytest.mark.parametrize(("method", "dataset"), [("dsvae", "sprites"), ("fhvae", "timit")])
def test_no_value_in_a_record_ends_a_table_or_the_checker(runs, make_record, capsys, method, dataset) -> None:
    good = make_record(method, dataset, seed=7)
    for number, path in enumerate(places(good)):
        if path[0] in ("config", "training") and len(path) > 3:
            continue
        for kind, value in enumerate(VALUES):
            record = changed(good, path, value)
            if path != ("cell", "id") and path != ("cell",):
                record["cell"]["id"] = f"x{number}-{kind}"
            runs(f"x{number}-{kind}", json.dumps(record, indent=1) + "\n")
    collection = load([runs.root])
    for name in TABLES:
        build(name, collection)
    for line in (["table", "--format", "json"], ["table"], ["table", "cost"]):
        assert cli.main([*line, "--out", str(runs.root)]) == 0
    assert "C-DSVAE" in capsys.readouterr().out
    assert cli.main(["validate", str(runs.root)]) == 1
    said = capsys.readouterr()
    assert "with problems" in said.err
    assert "cannot be checked" not in said.out


@pytest.mark.parametrize(
    "change",
    [
        *((("data", key), value) for key in ("splits", "frame", "factors", "headline") for value in (HUGE, "x", None)),
        *(
            ((key,), value)
            for key in ("data", "judge", "protocol", "cost", "metrics", "code")
            for value in (HUGE, None)
        ),
        *((("cell", key), HUGE) for key in ("seed", "size", "batch")),
        (("judge", "accuracy"), {"action": "high"}),
        (("protocol", "draws"), None),
        (("cost", "parameters"), HUGE),
        (("training", "steps"), HUGE),
        (("finished",), 7),
    ],
)
def test_no_value_in_a_record_ends_publish(runs, make_record, tmp_path, capsys, change) -> None:
    runs("x", json.dumps(changed(make_record("dsvae", seed=7), *change), indent=1) + "\n")
    assert cli.main(["publish", "--runs", str(runs.root), "--out", str(tmp_path / "site")]) == 0
    assert len(list((tmp_path / "site" / "cells").glob("*cdsvae*.html"))) == 2
    capsys.readouterr()


@pytest.mark.parametrize("name", ["record.json", "lease.json", "error.json", "progress.json", "config.json"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "deep", "number", "list", "bytes", "huge"])
def test_no_file_of_a_cell_ends_a_command(runs, tmp_path: Path, capsys, name: str, kind: str) -> None:
    path = runs("odd", "{}")
    path.unlink()
    path = path.parent / name
    texts = {"deep": DEEP, "number": "7", "list": "[[]]", "bytes": "\udcff", "huge": f'{{"pid": {HUGE}}}'}
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_text(texts[kind], errors="surrogateescape")
    out = ["--out", str(runs.root)]
    assert cli.main(["table", *out]) == 0
    assert cli.main(["cancel", *out]) == 0
    cli.main(["status", *out, "--all"])
    cli.main(["validate", str(runs.root)])
    cli.main(["import", str(runs.root), "--out", str(tmp_path / "other")])
    assert cli.main(["publish", "--runs", str(runs.root), "--out", str(tmp_path / "site")]) == 0
    said = capsys.readouterr()
    assert " done" in said.out
    assert "2 valid" in said.err
    assert "2 imported" in said.err
    if name == "record.json":
        assert f"{runs.root}/cells/odd/record.json" in said.out + said.err


@pytest.mark.parametrize(
    "change",
    [
        {"pid": HUGE},
        {"pid": "7"},
        {"pid": -1},
        {"pid": [7]},
        {"process": 7},
        {"process": [[], {}]},
        {"interval": "x"},
        {"interval": HUGE},
        {"interval": 1e300},
        {"interval": -1},
        {"restarts": "x"},
        {"restarts": []},
        {"host": {}},
        {"job": []},
    ],
)
def test_no_value_in_a_lease_or_progress_ends_status_or_cancel(runs, capsys, change) -> None:
    folder = runs("odd", "{}").parent
    (folder / "record.json").unlink()
    (folder / "lease.json").write_text(json.dumps({"token": "x", "host": "h", "pid": 1, "interval": 1.0} | change))
    (folder / "progress.json").write_text(json.dumps({"step": "x", "steps": [1], "epoch": {}, "seconds_left": HUGE}))
    assert cli.main(["status", "--all", "--out", str(runs.root)]) == 1
    assert cli.main(["cancel", "--out", str(runs.root)]) == 0
    assert "2 done" in capsys.readouterr().out


def npz(header: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("originals.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        npz(b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 10, 10, 10, 1)}\n"),
        npz(b"(" * 9000 + b"\n"),
        npz(b"{" * 9000 + b"\n"),
        npz(b"{'descr': 7, 'fortran_order': 1, 'shape': 'x'}\n"),
        npz(b"'''\n"),
        npz(b"\xff\n"),
        b"PK",
        b"",
    ],
)
def test_no_clips_file_ends_publish(runs, tmp_path: Path, capsys, content: bytes) -> None:
    folder = next((runs.root / "cells").iterdir())
    (folder / NAME).write_bytes(content)
    with pytest.raises(UserError):
        load_clips(folder)
    assert cli.main(["publish", "--runs", str(runs.root), "--out", str(tmp_path / "site")]) == 0
    assert f"{folder}: no clips" in capsys.readouterr().err


def test_no_flipped_byte_of_a_clips_file_is_a_traceback(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4, 3), dtype=np.uint8)
    good = save_clips(tmp_path, {"originals": frames, "samples": frames}).read_bytes()
    for place in range(0, len(good), 7):
        (tmp_path / NAME).write_bytes(good[:place] + bytes([good[place] ^ 0x5A]) + good[place + 1 :])
        try:
            load_clips(tmp_path)
        except UserError:
            continue
