"""Submission on a real SLURM: the user's own line, requests as they were promised, and grids of ten thousand cells."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .conftest import LINE, Cluster, Lab, numbers, until

pytestmark = pytest.mark.slurm

METHODS = ("dsvae", "s3vae", "rwae", "mocogan", "fhvae", "cdsvae")
N_LARGE = 10_000


def jobs(cluster: Cluster, job_id: str) -> list[dict[str, str]]:
    """What SLURM holds of a job, one mapping for each of its entries."""
    text = cluster.ask("scontrol", "--oneliner", "show", "job", job_id)
    return [dict(re.findall(r"(\w[\w/:]*)=(\S*)", line)) for line in text.splitlines()]


def manifests(out: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in sorted(out.glob("submissions/*/manifest.json"))]
    return sorted(found, key=lambda manifest: manifest["id"])


def write_mug_shaped_folder(root: Path) -> Path:
    """Two subjects, all expressions, two takes each of moving noise: the MUG database's tree, none of its pixels."""
    from PIL import Image

    random = np.random.default_rng(0)
    for subject in ("001", "002"):
        for expression in ("anger", "disgust", "fear", "happiness", "sadness", "surprise"):
            for take in range(3):
                folder = root / subject / "session0" / expression / f"take{take:03d}"
                folder.mkdir(parents=True)
                face = random.integers(0, 255, (80, 80, 3), np.uint8)
                for frame in range(32):
                    Image.fromarray(np.roll(face, frame, axis=1)).save(folder / f"img_{frame:04d}.jpg")
    return root


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real Sprites from its sheets and a MUG-shaped folder, prepared as a user would."""
    source = os.environ.get("SEQDIS_TEST_DATA")
    if not source:
        pytest.skip("SEQDIS_TEST_DATA does not name the folder of test data")
    root = tmp_path_factory.mktemp("real")
    mug = write_mug_shaped_folder(tmp_path_factory.mktemp("mug"))
    for words in (["sprites", "--from", f"{source}/lpc-sprites"], ["mug", "--from", str(mug)]):
        subprocess.run(
            [
                sys.executable,
                "-P",
                "-m",
                "seqdis.bench.cli",
                "data",
                "prepare",
                *words,
                "--size",
                "64",
                "--data-dir",
                str(root),
            ],
            check=True,
            timeout=300,
        )
    return root


def test_users_line_submits_the_whole_grid(cluster: Cluster, real_data: Path, tmp_path: Path) -> None:
    """`bench run --methods all --datasets sprites,mug`, no word more; the lab's ./slurm.toml says the rest."""
    (tmp_path / "slurm.toml").write_text("""
[lab]
partition = "low"
gpus = 1
cpus = 2
mem = "3G"
time = "08:00:00"
max_jobs = 4
hold = true
setup = ["export LAB=1"]
[[lab.rule]]
when = { method = "mocogan" }
time = "12:00:00"
""")
    environment = {**cluster.environment, "SEQDIS_DATA": str(real_data)}
    line = [sys.executable, "-P", "-m", "seqdis.bench.cli", "run", "--methods", "all", "--datasets", "sprites,mug"]

    def run(*more: str) -> str:
        done = subprocess.run(
            [*line, *more], env=environment, capture_output=True, text=True, timeout=300, cwd=tmp_path
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    promised = run("--dry-run")
    assert not (tmp_path / "runs").exists(), "a dry run touches nothing"
    printed = run()
    assert "submitted 60 cells" in printed
    out = tmp_path / "runs"
    made = manifests(out)
    try:
        cells = [one for one in made if one["kind"] == "cells"]
        planned = sorted(cell for one in cells for task in one["tasks"] for cell in task)
        assert planned == sorted(path.name for path in (out / "cells").iterdir())
        configs = [json.loads((out / "cells" / cell / "config.json").read_text())["cell"] for cell in planned]
        assert {(c["method"], c["dataset"], c["seed"]) for c in configs} == {
            (method, dataset, seed) for method in METHODS for dataset in ("sprites", "mug") for seed in range(5)
        }
        assert {(c["preset"], c["source"], c["size"]) for c in configs} == {("paper", "real", 64)}
        ids = {}
        for one in made:
            folder = out / "submissions" / one["id"]
            job_id = json.loads((folder / "outcome.json").read_text())["job_id"]
            ids[one["title"]] = job_id
            script = (folder / f"{job_id}_submission.sh").read_text()
            assert _anonymous(script) in _anonymous(promised), "what was submitted is what the dry run showed"
            for job in jobs(cluster, job_id):
                _check_job(job, one, folder)
        _check_dependencies(cluster, made, ids)
        together = sum(
            int(jobs(cluster, ids[one["title"]])[0]["ArrayTaskThrottle"])
            for one in cells
            if not _waits_for_an_array(cluster, ids, one)
        )
        assert together <= 4
        again = run()
        assert "submitted 0 cells" in again
        assert "60 cells are in the queue already" in again
        status = subprocess.run(
            [*line[:4], "status", "--json"], env=environment, capture_output=True, text=True, cwd=tmp_path
        )
        assert status.returncode == 1
        assert {cell["state"] for cell in json.loads(status.stdout)["cells"]} <= {"held", "waiting"}
    finally:
        subprocess.run([*line[:4], "cancel"], env=environment, check=True, capture_output=True, cwd=tmp_path)
    assert not [name for name in cluster.ask("squeue", "-h", "-o", "%j").split() if name[6:] in {m["id"] for m in made}]


def _anonymous(text: str) -> str:
    """A request without what differs between a dry run and the real one: ids of submissions and jobs."""
    text = re.sub(r"ID-\d+|\d{8}T\d{9}-[0-9a-f]{8}", "ID", text)
    text = re.sub(r"<job of request \d+>|(?<=:)\d+(?=[:,\n])", "JOB", text)
    return re.sub(r"--dependency=.*", lambda found: found.group().replace("'", ""), text).strip()


def _check_job(job: dict[str, str], manifest: dict[str, Any], folder: Path) -> None:
    is_cells = manifest["kind"] == "cells"
    assert job["JobName"] == f"bench-{manifest['id']}"
    assert job["Partition"] == "low"
    assert job["Requeue"] == "1"
    assert job["Priority"] == "0", "held"
    assert job["StdOut"].startswith(str(folder))
    if is_cells:
        limit = {"mocogan": "12:00:00"}.get(_method_of(manifest), "08:00:00")
        assert job["TimeLimit"] == limit
        assert (job["CPUs/Task"], job["MinMemoryNode"]) == ("2", "3G")
        assert "gpu:1" in job["TresPerNode"]
        assert job["ArrayTaskId"].partition("%")[0] in (f"0-{len(manifest['tasks']) - 1}", "0")
    elif manifest["title"] == "tables":
        assert "TresPerNode" not in job


def _method_of(manifest: dict[str, Any]) -> str:
    methods = {cell.split("-")[2] for task in manifest["tasks"] for cell in task}
    return methods.pop() if len(methods) == 1 else ""


def _check_dependencies(cluster: Cluster, made: list[dict[str, Any]], ids: dict[str, str]) -> None:
    by_id = {one["id"]: one for one in made}
    for one in made:
        said = jobs(cluster, ids[one["title"]])[0]["Dependency"]
        for needed in one["prerequisites"]:
            assert f"afterok:{ids[by_id[needed]['title']]}" in said
        if one["title"] == "tables":
            assert all(f"afterany:{ids[other['title']]}" in said for other in made if other["kind"] == "cells")


def _waits_for_an_array(cluster: Cluster, ids: dict[str, str], manifest: dict[str, Any]) -> bool:
    return "afterany" in jobs(cluster, ids[manifest["title"]])[0]["Dependency"]


def test_ten_thousand_cells_are_submitted_within_a_minute(lab: Lab) -> None:
    started = time.monotonic()
    printed = lab.launch("--hold", seeds=N_LARGE).stdout
    seconds = time.monotonic() - started
    assert f"submitted {N_LARGE} cells in 10 job arrays" in printed
    try:
        started = time.monotonic()
        found = lab.status()
        looked = time.monotonic() - started
        assert found["counts"] == {"held": N_LARGE}
        files = list((lab.out / "runs" / "submissions").glob("*/*"))
        assert len(files) <= 5 * 11, "a handful of files a submission, none a task"
    finally:
        lab.bench("cancel")
    assert lab.status()["counts"] == {"cancelled": N_LARGE}
    with open(lab.out / "seconds", "w") as file:
        file.write(f"submit {seconds:.1f} status {looked:.2f}")
    print(f"{N_LARGE} cells: planned and submitted in {seconds:.1f} s, status in {looked:.2f} s")
    assert seconds < 60
    assert looked < 2


def test_arrays_stay_within_the_clusters_bound(lab: Lab) -> None:
    shared, lab.cluster = lab.cluster, Cluster(nodes=1, maxarray=3)
    try:
        assert "submitted 8 cells in 3 job arrays" in lab.launch("--hold", "--max-jobs", "2", seeds=8).stdout
        assert set(lab.states().values()) <= {"held", "waiting"}
        lab.bench("cancel", "s0-")
        states = lab.states()
        assert [cell for cell, state in states.items() if state == "cancelled"] == [
            cell for cell in states if "-s0-" in cell
        ]
        lab.bench("cancel")
    finally:
        lab.cluster.stop()
        lab.cluster = shared


def test_grid_runs_to_its_tables(lab: Lab, undisturbed: dict[str, Any]) -> None:
    """Nothing goes wrong: packed cells side by side, tables at the end, and the watcher that sees it through."""
    lab.launch("--pack", "2", "--at-once", "2", "--cpus", "2", methods="dsvae,cdsvae")
    watcher = subprocess.run(
        lab.command("watch", "--every", "2"),
        env=lab.environment,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=lab.out,
    )
    assert watcher.returncode == 0
    lab.finish()
    for cell in lab.cells:
        assert numbers(lab.record(cell)) == numbers(undisturbed[cell.name])
    assert {path.suffix for path in (lab.out / "runs" / "tables").iterdir()} == {".txt", ".md", ".csv", ".json"}
    assert "2 of 2 cells have a record" in lab.job_logs()
    again = lab.launch(methods="dsvae,cdsvae").stdout
    assert "2 done already, 0 to run" in again
    assert len(manifests(lab.out / "runs")) == 2, "nothing is submitted for finished cells"


def test_submission_from_inside_a_job(lab: Lab) -> None:
    """An outer job's memory and CPU options must not leak into the requests."""
    script = lab.out / "job.sh"
    words = lab.command(*LINE, "--methods", "dsvae", "--launcher", "slurm", "--profile", lab.profile(), "--hold")
    script.write_text("#!/bin/bash\ncd " + str(lab.out) + "\n" + " ".join(words) + "\n")
    log = lab.out / "job.log"
    environment = lab.environment
    subprocess.run(
        ["sbatch", "--mem-per-cpu=300", "--cpus-per-task=3", "-o", str(log), str(script)],
        env=environment,
        check=True,
        capture_output=True,
    )
    until(lambda: log.exists() and ("submitted" in log.read_text() or "bench:" in log.read_text()), "the submission")
    until(lambda: set(lab.states().values()) == {"held"}, f"the held job\n{log.read_text()}")
    assert jobs(lab.cluster, lab.job_ids()[0])[0]["CPUs/Task"] == "1"
    lab.bench("cancel")
