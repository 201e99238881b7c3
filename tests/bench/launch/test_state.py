"""Where cells stand, read from their folders; no scheduler is asked (that is tested on a real one)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqdis.bench import cli
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import write_json
from seqdis.bench.core.lease import Lease, note_attempt, read_attempts
from seqdis.bench.launch import state
from seqdis.bench.launch.slurm import scheduler, submissions, worker
from seqdis.bench.launch.slurm.profile import Needs, Options
from seqdis.bench.launch.slurm.scheduler import Job, task_indices
from seqdis.bench.records.store import CONFIG, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path)
    for name in ("a-done", "b-failed", "c-lost", "d-missing", "e-running"):
        write_json(found.folder(name) / CONFIG, {"cell": name})
    (found.folder("a-done") / "record.json").write_text("{}")
    (found.folder("b-failed") / "error.json").write_text(json.dumps({"reason": "total is not finite"}))
    (found.folder("c-lost") / "log.txt").write_text("step 3\n")
    (found.folder("c-lost") / "checkpoint.safetensors").write_bytes(b"x")
    return found


@pytest.fixture
def no_scheduler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_states_are_read_from_disk(store: Store) -> None:
    with Lease(store.folder("e-running"), interval=0.1):
        progress = {
            "phase": "train",
            "step": 30,
            "steps": 100,
            "epoch": 1,
            "seconds_left": 70.0,
            "warning": "motion in s",
        }
        (store.folder("e-running") / "progress.json").write_text(json.dumps(progress))
        found = state.survey(store)
    assert {cell.id[2:]: cell.state for cell in found.cells} == {
        "done": "done",
        "failed": "failed",
        "lost": "lost",
        "missing": "missing",
        "running": "running",
    }
    by_id = {cell.id: cell for cell in found.cells}
    assert by_id["b-failed"].detail == "total is not finite"
    assert "state saved" in by_id["c-lost"].detail
    assert by_id["e-running"].detail == "train, epoch 2, step 30 of 100, 70 s left; warning: motion in s"
    assert by_id["e-running"].beat_age < 5
    assert found.scheduler == "none"
    assert not found.is_complete
    assert state.survey(store, only=["a-done"]).is_complete


def test_lease_without_heartbeat_is_lost(store: Store) -> None:
    lease = store.folder("e-running") / "lease.json"
    lease.write_text(json.dumps({"token": "x", "host": "elsewhere", "interval": 1.0}))
    assert state.survey(store, only=["e-running"]).cells[0].state == "running"
    os.utime(lease, (time.time() - 60,) * 2)
    assert state.survey(store, only=["e-running"]).cells[0].state == "lost"


@pytest.mark.usefixtures("no_scheduler")
def test_submitted_cells_are_unknown_without_an_answer(store: Store) -> None:
    made = submissions.create(
        store.out, kind="cells", needs=Needs(), options=Options(), title="cells 1", tasks=[["d-missing"]]
    )
    made.settle("submitted", job_id="7")
    found = state.survey(store)
    assert {cell.id: cell.state for cell in found.cells}["d-missing"] == "unknown"
    assert "not installed" in found.scheduler


def test_refused_submission_leaves_cells_missing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "queue", lambda prefix: [])
    made = submissions.create(
        store.out, kind="cells", needs=Needs(), options=Options(), title="cells 1", tasks=[["d-missing"]]
    )
    assert state.survey(store, only=["d-missing"]).cells[0].state == "lost", "sbatch may have happened"
    made.settle("refused", message="no")
    assert state.survey(store, only=["d-missing"]).cells[0].state == "missing"
    assert made.settle("submitted", job_id="1").state == "refused", "an outcome is written once"


@pytest.mark.parametrize(
    ("line", "expected", "detail"),
    [
        (("PENDING", "Priority"), "queued", "Priority"),
        (("PENDING", "JobHeldUser"), "held", "scontrol release 7"),
        (("PENDING", "launch failed requeued held"), "held", "scontrol release 7"),
        (("PENDING", "DependencyNeverSatisfied"), "held", "cancel it"),
        (("PENDING", "Dependency"), "waiting", "prepare sprites"),
        (("RUNNING", "None"), "queued", "its job is running"),
        (("CANCELLED", "None"), "lost", "cancelled"),
        (("NODE_FAIL", "None"), "lost", "node fail"),
        (("COMPLETING", "None"), "queued", "completing"),
    ],
)
def test_queue_line_gives_the_state(
    store: Store, monkeypatch: pytest.MonkeyPatch, line: tuple[str, str], expected: str, detail: str
) -> None:
    helper = submissions.create(store.out, kind="command", needs=Needs(), options=Options(), title="prepare sprites")
    made = submissions.create(
        store.out,
        kind="cells",
        needs=Needs(),
        options=Options(),
        title="cells 1",
        tasks=[["c-lost"], ["d-missing"]],
        prerequisites=[helper.id],
    )
    job = Job("7", frozenset({1}), made.name, line[0], "0:01", "1:00", "n1", line[1])
    monkeypatch.setattr(state, "queue", lambda prefix: [job])
    found = state.survey(store, only=["d-missing"]).cells[0]
    assert (found.state, found.job) == (expected, "7_1" if job.is_live else "")
    assert detail in found.detail
    assert state.survey(store, only=["c-lost"]).cells[0].state == "lost", "the other task's line says nothing of it"


def test_failed_prerequisite_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "queue", lambda prefix: [])
    helper = submissions.create(store.out, kind="command", needs=Needs(), options=Options(), title="prepare sprites")
    submissions.create(
        store.out,
        kind="cells",
        needs=Needs(),
        options=Options(),
        title="cells 1",
        tasks=[["d-missing"]],
        prerequisites=[helper.id],
    )
    (helper.folder / "error.json").write_text(json.dumps({"reason": "prepare sprites: ended: exit code 2"}))
    found = state.survey(store, only=["d-missing"]).cells[0]
    assert (found.state, "exit code 2" in found.detail) == ("waiting", True)


def test_cell_is_found_by_prefix_or_part(store: Store) -> None:
    assert state.match(store, "a-done") == ["a-done"]
    assert state.match(store, "failed") == ["b-failed"]
    assert state.match(store, "b") == ["b-failed"]
    for cell in ("sprites-synth-dsvae-quick-s0-1", "sprites-synth-cdsvae-quick-s0-2"):
        store.folder(cell).mkdir()
    assert state.match(store, "dsvae") == ["sprites-synth-dsvae-quick-s0-1"]
    assert state.match(store, "svae-quick") == ["sprites-synth-cdsvae-quick-s0-2", "sprites-synth-dsvae-quick-s0-1"]
    assert state.match(store, "missing") == ["d-missing"]
    with pytest.raises(UserError, match="no cell"):
        state.match(store, "zzz")


def test_array_expressions_are_expanded() -> None:
    assert task_indices("0-3,7%2") == {0, 1, 2, 3, 7}
    assert task_indices("5") == {5}
    assert task_indices("N/A") == frozenset()


@pytest.mark.parametrize("name", ["COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "CANCELLED"])
def test_ended_jobs_are_not_live(name: str) -> None:
    assert not Job("1", frozenset(), "bench-x", name, "", "", "", "").is_live


def test_unknown_job_states_count_as_live() -> None:
    assert Job("1", frozenset(), "bench-x", "REQUEUE_HOLD", "", "", "", "").is_live


@pytest.mark.usefixtures("no_scheduler")
def test_scheduler_that_is_not_there_is_unknown() -> None:
    assert not scheduler.is_available()
    with pytest.raises(scheduler.SchedulerUnknown):
        scheduler.queue("bench-")


def test_status_exits_zero_only_when_all_is_done(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--out", str(store.out)]) == 1
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].startswith("failed")
    assert "5 cells: 1 done, 1 failed, 1 lost, 2 missing" in printed
    assert cli.main(["status", "a-done", "--out", str(store.out)]) == 0
    capsys.readouterr()
    cli.main(["status", "--json", "--out", str(store.out)])
    assert json.loads(capsys.readouterr().out)["counts"]["missing"] == 2


def test_status_of_nothing_says_what_to_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--out", str(tmp_path)]) == 2
    assert "bench run" in capsys.readouterr().err


def test_logs_prints_the_log_and_the_reason(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["logs", "c-l", "--out", str(store.out)]) == 0
    assert "step 3" in capsys.readouterr().out
    cli.main(["logs", "b-failed", "--out", str(store.out)])
    assert "total is not finite" in capsys.readouterr().out
    assert cli.main(["logs", "-", "--out", str(store.out)]) == 2


def test_retry_keeps_the_evidence_and_the_state(store: Store) -> None:
    from seqdis.bench.commands.retry import clear

    folder = store.folder("b-failed")
    (folder / "checkpoint.safetensors").write_bytes(b"x")
    note_attempt(folder, {"started": "now"})
    clear(folder)
    assert not (folder / "error.json").exists()
    assert "finite" in (folder / "error-1.json").read_text()
    assert (folder / "checkpoint.safetensors").exists()
    clear(folder, from_scratch=True)
    assert not (folder / "checkpoint.safetensors").exists()


def run_worker(folder: Path) -> int:
    return subprocess.run([sys.executable, "-P", "-m", "seqdis.bench.launch.slurm.worker", str(folder)]).returncode


def test_cell_that_never_gets_further_is_failed_until_retried(store: Store) -> None:
    folder = store.folder("c-lost")
    (folder / "progress.json").write_text(json.dumps({"step": 7}))
    for _ in range(worker.MAX_STUCK):
        note_attempt(folder, {"step": 7})
        note_attempt(folder, {"started": "now"})
    made = submissions.create(
        store.out, kind="cells", needs=Needs(), options=Options(), title="cells 1", tasks=[["c-lost"]]
    )
    assert run_worker(made.folder) == 1
    assert "without getting past step 7" in json.loads((folder / "error.json").read_text())["reason"]
    from seqdis.bench.commands.retry import clear

    clear(folder)
    assert worker.stuck_starts(folder) == 0


def test_failed_cell_is_left_alone_when_its_job_starts_again(store: Store) -> None:
    made = submissions.create(
        store.out, kind="cells", needs=Needs(), options=Options(), title="cells 1", tasks=[["b-failed"]]
    )
    assert run_worker(made.folder) == 1
    assert read_attempts(store.folder("b-failed")) == []
    assert not (store.folder("b-failed") / "log.txt").exists()


def test_progress_resets_the_count(store: Store) -> None:
    folder = store.folder("c-lost")
    for step in (1, 2, 2):
        note_attempt(folder, {"step": step})
        note_attempt(folder, {"started": "now"})
    (folder / "progress.json").write_text(json.dumps({"step": 2}))
    assert worker.stuck_starts(folder) == 2
    (folder / "progress.json").write_text(json.dumps({"step": 3}))
    assert worker.stuck_starts(folder) == 0


def test_abandoned_submission_does_nothing(store: Store) -> None:
    made = submissions.create(
        store.out, kind="cells", needs=Needs(), options=Options(), title="cells 1", tasks=[["d-missing"]]
    )
    made.settle("abandoned")
    assert run_worker(made.folder) == 0
    assert read_attempts(store.folder("d-missing")) == []
