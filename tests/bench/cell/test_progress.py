"""progress.json: what a cell writes is what others read, now and then only, and a damaged one says nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from seqdis.bench.cell.progress import FailureUpdate, Progress, ProgressFile, TrainingUpdate, Update, read_progress


def training(step: int, loss: float | None = 2.5) -> TrainingUpdate:
    return TrainingUpdate(
        phase="train",
        step=step,
        steps=90,
        epoch=2,
        loss=loss,
        recon=None,
        seconds=4.0,
        sequences_per_second=10.0,
        seconds_left=8.0,
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_progress(tmp_path) == Progress()
    ProgressFile(tmp_path)(training(30))
    assert read_progress(tmp_path) == Progress(
        phase="train", epoch=2, step=30, steps=90, loss=2.5, seconds=4.0, sequences_per_second=10.0, seconds_left=8.0
    )
    assert read_progress(tmp_path, since=time.time() + 60) == Progress()
    stored = json.loads((tmp_path / "progress.json").read_text())
    assert [*stored][:4] == ["phase", "step", "steps", "epoch"]
    assert stored["recon"] is None
    ProgressFile(tmp_path)(FailureUpdate("failed", "no room"))
    assert [*json.loads((tmp_path / "progress.json").read_text())] == ["phase", "reason", "updated", "pid", "host"]


def test_a_phase_is_written_at_once_and_its_steps_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQDIS_PROGRESS_SECONDS", "1000")
    file = ProgressFile(tmp_path)
    for update in (Update("data"), training(1), training(2, loss=None)):
        file(update)
    assert read_progress(tmp_path).step == 1
    file(Update("judge"))
    assert read_progress(tmp_path) == Progress(phase="judge")


@pytest.mark.parametrize("text", ["", "[1]", '{"step": null}'])
def test_a_damaged_file_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "progress.json").write_text(text)
    assert read_progress(tmp_path) == Progress()
