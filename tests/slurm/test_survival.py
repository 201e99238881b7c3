"""Every fault that a cluster has in store, on a real SLURM: no record lost, doubled or changed by it.

A scenario starts cells, does the damage, checks what `bench status` says of it, and types the user's line again until
all is done. The test then compares every record with that of an undisturbed local run, number by number.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .conftest import Campaign, Cluster, Lab, numbers, until

pytestmark = pytest.mark.slurm


@contextlib.contextmanager
def own_cluster(lab: Lab, **settings: Any) -> Iterator[Cluster]:
    """A cluster that no other scenario uses, because it is going to be hurt."""
    shared, lab.cluster = lab.cluster, Cluster(**{"nodes": 2, **settings})
    try:
        yield lab.cluster
    finally:
        lab.cluster.stop()
        lab.cluster = shared


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def node_of(lab: Lab, job: str) -> str:
    return lab.cluster.ask("squeue", "-h", "-j", job, "-o", "%N").split()[0]


def wrap_sbatch(lab: Lab, script: str) -> None:
    """Puts a script in front of the real sbatch."""
    folder = lab.out / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "sbatch").write_text(f"#!/bin/bash\nreal={shutil.which('sbatch')}\n{script}\n")
    (folder / "sbatch").chmod(0o755)
    lab.path = f"{folder}:{os.environ['PATH']}"


def cell_killed_as_if_out_of_memory(lab: Lab) -> None:
    """SIGKILL of the cell's process stands in for the out-of-memory killer."""
    lab.launch()
    cell = lab.training()
    os.kill(lab.holder(cell)["pid"], signal.SIGKILL)
    until((cell / "error.json").exists, "the failure's record")
    until(lambda: not lab.queue(), "the end of the job")
    assert "SIGKILL" in lab.bench("status", code=1).stdout
    assert "1 cells have failed" in lab.launch().stdout, "only retry runs a failed cell again"
    lab.bench("retry")
    lab.finish()
    assert "SIGKILL" in (cell / "error-1.json").read_text(), "the evidence is kept"


def task_killed_without_a_word(lab: Lab) -> None:
    lab.launch()
    cell = lab.training()
    pid = lab.holder(cell)["pid"]
    worker = parent(pid)
    os.kill(worker, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not lab.queue(), "the end of the job")
    assert lab.states() == {cell.name: "lost"}
    lab.launch()
    lab.finish()


def cell_raises_and_the_others_go_on(lab: Lab) -> None:
    lab.launch("--set", "method.lr=1000", "--set", "method.recon_weight=1e30")
    bad = lab.cells[0]
    lab.launch("--pack", "2", methods="dsvae,cdsvae")
    until((bad / "error.json").exists, "the failure's record")
    until(
        lambda: sum((cell / "record.json").exists() for cell in lab.cells) == 2,
        "the others' records",
        moving=lab.moving,
    )
    until(lambda: not lab.queue(), "the end of the jobs")
    assert lab.states()[bad.name] == "failed"
    assert "finite" in lab.bench("logs", bad.name).stdout
    again = lab.bench("retry").stdout
    assert "submitted 1 cells" in again
    until((bad / "error.json").exists, "the second failure")
    until(lambda: not lab.queue(), "the end of the job")
    assert (bad / "error-1.json").exists()
    shutil.rmtree(bad)


def damaged_checkpoint_and_leftovers(lab: Lab) -> None:
    """A file cut in half by hand and temporary files of a process that died while it wrote."""
    lab.launch()
    cell = lab.training()
    job = lab.holder(cell)["job"]
    checkpoint = cell / "checkpoint.safetensors"
    until(checkpoint.exists, "a checkpoint")
    os.kill(lab.holder(cell)["pid"], signal.SIGSTOP)  # it must not get to its end before the job is cancelled
    lab.cluster.ask("scancel", job)
    until(lambda: not lab.queue(), "the end of the job")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    (cell / ".record.json.x.tmp").write_text('{"schema": 1, "sta')
    (cell / ".checkpoint.safetensors.x.tmp").write_bytes(b"half")
    lab.launch()
    lab.finish()
    assert "set aside" in (cell / "log.txt").read_text()


def signalled_twice_and_requeued(lab: Lab) -> None:
    lab.launch()
    cell = lab.training()
    job = lab.holder(cell)["job"]
    for _ in range(2):
        lab.cluster.ask("scancel", "--signal=USR2", job)
    until(lambda: len(lab.attempts(cell)) == 2, "the second start")
    lab.finish()
    assert [line["restarts"] for line in lab.attempts(cell)] == ["0", "1"]
    assert "stopped at step" in (cell / "log.txt").read_text()


def hanging_cell_is_requeued_before_the_limit(lab: Lab) -> None:
    """A cell that does not react to the signal (stopped here) is killed while its job can still be requeued."""
    lab.launch(signal_seconds=12)
    cell = lab.training()
    os.kill(lab.holder(cell)["pid"], signal.SIGSTOP)
    lab.cluster.ask("scancel", "--signal=USR2", lab.holder(cell)["job"])
    until(lambda: len(lab.attempts(cell)) == 2, "the second start")
    lab.finish()


def told_to_end_and_run_again(lab: Lab) -> None:
    """SIGTERM alone: the state is saved, and nothing is requeued, for it may be the user who wants it to end."""
    lab.launch()
    cell = lab.training()
    lab.cluster.ask("scancel", "--signal=TERM", lab.holder(cell)["job"])
    until(lambda: not lab.queue(), "the end of the job")
    state = lab.status()["cells"][0]
    assert state["state"] == "lost"
    assert "state saved" in state["detail"]
    lab.launch()
    lab.finish()


def preempted_by_a_better_partition(lab: Lab) -> None:
    with own_cluster(lab, nodes=1) as cluster:
        lab.launch()
        for number in range(2):
            cell = lab.training(10 + 60 * number)
            with lab.held_still(cell):
                cluster.ask("sbatch", "-p", "high", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
            until(lambda cell=cell, number=number: len(lab.attempts(cell)) == number + 2, "the next start")
        lab.finish()
        assert len(lab.attempts(cell)) == 3


def preempted_without_grace(lab: Lab) -> None:
    """Signal and SIGTERM come together, and SLURM requeues beside us."""
    with own_cluster(lab, nodes=1, grace=0) as cluster:
        lab.launch()
        cell = lab.training()
        with lab.held_still(cell):
            cluster.ask("sbatch", "-p", "high", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
        until(lambda: len(lab.attempts(cell)) == 2, "the second start")
        lab.finish()


def time_limit_of_a_packed_job(lab: Lab) -> None:
    """Four cells in one job whose limit does not suffice: it is told to save, requeued, and goes on."""
    lab.launch("--pack", "4", methods="dsvae,cdsvae", seeds=2)
    cell = lab.training()
    job = lab.holder(cell)["job"]
    # The limit comes down to one or two minutes from now, however slow this machine is; the signal comes a minute
    # or two before it. The next start gets the long limit back.
    elapsed = lab.cluster.ask("squeue", "-h", "-j", job, "-o", "%M").strip().split(":")
    with lab.held_still(cell):
        lab.cluster.ask("scontrol", "update", f"jobid={job}", f"TimeLimit={int(elapsed[-2]) + 2}")
    until(lambda: "PENDING" in lab.cluster.ask("squeue", "-h", "-j", job, "-o", "%T"), "the requeue")
    lab.cluster.ask("scontrol", "update", f"jobid={job}", "TimeLimit=30")
    lab.finish()
    starts = [line for cell in lab.cells for line in lab.attempts(cell)]
    assert {line["restarts"] for line in starts} == {"0", "1"}
    assert len({line["job"] for line in starts}) == 1, "one job did it all"


def node_crashes(lab: Lab) -> None:
    with own_cluster(lab) as cluster:
        lab.launch()
        cell = lab.training()
        node = node_of(lab, lab.holder(cell)["job"])
        cluster.control("node-kill", node)
        cluster.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        until(lambda: len(lab.attempts(cell)) == 2, "the start on another node")
        assert node_of(lab, lab.holder(cell)["job"]) != node
        cluster.control("node-start", node)
        lab.finish()


def network_splits_and_two_copies_run(lab: Lab) -> None:
    """The node's daemon dies, its job lives on, and SLURM starts a second copy of it elsewhere."""
    with own_cluster(lab) as cluster:
        lab.launch()
        cell = lab.training()
        first = lab.holder(cell)
        node = node_of(lab, first["job"])
        # The first copy sleeps until the second one works, so that there are two of them however fast the machine is.
        os.kill(first["pid"], signal.SIGSTOP)
        cluster.control("node-kill", node, "daemon")
        cluster.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        until(lambda: len(lab.attempts(cell)) == 2, "the second copy")
        os.kill(first["pid"], signal.SIGCONT)
        assert not (cell / "record.json").exists(), "the first copy was too quick for this test"
        until(lambda: not Path(f"/proc/{first['pid']}").exists(), "the end of the first copy")
        lab.finish()
        cluster.control("node-start", node)
        assert lab.attempts(cell)[1]["restarts"] == "1"


def controller_is_down_for_a_while(lab: Lab) -> None:
    """A clean restart with running, pending and dependent jobs; every command meanwhile."""
    with own_cluster(lab, nodes=1) as cluster:
        lab.launch("--max-jobs", "1", seeds=2)
        lab.training()
        cluster.control("ctld-stop")
        with ThreadPoolExecutor(3) as pool:
            status = pool.submit(lab.status)
            again = pool.submit(lab.launch, "--max-jobs", "1", seeds=2, code=2)
            cancel = pool.submit(lab.bench, "cancel", code=2)
        assert "does not answer" in again.result().stderr
        assert "does not answer" in cancel.result().stderr
        states = {cell["state"] for cell in status.result()["cells"]}
        assert states <= {"running", "unknown", "done"}, "nothing is called lost"
        cluster.control("ctld-start")
        lab.finish()
        assert all(len(lab.attempts(cell)) == 1 for cell in lab.cells), "no cell was run twice"


def controller_crashes_after_submission(lab: Lab) -> None:
    """SLURM forgets jobs that it had accepted, and gives their ids out again, maybe while the old ones still run."""
    with own_cluster(lab, nodes=1) as cluster:
        lab.launch(seeds=2)
        cluster.control("ctld-kill")
        cluster.control("ctld-start")
        lab.launch(seeds=2)

        def again() -> bool:
            states = lab.states()
            if set(states.values()) == {"done"}:
                return True
            if "held" in states.values():
                lab.bench("cancel", next(cell for cell, state in states.items() if state == "held"))
            if "Duplicate jobid" in cluster.ask("sinfo", "-h", "-R"):
                # A job of before still runs under an id that is given out again: SLURM drains the node until the
                # administrator looks at it.
                cluster.ask("scontrol", "update", "nodename=n1", "state=resume")
            if not lab.queue():
                lab.launch(seeds=2)
            return False

        lab.wait(again, "all records")
        lab.finish()


def job_ids_start_again(lab: Lab) -> None:
    """A new cluster counts from 1 on the same output folder."""
    with own_cluster(lab, nodes=1):
        lab.launch()
        cell = lab.training()
        first = lab.holder(cell)["job"]
    with own_cluster(lab, nodes=1):
        assert lab.states() == {cell.name: "lost"}
        lab.launch()
        lab.finish()
        assert [line["job"] for line in lab.attempts(cell)] == [first, first]


def launcher_dies_before_sbatch(lab: Lab) -> None:
    wrap_sbatch(lab, "kill -9 $PPID; exit 1")
    assert lab.launch(code=None).returncode == -signal.SIGKILL
    lab.path = os.environ["PATH"]
    assert set(lab.states().values()) <= {"missing", "lost"}
    lab.launch()
    lab.finish()


def launcher_dies_after_sbatch(lab: Lab) -> None:
    """The job is in the queue, and nobody has written down its id."""
    wrap_sbatch(lab, '"$real" "$@"; kill -9 $PPID')
    assert lab.launch("--hold", code=None).returncode == -signal.SIGKILL
    lab.path = os.environ["PATH"]
    assert set(lab.states().values()) == {"held"}, "known by its name"
    assert "1 cells are in the queue already" in lab.launch().stdout
    lab.release()
    lab.finish()
    assert len(lab.attempts(lab.cells[0])) == 1


def launched_twice_at_once(lab: Lab) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(lab.launch, seeds=2) for _ in range(2)]
    counts = sorted(one.result().stdout.split("submitted ")[1].split()[0] for one in both)
    assert counts == ["0", "2"], "each cell is submitted once"
    lab.finish()
    assert all(len(lab.attempts(cell)) == 1 for cell in lab.cells)


def refused_half_way(lab: Lab) -> None:
    rule = """
    [[low.rule]]
    when = { method = "cdsvae" }
    partition = "nowhere"
    """
    done = lab.launch(methods="dsvae,cdsvae", extra=rule, code=2)
    assert "submitted 1 cells" in done.stdout
    assert "invalid partition" in done.stderr
    lab.launch(methods="dsvae,cdsvae")
    lab.finish()
    assert all(len(lab.attempts(cell)) == 1 for cell in lab.cells), "what was accepted was not submitted again"


def prerequisite_fails(lab: Lab) -> None:
    """Nothing runs on missing data; when it is put right, the same line does the rest."""
    good, lab.data = lab.data, lab.out / "data"
    lab.data.write_text("not a folder")
    lab.launch()
    cell = lab.cells[0]
    until(lambda: not lab.queue(), "the end of the jobs")
    state = lab.status()["cells"][0]
    assert state["state"] == "waiting"
    assert "prepare sprites" in state["detail"]
    assert not (cell / "attempts.jsonl").exists()
    lab.data.unlink()
    shutil.copytree(good / "judges", lab.data / "judges")
    lab.launch()
    lab.finish()


def user_holds_requeues_and_cancels(lab: Lab) -> None:
    lab.launch("--max-jobs", "1", seeds=2)
    cell = lab.training()
    other = next(one for one in lab.cells if one != cell)
    job = lab.holder(cell)["job"]
    waiting = f"{job.split('_')[0]}_{1 - int(job.split('_')[1])}"
    with lab.held_still(cell):
        lab.cluster.ask("scontrol", "hold", waiting)
        assert lab.states() == {cell.name: "running", other.name: "held"}
        lab.cluster.ask("scontrol", "requeue", job)
    until(lambda: len(lab.attempts(cell)) == 2, "the second start")
    lab.cluster.ask("scontrol", "requeuehold", job)
    until(lambda: lab.states()[cell.name] == "held", "the held job")
    lab.cluster.ask("scontrol", "release", job)
    lab.cluster.ask("scancel", waiting)
    until(lambda: lab.states()[other.name] == "lost", "the cancelled job")
    lab.launch(seeds=2)
    lab.finish()


def cancelled_and_run_again(lab: Lab) -> None:
    lab.launch(seeds=2)
    cell = lab.training()
    with ThreadPoolExecutor(1) as pool:
        with lab.held_still(cell):
            cancel = pool.submit(lab.bench, "cancel")
        cancel.result()
    assert not lab.queue()
    states = lab.states()
    assert states[cell.name] == "cancelled"
    assert not any((one / "lease.json").exists() for one in lab.cells), "processes saved and left"
    lab.launch(seeds=2)
    lab.finish()


def disk_is_full(lab: Lab) -> None:
    runs = lab.out / "runs"
    runs.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(runs)], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mount.stderr.strip()}")
    try:
        lab.launch()
        cell = lab.cells[0]
        until(lambda: (runs / "submissions").exists() and not lab.queue(), "the end of the job")
        assert not (cell / "record.json").exists()
        assert set(lab.states().values()) <= {"failed", "lost"}
        subprocess.run(["mount", "-o", "remount,size=64m", str(runs)], check=True)
        lab.bench("retry")
        lab.finish()
        keep = lab.out / "kept"
        shutil.copytree(runs, keep)
    finally:
        subprocess.run(["umount", "-l", str(runs)], check=True)
    shutil.copytree(keep, runs, dirs_exist_ok=True)


def clock_of_the_node_is_off(lab: Lab) -> None:
    """A lease an hour in the future, left by a process that is gone."""
    lab.launch("--hold")
    cell = lab.cells[0]
    lease = {"token": "x", "host": "elsewhere", "pid": 1, "process": ["b", "s", "1"], "interval": 0.5, "job": "9_9"}
    (cell / "lease.json").write_text(json.dumps(lease))
    os.utime(cell / "lease.json", (4e9, 4e9))
    lab.release()
    lab.finish()


SCENARIOS: list[Callable[[Lab], None]] = [
    # The long ones first, so that they overlap with the rest.
    time_limit_of_a_packed_job,
    controller_is_down_for_a_while,
    controller_crashes_after_submission,
    user_holds_requeues_and_cancels,
    cell_raises_and_the_others_go_on,
    preempted_by_a_better_partition,
    preempted_without_grace,
    node_crashes,
    network_splits_and_two_copies_run,
    signalled_twice_and_requeued,
    told_to_end_and_run_again,
    hanging_cell_is_requeued_before_the_limit,
    cell_killed_as_if_out_of_memory,
    task_killed_without_a_word,
    damaged_checkpoint_and_leftovers,
    job_ids_start_again,
    launcher_dies_before_sbatch,
    launcher_dies_after_sbatch,
    launched_twice_at_once,
    refused_half_way,
    prerequisite_fails,
    cancelled_and_run_again,
    disk_is_full,
    clock_of_the_node_is_off,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_fault_changes_no_record(
    scenario: Callable[[Lab], None], campaign: Campaign, undisturbed: dict[str, dict[str, Any]]
) -> None:
    lab = campaign.result(scenario)
    assert lab.cells
    for cell in lab.cells:
        assert numbers(lab.record(cell)) == numbers(undisturbed[cell.name])
        left = {path.name for path in cell.iterdir()}
        assert not left & {"lease.json", "error.json", "checkpoint.safetensors"}, left
