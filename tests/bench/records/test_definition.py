"""The definition of a record: what is published of it, and that what is written is what it describes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from seqdis.bench import cli
from seqdis.bench.core import schema
from seqdis.bench.core.errors import UserError
from seqdis.bench.records.record import RECORD, Record, read_record, write_record

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("name", "option", "command"),
    [("record.schema.json", [], "--schema"), ("record.md", ["markdown"], "--schema markdown")],
)
def test_what_is_published_follows_from_the_definition(name, option, command, capsys):
    assert cli.main(["validate", "--schema", *option]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / name).read_text(), f"bench validate {command} > docs/{name}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results" / "records").rglob("record.json")), ids=lambda p: p.parent.name
)
def test_records_of_the_first_version_are_read_whole_and_written_as_they_were(path, tmp_path, undescribed):
    record = read_record(path)
    assert not undescribed(record)
    assert write_record(tmp_path, record)
    assert (tmp_path / RECORD).read_bytes() == path.read_bytes()
    assert not write_record(tmp_path, record)


@pytest.mark.parametrize("method", ["cdsvae", "mocogan", "oracle", "s3vae"])
@pytest.mark.parametrize("dataset", ["sprites", "mug", "smmnist", "timit"])
def test_every_object_comes_back_from_json(make_record, method, dataset):
    value = make_record(method, dataset)
    record = schema.from_json(Record, value)
    assert schema.to_json(record) == value
    assert schema.from_json(Record, schema.to_json(record)) == record


def test_what_a_later_version_adds_is_kept(make_record, undescribed):
    value = make_record()
    value["mood"] = {"of": ["the", "day"]}
    value["data"]["splits"]["held out"] = 7
    record = schema.from_json(Record, value)
    assert undescribed(record) == [".mood", ".data.splits.held out"]
    assert schema.to_json(record) == value


def test_a_key_is_missing_or_too_many(make_record, tmp_path, store_record):
    path = store_record(tmp_path, make_record(changes={"metrics.directions.mine": {}}))
    with pytest.raises(UserError, match=r"metrics.directions.'mine': is not a key of the schema; remove it"):
        read_record(path)
    value = json.loads(path.read_text())
    del value["cost"]
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match="lacks cost"):
        read_record(path)


def test_a_number_that_is_none_is_not_written(make_record, tmp_path):
    record = schema.from_json(Record, make_record())
    cost = dataclasses.replace(record.cost, train_seconds=float("nan"))
    with pytest.raises(ValueError, match="JSON compliant"):
        write_record(tmp_path, dataclasses.replace(record, cost=cost))
    assert not list(tmp_path.iterdir())
