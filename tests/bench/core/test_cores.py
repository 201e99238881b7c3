"""Cores and threads: who is believed, in which order, and that the default is one thread whatever the workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqdis.bench.core.cores import SLURM_CORES, cell_threads, granted
from seqdis.bench.core.environment import worker_environment
from seqdis.bench.core.inherited import SLEEPING
from seqdis.bench.launch.slots import described, slots

CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def _nobody_says_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "SEQDIS_THREADS", *SLURM_CORES, *SLEEPING):
        monkeypatch.delenv(name, raising=False)


def files(root: Path, found: dict[str, str]) -> Path:
    for name, text in found.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = "0::/user/job\n"
V1 = "9:memory:/job\n4:cpuacct,cpu:/job\n0::/\n"


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"proc/self/cgroup": V2, "sys/fs/cgroup/user/job/cpu.max": "150000 100000"}, "a cgroup's quota of 1.5"),
        ({"proc/self/cgroup": V2, "sys/fs/cgroup/user/cpu.max": "50000 100000\n"}, "a cgroup's quota of 0.5"),
        # Within a container the named group may not be there: what is mounted is its own.
        ({"proc/self/cgroup": V2, "sys/fs/cgroup/cpu.max": "100000 100000"}, "a cgroup's quota of 1"),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpuacct,cpu/job/cpu.cfs_quota_us": "100000\n",
                "sys/fs/cgroup/cpuacct,cpu/job/cpu.cfs_period_us": "100000\n",
            },
            "a cgroup's quota of 1",
        ),
    ],
)
def test_quota_of_a_cgroup_bounds_the_cores(tmp_path: Path, found: dict[str, str], says: str) -> None:
    there = granted(files(tmp_path, found))
    assert there.count == 1
    assert CORES == 1 or there.says == says


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"proc/self/cgroup": V2, "sys/fs/cgroup/user/job/cpu.max": "max 100000"},
        {"proc/self/cgroup": V2, "sys/fs/cgroup/user/job/cpu.max": "many 0"},
        {"proc/self/cgroup": V2, "sys/fs/cgroup/user/job/cpu.max": "100000 0"},
        {"proc/self/cgroup": "nonsense"},
        {
            "proc/self/cgroup": V1,
            "sys/fs/cgroup/cpuacct,cpu/job/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpuacct,cpu/job/cpu.cfs_period_us": "100000",
        },
    ],
)
def test_without_a_quota_the_affinity_counts(tmp_path: Path, found: dict[str, str]) -> None:
    there = granted(files(tmp_path, found))
    assert (there.count, there.says) == (CORES, "affinity")


def test_slurm_s_cores_count_where_they_are_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert granted(tmp_path).count == 1
    assert granted(tmp_path).says == "SLURM_CPUS_PER_TASK"
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "500000")
    assert granted(tmp_path).count == CORES
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "two")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "1")
    assert granted(tmp_path).says == "SLURM_CPUS_ON_NODE"


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "1.5", "9" * 400])
def test_variable_that_is_no_number_leaves_the_default(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert cell_threads().count == 1


def test_threads_of_a_cell_are_those_asked_for_then_those_of_the_variable_then_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (cell_threads().count, cell_threads().says) == (1, "the default")
    monkeypatch.setenv("OMP_NUM_THREADS", "1,4")
    assert cell_threads().says == "OMP_NUM_THREADS=1"
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert (cell_threads().count, cell_threads().says) == (CORES, f"OMP_NUM_THREADS=4096, held to {CORES} cores")
    assert cell_threads(3).count == 3


@pytest.mark.parametrize("workers", [None, 1, 2, 7])
def test_every_cell_has_one_thread_whatever_the_workers(workers: int | None) -> None:
    places = slots("cpu", workers)
    assert len(places) == (workers or granted().count)
    assert {place.environment["SEQDIS_THREADS"] for place in places} == {"1"}


def test_cores_are_shared_among_workers_of_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    many = 2 * CORES
    (place,) = slots("cpu", None, threads=many)
    assert place.environment["OMP_NUM_THREADS"] == str(many)
    assert described([place], many).startswith(f"1 worker with {many} threads each (as asked for) on ")
    monkeypatch.setenv("OMP_NUM_THREADS", str(CORES))
    assert len(slots("cpu", None)) == 1


def test_threads_of_a_worker_sleep_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    found = worker_environment(2)
    assert found["OMP_WAIT_POLICY"] == "ACTIVE"
    assert found["GOMP_SPINCOUNT"] == "0"


def test_threads_of_a_process_started_by_hand() -> None:
    code = (
        "from seqdis.bench.core.inherited import settle\nfrom seqdis.bench.cell.__main__ import take_threads\n"
        "settle()\ntake_threads()\nimport torch\nprint(torch.get_num_threads())"
    )
    found = []
    for said in ({}, {"SEQDIS_THREADS": "3"}):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **said}
        )
        found.append(done.stdout.strip())
    assert found == ["1", "3"]
