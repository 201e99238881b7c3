"""Leases: one holder, takeover of the dead only, and an owner that notices that it was replaced."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqdis.bench.core.lease import Lease, LeaseHeld, LeaseLost, is_gone, read_attempts, read_lease

HOLD = """
import sys, time
from pathlib import Path
from seqdis.bench.core.lease import Lease, LeaseHeld
try:
    with Lease(Path(sys.argv[1]), interval=float(sys.argv[2])) as lease:
        print("have", flush=True)
        while not lease.lost:
            time.sleep(0.02)
        print("lost", flush=True)
except LeaseHeld:
    print("held", flush=True)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Starts processes that hold a lease until they lose it, and ends them."""
    started: list[subprocess.Popen[str]] = []

    def start(interval: float = 0.1, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", HOLD, str(tmp_path), str(interval)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def pretend_elsewhere(folder: Path) -> None:
    """Makes the lease look like another host's, in place: only its heartbeat tells then whether it lives."""
    seen = read_lease(folder)
    assert seen is not None
    holder = {**seen[0], "host": "elsewhere", "process": ["boot", "space", "1"]}
    (folder / "lease.json").write_text(json.dumps(holder))


def test_lease_is_exclusive_while_held_and_free_afterwards(tmp_path: Path) -> None:
    with Lease(tmp_path, interval=0.1) as lease:
        assert read_lease(tmp_path)[0]["token"] == lease.token
        with pytest.raises(LeaseHeld, match=str(os.getpid())), Lease(tmp_path, interval=0.1):
            pass
        lease.check()
    assert not (tmp_path / "lease.json").exists()
    with Lease(tmp_path, interval=0.1) as lease:
        assert lease.attempt == 2
    assert [path.name for path in tmp_path.iterdir()] == ["attempts.jsonl"]
    assert [line["pid"] for line in read_attempts(tmp_path)] == [os.getpid()] * 2


def test_lease_of_a_live_process_is_not_taken(tmp_path: Path, holder) -> None:
    other = holder()
    assert said(other) == "have"
    pretend_elsewhere(tmp_path)
    start = time.monotonic()
    with pytest.raises(LeaseHeld), Lease(tmp_path, interval=0.1):
        pass
    assert time.monotonic() - start < 0.3, "a live lease is recognised within its missed beats"


def test_lease_of_a_killed_process_on_this_host_is_taken_at_once(tmp_path: Path, holder) -> None:
    other = holder(interval=60)
    assert said(other) == "have"
    other.kill()
    other.wait()
    start = time.monotonic()
    with Lease(tmp_path, interval=60) as lease:
        lease.check()
    assert time.monotonic() - start < 5, "no beats are waited for"


def test_lease_of_a_dead_host_is_taken_after_missed_beats(tmp_path: Path, holder) -> None:
    other = holder(interval=0.2)
    assert said(other) == "have"
    pretend_elsewhere(tmp_path)
    other.kill()
    other.wait()
    start = time.monotonic()
    with Lease(tmp_path, interval=60) as lease:
        lease.check()
    assert 0.5 < time.monotonic() - start < 5, "three of the dead owner's beats, not of the taker's"


@pytest.mark.parametrize("shift", [-3600.0, 3600.0])
def test_lease_with_a_clock_an_hour_off_is_judged_by_its_beats(tmp_path: Path, holder, shift: float) -> None:
    other = holder(interval=0.2)
    assert said(other) == "have"
    pretend_elsewhere(tmp_path)
    other.kill()
    other.wait()
    os.utime(tmp_path / "lease.json", (time.time() + shift,) * 2)
    start = time.monotonic()
    with Lease(tmp_path, interval=0.2):
        pass
    assert time.monotonic() - start > 0.5


def test_stopped_owner_notices_the_takeover_and_does_not_revive_its_lease(tmp_path: Path, holder) -> None:
    other = holder(interval=0.1)
    assert said(other) == "have"
    pretend_elsewhere(tmp_path)
    os.kill(other.pid, signal.SIGSTOP)
    with Lease(tmp_path, interval=0.1) as lease:
        os.kill(other.pid, signal.SIGCONT)
        assert said(other) == "lost"
        lease.check()
        assert read_lease(tmp_path)[0]["token"] == lease.token
        other.wait(10)
        lease.check()


def test_replaced_owner_is_stopped_before_it_publishes(tmp_path: Path) -> None:
    with Lease(tmp_path, interval=60) as first:
        (tmp_path / "lease.json").unlink()
        with Lease(tmp_path, interval=60) as second:
            with pytest.raises(LeaseLost):
                first.check()
            second.check()
            first.release()
            second.check()


def test_later_start_of_the_same_job_takes_over_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {"host": "n1", "pid": 1, "job": "7_3", "restarts": "0", "submission": "a"}
    for name, value in {
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_RESTART_COUNT": "1",
        "SEQDIS_SUBMISSION": "a",
    }.items():
        monkeypatch.setenv(name, value)
    assert is_gone(old)
    assert not is_gone({**old, "restarts": "1"})
    assert not is_gone({**old, "restarts": "2"}), "the stale copy must not take the lease back"
    assert not is_gone({**old, "submission": "b"}), "another cluster counts its jobs from 1 again"
    assert not is_gone({**old, "job": "7_4"})


def test_many_processes_that_find_a_dead_lease_end_with_one_holder(tmp_path: Path, holder) -> None:
    dead = holder(interval=0.3)
    assert said(dead) == "have"
    pretend_elsewhere(tmp_path)
    dead.kill()
    dead.wait()
    others = [holder(interval=0.3) for _ in range(6)]
    words = [said(other) for other in others]
    time.sleep(0.7)
    alive = [word for other, word in zip(others, words, strict=True) if other.poll() is None]
    assert alive == ["have"], words
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attempts.jsonl", "lease.json"]


def test_unreadable_lease_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQDIS_HEARTBEAT", "0.1")
    (tmp_path / "lease.json").write_text('{"interval": 0.1, "host"')
    with Lease(tmp_path) as lease:
        lease.check()


def test_lease_without_hard_links_is_exclusive_and_taken_over_from_the_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*names: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    with Lease(tmp_path, interval=0.1) as lease:
        with pytest.raises(LeaseHeld), Lease(tmp_path, interval=0.1):
            pass
        lease.check()
        dead = {**read_lease(tmp_path)[0], "host": "elsewhere", "process": ["boot", "space", "1"]}
    (tmp_path / "lease.json").write_text(json.dumps(dead))
    with Lease(tmp_path, interval=0.1) as lease:
        lease.check()
        assert lease.attempt == 2
    assert [path.name for path in tmp_path.iterdir()] == ["attempts.jsonl"]
