"""Time-boxed runs: what is started when, estimates that follow what was measured, and exact resumption."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from seqdis.bench.cell.device import device_name
from seqdis.bench.launch.forecast import Forecast
from seqdis.bench.launch.request import Request
from seqdis.bench.launch.slots import slots
from seqdis.bench.launch.timebox import TimeBox
from seqdis.bench.perf.estimate import Estimator
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.plan.cells import Planned, grid, plan
from seqdis.bench.records.store import CHECKPOINT, PROGRESS, Store

TINY = [
    "--preset",
    "quick",
    "--set",
    "training.steps=80",
    "--set",
    "training.validations=2",
    "--set",
    "draws=2",
    "--set",
    "max_clips=64",
    "--set",
    "training.log_every=4",
]


@dataclasses.dataclass
class Waiting:
    cell_id: str


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def box(seconds: float, left: dict[str, float], begun: set[str], clock: Clock) -> TimeBox:
    return TimeBox(seconds, left.__getitem__, begun.__contains__, clock=clock)


# What is started


def test_first_that_fits_is_started_and_later_a_shorter_one_that_still_does() -> None:
    clock = Clock()
    left = {"long": 400.0, "short": 100.0}
    made = box(540, left, set(), clock)
    queue = [Waiting("long"), Waiting("short")]
    assert made.choose(queue) is queue[0]
    clock.now += 300
    assert made.choose(queue) is queue[1]


def test_where_nothing_fits_what_has_begun_trains_on_in_the_given_order() -> None:
    clock = Clock()
    left = {"a": 4000.0, "b": 3000.0, "c": 2000.0}
    queue = [Waiting("a"), Waiting("b"), Waiting("c")]
    assert box(540, left, set(), clock).choose(queue) is queue[0]
    assert box(540, left, {"b", "c"}, clock).choose(queue) is queue[1]


def test_nothing_is_begun_in_the_last_moments_but_a_cell_that_fits() -> None:
    clock = Clock()
    left = {"long": 400.0, "tiny": 2.0}
    made = box(540, left, set(), clock)
    clock.now = made.stop_at - 5
    assert made.choose([Waiting("long")]) is None
    chosen = made.choose([Waiting("long"), Waiting("tiny")])
    assert chosen is not None
    assert chosen.cell_id == "tiny"
    clock.now = made.stop_at
    assert made.is_over
    assert made.choose([Waiting("tiny")]) is None


@pytest.mark.parametrize("seconds", [10.0, 60.0, 540.0, 7200.0])
def test_saving_killing_and_ending_come_in_this_order_with_time_between(seconds: float) -> None:
    clock = Clock()
    made = box(seconds, {}, set(), clock)
    assert clock.now < made.stop_at < made.kill_at < clock.now + seconds
    assert made.stop_at - clock.now > 0.75 * seconds
    if seconds >= 540:
        assert made.kill_at - made.stop_at >= 15


def see(monkeypatch: pytest.MonkeyPatch, visible: str, count: int) -> None:
    """Makes torch see `count` GPUs under a CUDA_VISIBLE_DEVICES."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_several_cells_side_by_side_share_the_cores_of_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch, "3", 1)
    places = slots("auto", None, per_device=4)
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in places] == ["3"] * 4
    assert {place.environment["SEQDIS_BESIDE"] for place in places} == {"4"}
    assert {place.device for place in places} == {"cuda"}
    cores = len(os.sched_getaffinity(0))
    assert {int(place.environment["SEQDIS_THREADS"]) for place in places} == {max(1, cores // 4)}
    see(monkeypatch, "0,1", 2)
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in slots("auto", None)] == ["0", "1"]


@pytest.mark.parametrize(
    ("visible", "count", "names"),
    [
        ("0,-1,2", 1, ["0"]),
        ("1, 0", 2, ["1", "0"]),
        ("GPU-8932f937,GPU-1f2e", 2, ["GPU-8932f937", "GPU-1f2e"]),
        ("MIG-4c1a,MIG-77d0", 1, ["MIG-4c1a", "MIG-77d0"]),
        ("MIG-4c1a,-1", 1, ["MIG-4c1a"]),
    ],
)
def test_each_gpu_that_cuda_sees_is_a_place_under_its_own_name(
    visible: str, count: int, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    see(monkeypatch, visible, count)
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in slots("cuda", None)] == names


@pytest.mark.parametrize("visible", ["-1", "NoDevFiles", "none", ""])
def test_hidden_gpus_leave_the_cpu(visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch, visible, 0)
    assert {place.device for place in slots("auto", None)} == {"cpu"}


def test_cells_are_planned_seed_by_seed_in_the_order_that_was_typed() -> None:
    methods = [MethodRef("cdsvae"), MethodRef("dsvae"), MethodRef("cdsvae", "no-content-aug")]
    cells = grid(methods, ["sprites"], source="synthetic", preset="quick", seeds=range(2))
    assert [(cell.seed, str(cell.method)) for cell in cells] == [
        (seed, name) for seed in (0, 1) for name in ("cdsvae", "dsvae", "cdsvae:no-content-aug")
    ]


# Estimates


def planned(method: str, seed: int = 0, **overrides: Any) -> Planned:
    (found,) = plan(
        grid([MethodRef(method)], ["sprites"], source="synthetic", preset="quick", seeds=[seed], overrides=overrides)
    )
    return found


def finished(store: Store, cell: Planned, seconds: float, evaluation: float, device: str = "gpu A") -> None:
    """A record with the keys that a record must have and those that estimates read."""
    written = cell.config.to_json()
    parts = ("method", "training", "evaluation", "data", "versions", "plugin_digest")
    config = {key: written[key] for key in parts}
    record = dict.fromkeys(
        ("title", "supervision", "ranked", "notes", "judge", "protocol", "metrics", "code", "attempts", "finished")
    ) | {
        "schema": 1,
        "status": "done",
        "cell": {"id": cell.id, **written["cell"]},
        "config": config,
        "data": {},
        "training": {"steps": cell.config.training.steps},
        "environment": {"device": device},
        "cost": {"train_seconds": seconds, "evaluation_seconds": evaluation},
    }
    folder = store.add(cell.id, cell.config)
    (folder / "record.json").write_text(json.dumps(record))


def test_estimate_follows_the_row_s_finished_cells_and_the_steps_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finished(store, planned("dsvae"), seconds=150.0, evaluation=20.0)
    estimator = Estimator(store, device="gpu A")
    estimator.started(3.0)
    assert estimator.seconds(planned("dsvae", seed=4).config) == pytest.approx(173.0)
    # Another number of steps is another row, and still the same speed: by counted operations.
    half = planned("dsvae", **{"training.steps": 750}).config
    assert estimator.seconds(half) == pytest.approx(3 + 20 + 75, rel=1e-6)


def test_other_methods_are_estimated_by_operations_at_the_measured_rate(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finished(store, planned("dsvae"), seconds=150.0, evaluation=20.0)
    estimator = Estimator(store, device="gpu A")
    estimator.started(3.0)
    # C-DSVAE's motion view is one more pass through the frame encoder.
    assert 1.2 < (estimator.seconds(planned("cdsvae").config) - 23) / 150 < 1.9


def test_what_another_device_recorded_does_not_count(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finished(store, planned("dsvae"), seconds=1e6, evaluation=0.0, device="cpu (x86_64)")
    assert Estimator(store, device="gpu A").seconds(planned("dsvae").config) < 1e5


def test_only_the_rest_of_a_cell_with_a_checkpoint_is_counted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cell = planned("dsvae")
    folder = store.add(cell.id, cell.config)
    (folder / PROGRESS).write_text(json.dumps({"phase": "train", "step": 1000, "steps": 1500, "seconds": 200.0}))
    estimator = Estimator(store)
    estimator.started(1.0)
    whole = estimator.seconds(cell.config, cell.id)
    (folder / CHECKPOINT).write_bytes(b"")
    assert estimator.seconds(cell.config, cell.id) == pytest.approx(1 + 8 + 100)
    assert whole != pytest.approx(109)


# What a pool starts next, and when it ends


@dataclasses.dataclass
class Started:
    cell_id: str
    state: str = "queued"
    started: float = 0.0
    ended: float = 0.0


def forecast(store: Store, cells: list[Planned]) -> Forecast:
    for cell in cells:
        store.add(cell.id, cell.config)
    made = Forecast(store, {cell.id: cell.config for cell in cells}, Request(out=store.out, device="cpu"))
    made.estimator.started(3.0)
    return made


def test_the_longest_cell_of_the_first_seed_is_started_next(tmp_path: Path) -> None:
    cells = [planned(method, seed) for seed in (0, 1) for method in ("fhvae", "dsvae", "cdsvae", "mocogan")]
    made = forecast(Store(tmp_path), cells)
    waiting = [Started(cell.id) for cell in cells]
    order = []
    while waiting:
        order.append(made.next(waiting))
        waiting.remove(order[-1])
    seeds = [made.configs[run.cell_id].cell.seed for run in order]
    assert seeds == [0] * 4 + [1] * 4
    lengths = [made.seconds(run.cell_id) for run in order]
    assert lengths[:4] == sorted(lengths[:4], reverse=True)


def test_the_end_of_a_pool_is_that_of_its_fullest_place(tmp_path: Path) -> None:
    store = Store(tmp_path)
    here = device_name(torch.device("cpu"))
    finished(store, planned("dsvae", seed=9), seconds=87.0, evaluation=10.0, device=here)
    cells = [planned("dsvae", seed) for seed in range(4)]
    made = forecast(store, cells)
    whole = 3 + 10 + 87
    queued = [Started(cell.id) for cell in cells]
    assert made.left(queued, 1) == pytest.approx(4 * whole)
    assert made.left(queued, 2) == pytest.approx(2 * whole)
    assert made.left(queued[:3], 2) == pytest.approx(2 * whole)
    # One that trains says itself what is left; of one that says nothing yet the whole is, less its time.
    progress = {"phase": "train", "step": 1000, "steps": 1500, "seconds": 80.0, "seconds_left": 40.0}
    (store.folder(cells[0].id) / PROGRESS).write_text(json.dumps(progress))
    now = time.time()
    running = [Started(cells[0].id, "running", now), Started(cells[1].id, "running", now - 20)]
    assert made.left(running[:1], 2) == pytest.approx(40 + 10)
    assert made.left(running, 2) == pytest.approx(whole - 20, abs=2)
    assert made.left([*running, queued[2]], 2) == pytest.approx(40 + 10 + whole, abs=2)
    (store.folder(cells[0].id) / PROGRESS).write_text(json.dumps({"phase": "judge"}))
    assert made.left(running[:1], 2) == pytest.approx(10)
    assert made.left([Started(cells[0].id, "done")], 2) == 0


# Whole runs


def bench(*arguments: str, data: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
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
            "SEQDIS_PROGRESS_SECONDS": "0",
        },
    )


def records(out: Path) -> dict[str, dict[str, Any]]:
    found = {path.parent.name: json.loads(path.read_text()) for path in out.glob("cells/*/record.json")}
    return {
        cell_id: {key: record[key] for key in ("training", "cell", "config", "data", "judge", "metrics", "protocol")}
        for cell_id, record in found.items()
    }


@pytest.mark.slow
def test_time_boxed_runs_end_in_time_and_together_give_the_records_of_one_undisturbed_run(tmp_path: Path) -> None:
    line = ["run", "--methods", "cdsvae,dsvae", "--datasets", "sprites", "--workers", "1", *TINY]
    whole, boxed, data = tmp_path / "whole", tmp_path / "boxed", tmp_path / "data"
    whole.mkdir()
    boxed.mkdir()
    assert (
        bench("data", "prepare", "sprites", "--source", "synthetic", "--size", "32", data=data, cwd=whole).returncode
        == 0
    )
    started = time.monotonic()
    assert bench(*line, data=data, cwd=whole).returncode == 0
    # Enough for a start and for a part of the training of one cell, not for both cells.
    budget = max(8.0, 0.45 * (time.monotonic() - started))
    codes, took = [], []
    while not codes or codes[-1] == 75:
        began = time.monotonic()
        done = bench(*line, "--time-budget", f"{budget:.0f}s", "--pack-to", "packed", data=data, cwd=boxed)
        took.append(time.monotonic() - began)
        codes.append(done.returncode)
        assert len(codes) < 25, done.stdout + done.stderr
        if done.returncode == 75:
            assert "not finished" in done.stderr
    assert codes[-1] == 0
    assert 75 in codes
    assert records(boxed / "runs") == records(whole / "runs")
    # What a loaded machine adds to the end of a process is not the box's.
    assert min(took) < budget + 5
    assert {path.name for path in (boxed / "packed").iterdir()} == {"results-records-1.zip", "results-clips-1.zip"}
