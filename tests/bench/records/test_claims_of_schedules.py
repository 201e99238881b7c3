"""What a record says of an overridden capacity schedule agrees with its config."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from seqdis.bench.records.config import cell_id, config_json
from seqdis.bench.records.validate import check_file

RECORDS = Path(__file__).resolve().parents[3] / "results" / "records" / "cells"
ONE = next(RECORDS.glob("sprites-real-dsvae-compact-s0-e997717c08/record.json"))


@pytest.mark.parametrize(("value", "is_valid"), [("0.3:20 0.6:1", True), (None, False)])
def test_a_schedule_that_was_typed_stands_in_the_config(tmp_path: Path, value: str | None, is_valid: bool) -> None:
    record = copy.deepcopy(json.loads(ONE.read_text()))
    record["cell"]["overrides"]["training.capacity.kl_static"] = value
    record["cell"]["id"] = cell_id(config_json(record["cell"], record["config"]))
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    problems = [one for one in check_file(path).problems if "schedule" in one]
    assert (problems == []) is is_valid
