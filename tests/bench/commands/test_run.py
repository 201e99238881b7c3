"""`bench run` as a user types it: small real runs, in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

TINY = [
    "--preset",
    "quick",
    "--set",
    "training.steps=24",
    "--set",
    "training.validations=2",
    "--set",
    "draws=2",
    "--set",
    "max_clips=64",
    "--set",
    "training.log_every=4",
]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that the tests of this file share."""
    return tmp_path_factory.mktemp("data")


def bench(
    *arguments: str, data: Path, cwd: Path, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "seqdis.bench.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        env={
            **os.environ,
            "SEQDIS_DATA": str(data),
            "PYTHONSAFEPATH": "1",
            "OMP_NUM_THREADS": "1",
            "PATH": "/usr/bin:/bin",
            **environment,
        },
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def comparable(record: dict[str, Any]) -> dict[str, Any]:
    """All of a record that must not depend on when, where and how often it was started."""
    return {key: record[key] for key in ("training", "cell", "config", "data", "judge", "metrics", "protocol")}


def records(out: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(out.glob("cells/*/record.json"))}


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods on synthetic Sprites, run to the end."""
    cwd = tmp_path_factory.mktemp("finished")
    done = bench("run", "--methods", "dsvae,cdsvae", "--datasets", "sprites", *TINY, data=data, cwd=cwd)
    assert "2 to run (local)" in done.stdout
    return cwd


def test_run_leaves_whole_records_and_nothing_else_to_do(finished: Path, data: Path) -> None:
    found = records(finished / "runs")
    assert len(found) == 2
    for cell_id, record in found.items():
        assert record["status"] == "done"
        assert record["cell"]["id"] == cell_id
        assert record["data"]["source"] == "synthetic"
        assert record["training"]["steps"] == record["training"]["planned_steps"] == 24
        assert len(record["metrics"]["directions"]["fix_dynamic"]["draws"]) == 2
        assert record["judge"]["sha256"]
        folder = finished / "runs" / "cells" / cell_id
        assert not (folder / "checkpoint.safetensors").exists()
        assert (folder / "clips.npz").exists()
    before = {path: path.stat().st_mtime_ns for path in finished.glob("runs/cells/*/record.json")}
    again = bench("run", "--methods", "dsvae,cdsvae", "--datasets", "sprites", *TINY, data=data, cwd=finished)
    assert "Nothing to train" in again.stdout
    assert before == {path: path.stat().st_mtime_ns for path in finished.glob("runs/cells/*/record.json")}


def test_a_result_of_other_code_counts_as_done_and_is_repeated_when_asked(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished / "runs", tmp_path / "runs")
    line = ("run", "--methods", "dsvae,cdsvae", "--datasets", "sprites", *TINY)
    before = records(tmp_path / "runs")
    other = next(cell for cell, record in before.items() if record["cell"]["method"] == "dsvae")
    path = tmp_path / "runs" / "cells" / other / "record.json"
    text = path.read_text().replace(before[other]["code"]["digests"]["method"], "0" * 64)
    path.write_text(text)
    done = bench(*line, data=data, cwd=tmp_path)
    assert "1 result was made by other code (of the method: dsvae 1); 'bench run --again' repeats it" in done.stdout
    assert "Nothing to train" in done.stdout
    assert path.read_text() == text
    status = bench("status", "--all", data=data, cwd=tmp_path).stdout
    assert f"done      {other}  made by other code (the method's)" in status
    assert status.count("made by other code") == 2
    dry = bench(*line, "--again", "--dry-run", data=data, cwd=tmp_path).stdout
    assert "2 cells, 1 done, 1 to run" in dry
    assert path.read_text() == text
    again = bench(*line, "--again", data=data, cwd=tmp_path).stdout
    assert "2 cells: 1 done already, 1 to run" in again
    after = records(tmp_path / "runs")
    assert {cell: comparable(record) for cell, record in after.items()} == {
        cell: comparable(record) for cell, record in before.items()
    }
    assert after[other]["code"] == before[other]["code"]
    assert path.with_name("record.json.1").read_text() == text
    assert path.with_name("clips.npz.1").exists()
    assert "Nothing to train" in bench(*line, "--again", data=data, cwd=tmp_path).stdout


def test_dry_run_changes_nothing(data: Path, tmp_path: Path, finished: Path) -> None:
    done = bench(
        "run", "--methods", "dsvae", "--datasets", "sprites", *TINY, "--dry-run", "--json", data=data, cwd=tmp_path
    )
    plan = json.loads(done.stdout)
    assert [cell["method"] for cell in plan["cells"]] == ["dsvae"]
    assert plan["estimated_seconds"] > 0
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_killed_run_goes_on_and_gives_the_same_record(
    number: signal.Signals, data: Path, tmp_path: Path, finished: Path
) -> None:
    line = [sys.executable, "-m", "seqdis.bench.cli", "run", "--methods", "dsvae", "--datasets", "sprites", *TINY]
    environment = {
        **os.environ,
        "SEQDIS_DATA": str(data),
        "PYTHONSAFEPATH": "1",
        "PATH": "/usr/bin:/bin",
        "SEQDIS_PROGRESS_SECONDS": "0",
        "SEQDIS_HEARTBEAT": "1",
    }
    process = subprocess.Popen(
        line,
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    worker = None
    while time.monotonic() < deadline and process.poll() is None:
        for path in tmp_path.glob("runs/cells/*/progress.json"):
            progress = json.loads(path.read_text())
            if progress.get("step", 0) >= 8:
                worker = progress["pid"]
        if worker:
            break
        time.sleep(0.01)
    assert worker, "the worker was never seen training"
    if number == signal.SIGKILL:
        os.kill(worker, number)
    os.killpg(process.pid, number)
    process.wait(60)
    bench("run", "--methods", "dsvae", "--datasets", "sprites", *TINY, data=data, cwd=tmp_path, SEQDIS_HEARTBEAT="1")
    (resumed,) = records(tmp_path / "runs").values()
    whole = records(finished / "runs")[resumed["cell"]["id"]]
    assert comparable(resumed) == comparable(whole)


def _unread(words: list[str], data: Path, cwd: Path) -> None:
    """Runs a line whose reader goes away while cells train; it says so and ends with 141."""
    process = subprocess.Popen(
        [sys.executable, "-m", "seqdis.bench.cli", *words],
        cwd=cwd,
        env={**os.environ, "SEQDIS_DATA": str(data), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert any("running:" in line for line in iter(process.stdout.readline, ""))
    process.stdout.close()
    with process.stderr:
        said = process.stderr.read()
    assert process.wait(120) == 141
    assert said == (
        "bench: nobody reads the output any more: the cells were saved and stopped; run the same line again to go on.\n"
    )


def test_cells_that_train_when_the_reader_goes_away_are_saved_and_stopped(data: Path, tmp_path: Path) -> None:
    words = ["run", "--methods", "dsvae", "--datasets", "sprites", *TINY, "--set", "training.steps=100000"]
    _unread(words, data, tmp_path)
    assert records(tmp_path / "runs") == {}
    assert list(tmp_path.glob("runs/cells/*/checkpoint.safetensors")), "its state is saved"
    assert not list(tmp_path.glob("runs/cells/*/lease.json")), "no worker is left"


def test_run_whose_output_is_no_longer_read_stops_softly_and_says_so(
    data: Path, tmp_path: Path, finished: Path
) -> None:
    words = ["run", "--methods", "dsvae,cdsvae", "--datasets", "sprites", *TINY]
    _unread(words, data, tmp_path)
    assert not list(tmp_path.glob("runs/cells/*/lease.json")), "no worker is left"
    bench(*words, data=data, cwd=tmp_path)
    whole = records(finished / "runs")
    for cell_id, record in records(tmp_path / "runs").items():
        assert comparable(record) == comparable(whole[cell_id])


def test_failing_method_is_recorded_and_the_others_go_on(data: Path, tmp_path: Path, finished: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from seqdis.methods.dsvae import DSVAE\n\n\nclass Broken(DSVAE):\n    title = 'Broken'\n\n"
        "    def loss(self, batch, player, ctx):\n        raise ValueError('it broke')\n"
    )
    done = bench(
        "run",
        "--methods",
        "broken.py:Broken,dsvae",
        "--datasets",
        "sprites",
        *TINY,
        data=data,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1
    assert "it broke" in done.stderr
    assert [record["cell"]["method"] for record in records(tmp_path / "runs").values()] == ["dsvae"]
    (error,) = (tmp_path / "runs").glob("cells/*/error.json")
    assert "ValueError: it broke" in json.loads(error.read_text())["reason"]


def test_method_from_one_file_outside_the_repository(data: Path, tmp_path: Path, finished: Path) -> None:
    example = Path(__file__).resolve().parents[3] / "examples" / "first_frame_vae.py"
    (tmp_path / "mine.py").write_text(example.read_text())
    bench("run", "--methods", "mine.py:FirstFrameVAE", "--datasets", "sprites", *TINY, data=data, cwd=tmp_path)
    (record,) = records(tmp_path / "runs").values()
    assert record["title"] == "First-frame VAE"
    assert record["status"] == "done"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "dsvea", "--datasets", "sprites", "--preset", "quick"], "did you mean 'dsvae'"),
        (["--methods", "dsvae", "--datasets", "sprits", "--preset", "quick"], "did you mean 'sprites'"),
        (
            ["--methods", "dsvae", "--datasets", "sprites", "--preset", "quick", "--seeds", "0"],
            "--seeds 0 runs nothing",
        ),
        (["--methods", "dsvae", "--datasets", "sprites", "--preset", "quick", "--set", "nothing=1"], "unknown setting"),
        (["--methods", "dsvae", "--datasets", "sprites", "--preset", "quick", "--set", "nothing"], "not of the form"),
        (
            ["--methods", "dsvae", "--datasets", "sprites", "--preset", "quick", "--time-budget", "soon"],
            "not a duration",
        ),
        (["--methods", "dsvae", "--datasets", "sprites", "--preset", "quick", "--device", "cuda"], "no GPU"),
        (
            ["--methods", "dsvae", "--datasets", "sprites", "--preset", "quick", "--device", "mps"],
            "unknown device 'mps'",
        ),
        (
            [
                *[
                    "--methods",
                    "dsvae",
                    "--datasets",
                    "sprites",
                    "--preset",
                    "quick",
                    "--launcher",
                    "slurm",
                    "--device",
                    "xpu:0",
                ]
            ],
            "unknown device 'xpu:0'",
        ),
        (
            [
                *[
                    "--methods",
                    "dsvae",
                    "--datasets",
                    "sprites",
                    "--preset",
                    "quick",
                    "--launcher",
                    "local",
                    "--set",
                    "training.precision=tf32",
                ]
            ],
            "precision tf32 needs an NVIDIA GPU",
        ),
        (["--datasets", "sprites", "--preset", "quick", "--table", "comparisons"], "did you mean 'comparison'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str], message: str, data: Path, tmp_path: Path
) -> None:
    done = bench("run", *arguments, data=data, cwd=tmp_path, check=False, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_users_own_line_without_mug_says_so_before_it_starts(tmp_path: Path, data: Path) -> None:
    done = bench(
        "run", "--methods", "all", "--datasets", "sprites,mug", data=tmp_path / "none", cwd=tmp_path, check=False
    )
    assert done.returncode == 2
    assert "bench data prepare mug --from" in done.stderr
    assert "bench data prepare sprites" in done.stderr
    assert "--preset quick" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_output_that_cannot_be_written_is_one_sentence(tmp_path: Path, data: Path, finished: Path) -> None:
    (tmp_path / "runs").write_text("a file, not a folder")
    done = bench("run", "--methods", "dsvae", "--datasets", "sprites", *TINY, data=data, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "cannot write" in done.stderr or "Not a directory" in done.stderr


def test_tampered_record_is_refused(tmp_path: Path, data: Path, finished: Path) -> None:
    import shutil

    shutil.copytree(finished / "runs", tmp_path / "runs")
    path = next((tmp_path / "runs").glob("cells/*/record.json"))
    record = json.loads(path.read_text())
    record["metrics"]["directions"]["fix_dynamic"]["draws"][0]["motion"]["is"] += 1
    path.write_text(json.dumps(record))
    done = bench("validate", "runs", data=data, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert path.parent.name in done.stdout + done.stderr
