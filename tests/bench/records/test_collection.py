from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from seqdis.bench.core.errors import UserError
from seqdis.bench.records import collection
from seqdis.bench.records.config import describe_config
from seqdis.bench.records.record import MAX_BYTES


def _comparable(entry):
    values = {name: entry.values[position] for name, position in entry.names.items()}
    return {name: getattr(entry, name) for name in entry.__slots__ if name not in ("path", "names", "values")} | values


@pytest.mark.parametrize(
    ("method", "dataset"), [("cdsvae", "sprites"), ("mocogan", "mug"), ("fhvae", "timit"), ("dsvae", "smmnist")]
)
def test_the_fast_way_reads_what_plain_json_reads(tmp_path, make_record, store_record, method, dataset):
    record = make_record(method, dataset)
    store_record(tmp_path / "indented", record)
    compact = tmp_path / "compact" / "cells" / record["cell"]["id"]
    compact.mkdir(parents=True)
    (compact / "record.json").write_text(json.dumps(record, sort_keys=True))
    fast, slow = (collection.load([tmp_path / name]) for name in ("indented", "compact"))
    assert not fast.problems
    assert not slow.problems
    assert _comparable(fast.entries[0]) == _comparable(slow.entries[0])
    assert fast.about == slow.about
    assert fast.configs == slow.configs


def test_scores_are_means_over_draws(tmp_path, make_record, store_record):
    record = make_record(draws=4)
    store_record(tmp_path, record)
    (entry,) = collection.load([tmp_path]).entries
    draws = record["metrics"]["directions"]["fix_dynamic"]["draws"]
    assert entry.get("fix_dynamic/action/acc") == pytest.approx(sum(draw["action"]["acc"] for draw in draws) / 4)
    assert entry.get("rec/mse") == record["metrics"]["reconstruction"]["mse"]
    assert entry.get("cost/parameters") == 1_234_567
    assert entry.get("cost/energy_joules") is None
    assert entry.get("nothing") is None


def test_a_text_that_looks_like_a_key_is_no_key(tmp_path, make_record, store_record):
    evil = '\n "metrics": {}\n "status": "failed"'
    store_record(tmp_path, make_record(changes={"title": evil, "notes": [evil]}))
    (entry,) = collection.load([tmp_path]).entries
    assert entry.title == evil
    assert entry.status == "done"
    assert entry.get("fix_dynamic/action/acc") is not None


def test_a_key_that_stands_twice_is_read_as_json_does(tmp_path, make_record, store_record):
    path = store_record(tmp_path, make_record())
    path.write_text(path.read_text()[:-3] + ',\n "title": "last one"\n}\n')
    assert collection.load([tmp_path]).entries[0].title == "last one"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 2}', b'{"schema": 1}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_record_is_named_and_the_rest_is_read(tmp_path, make_record, store_record, content):
    store_record(tmp_path, make_record(seed=0))
    store_record(tmp_path, make_record(seed=1)).write_bytes(content)
    found = collection.load([tmp_path])
    assert [entry.seed for entry in found.entries] == [0]
    assert len(found.problems) == 1
    assert "record.json" in found.problems[0]


@pytest.mark.parametrize("key", ["metrics", "cell", "training", "data"])
def test_a_record_of_the_wrong_kind_is_a_problem_not_a_crash(tmp_path, make_record, store_record, key):
    store_record(tmp_path, make_record()).write_text(
        json.dumps({**make_record(), key: ["not", "an", "object"]}, indent=1)
    )
    found = collection.load([tmp_path])
    assert not found.entries
    assert "bench validate" in found.problems[0]


def test_links_pipes_and_giants_are_not_read(tmp_path, make_record, store_record):
    target = store_record(tmp_path / "elsewhere", make_record(seed=5))
    for seed, kind in enumerate(("link", "pipe", "giant")):
        path = store_record(tmp_path / "runs", make_record(seed=seed))
        path.unlink()
        if kind == "link":
            path.symlink_to(target)
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            with open(path, "wb") as file:
                file.truncate(MAX_BYTES + 1)
    found = collection.load([tmp_path / "runs"])
    assert not found.entries
    assert len(found.problems) == 3


def test_linked_folders_are_not_entered(tmp_path, make_record, store_record):
    path = store_record(tmp_path / "elsewhere", make_record())
    (tmp_path / "runs" / "cells").mkdir(parents=True)
    (tmp_path / "runs" / "cells" / "x").symlink_to(path.parent)
    assert not collection.load([tmp_path / "runs"]).entries


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        collection.load([tmp_path / "nowhere"])


def test_a_cell_in_two_folders_counts_once(tmp_path, make_record, store_record):
    for name in ("a", "b"):
        store_record(tmp_path / name, make_record())
    assert len(collection.load([tmp_path / "a", tmp_path / "b"]).entries) == 1


def test_folders_of_records_are_searched(tmp_path, make_record):
    for number, place in enumerate(("records/sprites/x", "records")):
        folder = tmp_path / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ("record.json" if number == 0 else "one.json")).write_text(json.dumps(make_record(seed=number)))
    (tmp_path / "records" / "sprites" / "x" / "config.json").write_text("{}")
    found = collection.load([tmp_path / "records"])
    assert len(found.entries) == 2
    assert not found.problems


def test_a_failed_cell_is_read_from_its_error(tmp_path, make_record):
    record = make_record()
    folder = tmp_path / "cells" / record["cell"]["id"]
    folder.mkdir(parents=True)
    cell = {key: value for key, value in record["cell"].items() if key != "id"}
    (folder / "config.json").write_text(json.dumps({"cell": cell}))
    assert not collection.load([tmp_path]).entries  # planned, not failed
    (folder / "error.json").write_text(json.dumps({"reason": "the loss is not finite"}))
    (entry,) = collection.load([tmp_path]).entries
    assert (entry.status, entry.reason, entry.method) == ("failed", "the loss is not finite", "cdsvae")


def test_configs_that_differ_in_seeds_only_are_one():
    first = describe_config({"training": {"batch_size": 8}, "evaluation": {"seed": 1, "draws": 5}})
    assert first == describe_config({"training": {"batch_size": 8}, "evaluation": {"seed": 2, "draws": 5}})
    assert first[0] != describe_config({"training": {"batch_size": 9}, "evaluation": {"draws": 5}})[0]
    assert first[1] == 8


def test_a_record_costs_little_memory(tmp_path, make_record, store_record):
    paths = [str(store_record(tmp_path, make_record("dsvae", seed=seed, draws=5))) for seed in range(200)]
    collection._load(paths[:20])
    tracemalloc.start()
    found = collection._load(paths)
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.entries) == 200
    # 100,000 records within 1 GB leave 10 kB for each; the file of one of these has more than 20 kB.
    assert size / 200 < 3_000
    assert peak / 200 < 5_000


def test_several_processes_read_what_one_reads(tmp_path, make_record, store_record, monkeypatch):
    for seed in range(9):
        store_record(tmp_path, make_record("mocogan" if seed % 2 else "dsvae", seed=seed))
    store_record(tmp_path, make_record(seed=9)).write_text("{")
    alone = collection.load([tmp_path])
    monkeypatch.setattr(collection, "MANY", 5)
    monkeypatch.setattr(collection, "_CHUNK", 2)
    together = collection.load([tmp_path], workers=2)
    assert [_comparable(entry) for entry in together.entries] == [_comparable(entry) for entry in alone.entries]
    assert (together.about, together.configs, together.problems) == (alone.about, alone.configs, alone.problems)
    assert len({id(entry.setting) for entry in together.entries}) == 1
    assert len({id(entry.names) for entry in together.entries}) == 2


def test_the_benchmark_of_tables_prints_what_its_documentation_has(tmp_path, make_record, store_record):
    for seed in range(3):
        store_record(tmp_path, make_record(seed=seed))
    script = Path(__file__).resolve().parents[3] / "examples" / "table_benchmark.py"
    done = subprocess.run(
        [sys.executable, "-P", script, "--runs", tmp_path, "--count", "30"], capture_output=True, text=True, check=True
    )
    figures = r"[\d.]+ s, [\d,]+ records/s, [\d.]+ s of processor time, \d+ MiB"
    assert re.fullmatch(f"from the disk: {figures}\nfrom the page cache: {figures}\n", done.stdout)


def test_the_benchmark_of_loads_prints_what_its_documentation_has():
    script = Path(__file__).resolve().parents[3] / "examples" / "load_benchmark.py"
    records = script.parents[1] / "results" / "records"
    done = subprocess.run(
        [sys.executable, script, "--records", records, "--sizes", "3,6", "--commands", "status,table"],
        capture_output=True,
        text=True,
        check=True,
    )
    figures = r"[\d.]+ s, [\d.]+ s of processor time, \d+ MiB"
    lines = [f"{command} of {size}: {figures}" for size in (3, 6) for command in ("status", "table")]
    lines += [rf"{command}: grows as the size to the power of -?[\d.]+" for command in ("status", "table")]
    assert re.fullmatch("\n".join(lines), done.stdout.strip())


def test_tables_need_nothing_heavy():
    code = (
        "import sys; import seqdis.bench.commands.table, seqdis.bench.tables.build, seqdis.bench.formats.render, "
        "seqdis.bench.records.validate, seqdis.bench.records.importing; "
        "print([m for m in ('torch', 'numpy', 'scipy', 'pandas', 'pyarrow', 'matplotlib', 'rich') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
