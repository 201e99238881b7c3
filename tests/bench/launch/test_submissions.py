"""Manifests and outcomes: what a launch wrote yesterday, or version 0.1.0 did, is read and written again as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqdis.bench.core.errors import UserError
from seqdis.bench.launch.slurm import submissions
from seqdis.bench.launch.slurm.profile import Needs, Options
from seqdis.bench.launch.slurm.submissions import Manifest

# As version 0.1.0 wrote it.
OLD = """{
 "schema": 1,
 "id": "20260101T000000000-0123abcd",
 "kind": "cells",
 "title": "cells 1",
 "created": "2026-01-01T00:00:00+00:00",
 "tasks": [
  [
   "sprites-synth-dsvae-quick-s0-0123456789"
  ]
 ],
 "argv": [],
 "cell_arguments": [
  "--device",
  "auto",
  "--data-dir",
  "/data"
 ],
 "prerequisites": [],
 "needs": {
  "partition": "low",
  "account": "",
  "qos": "",
  "constraint": "",
  "gpus": "0",
  "cpus": 1,
  "mem": "500M",
  "time": "30",
  "signal_seconds": 60,
  "pack": 1,
  "at_once": 1
 },
 "options": {
  "asked": {
   "partition": "low",
   "mem": "500M",
   "signal_seconds": 60,
   "time": "30"
  },
  "flags": [
   "time"
  ],
  "rules": [
   [
    {
     "method": "mocogan"
    },
    {
     "time": "60"
    }
   ]
  ],
  "max_jobs": 2,
  "setup": [
   "module load cuda"
  ],
  "python": "",
  "extra": {
   "mail-type": "END"
  },
  "hold": false,
  "profile": "slurm.toml:low"
 },
 "code": {
  "version": "0.1.0",
  "commit": null,
  "dirty": null
 }
}
"""


def test_old_manifest_is_read_and_written_again_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / submissions.MANIFEST).write_text(OLD)
    found = Manifest.read(tmp_path)
    assert found.needs.signal_seconds == 60
    assert found.options.needs({"method": "mocogan"}, gpu=False).time == "30", "flags win over rules"
    assert json.dumps(found.to_json(), indent=1) + "\n" == OLD


def test_what_is_created_is_what_is_loaded(tmp_path: Path) -> None:
    made = submissions.create(
        tmp_path, kind="command", title="tables", needs=Needs(cpus=3), options=Options(max_jobs=4), argv=("-m", "x")
    )
    (loaded,) = submissions.load_all(tmp_path)
    assert loaded.id == made.id
    assert json.dumps(loaded.manifest.to_json()) == json.dumps(made.manifest.to_json())
    assert (loaded.manifest.needs, loaded.manifest.options) == (made.manifest.needs, made.manifest.options)


@pytest.mark.parametrize("text", ["[]", "{}", '{"kind": "cells"}', OLD.replace('"max_jobs": 2', '"rules": 3')])
def test_strange_manifest_is_refused_and_left_out(text: str, tmp_path: Path) -> None:
    folder = submissions.root(tmp_path) / "strange"
    folder.mkdir(parents=True)
    (folder / submissions.MANIFEST).write_text(text)
    with pytest.raises(UserError, match="not a manifest"):
        Manifest.read(folder)
    assert submissions.load_all(tmp_path) == []


def test_outcome_is_written_once_with_what_is_known(tmp_path: Path) -> None:
    made = submissions.create(tmp_path, kind="cells", title="cells 1", needs=Needs(), options=Options())
    assert made.outcome() is None
    made.settle("submitted", job_id="7", adopted=True)
    stored = json.loads((made.folder / submissions.OUTCOME).read_text())
    assert (list(stored), stored["job_id"], stored["adopted"]) == (["state", "when", "job_id", "adopted"], "7", True)
    assert made.settle("abandoned").state == "submitted"
    found = made.outcome()
    assert found is not None
    assert (found.state, found.job_id, found.adopted) == ("submitted", "7", True)
