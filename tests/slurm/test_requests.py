"""Profiles, and how a grid becomes sbatch requests. Needs no SLURM."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from seqdis.bench.commands import slurm_flags
from seqdis.bench.core.errors import UserError
from seqdis.bench.launch.slurm import requests
from seqdis.bench.launch.slurm.profile import Options
from seqdis.bench.launch.slurm.requests import Prerequisite
from seqdis.bench.records.config import CellKey, RunConfig, TrainingConfig
from seqdis.judges.settings import EvaluationConfig


@dataclasses.dataclass(frozen=True)
class Planned:
    id: str
    config: RunConfig

    @property
    def title(self) -> str:
        return self.id


def cells(count: int, **part: Any) -> list[Planned]:
    config = RunConfig(
        cell=key(**part), method={}, training=TrainingConfig(), evaluation=EvaluationConfig(), data={}, versions={}
    )
    return [Planned(f"{config.cell.method}-{number}", config) for number in range(count)]


def key(**part: Any) -> CellKey:
    defaults = {"dataset": "sprites", "method": "dsvae", "variant": "", "preset": "quick", "source": "synthetic"}
    return CellKey(**{**defaults, "seed": 0, "size": 32, **part})


def options(*words: str, tmp_path: Path | None = None, profile_text: str | None = None) -> Options:
    parser = argparse.ArgumentParser()
    slurm_flags.add_arguments(parser)
    if profile_text is not None and tmp_path is not None:
        (tmp_path / "lab.toml").write_text(profile_text)
        words = ("--profile", str(tmp_path / "lab.toml"), *words)
    return Options.of(slurm_flags.wishes(parser.parse_args(list(words))))


@pytest.fixture(autouse=True)
def no_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


LAB = """
default = "gpu"
[gpu]
partition = "gpu"
gpus = "a100:1"
time = "12:00:00"
max_jobs = 6
setup = ["module load cuda/12.8"]
extra = { mail-type = "END" }
[[gpu.rule]]
when = { method = "mocogan" }
time = "1-00:00:00"
[cpu]
partition = "cpu"
pack = 4
"""


# Profiles ----------------


def test_flags_win_over_rules_and_rules_over_the_table(tmp_path: Path) -> None:
    plain = options(tmp_path=tmp_path, profile_text=LAB)
    assert plain.needs(key(method="dsvae"), gpu=True).time == "12:00:00"
    assert plain.needs(key(method="mocogan"), gpu=True).time == "1-00:00:00"
    assert plain.needs(key(method="dsvae"), gpu=True).gpus == "a100:1"
    flagged = options("--time", "60", "--setup", "source env.sh", tmp_path=tmp_path, profile_text=LAB)
    assert flagged.needs(key(method="mocogan"), gpu=True).time == "60"
    assert flagged.setup == ("module load cuda/12.8", "source env.sh")
    assert plain.max_jobs == 6


def test_another_table_is_chosen_by_name(tmp_path: Path) -> None:
    (tmp_path / "slurm.toml").write_text(LAB)
    assert options("--profile", "cpu").needs(key(), gpu=False).pack == 4
    assert options().needs(key(), gpu=False).partition == "gpu"
    assert options("--profile", f"{tmp_path}/slurm.toml:cpu").needs(key(), gpu=False).partition == "cpu"


def test_without_profile_cells_ask_for_what_their_preset_needs() -> None:
    assert options().needs(key(), gpu=True).gpus == "1"
    assert options().needs(key(), gpu=False).gpus == "0"


def test_helpers_ask_for_no_gpu_unless_they_train(tmp_path: Path) -> None:
    lab = options(tmp_path=tmp_path, profile_text=LAB)
    assert lab.helper_needs().gpus == "0"
    assert lab.helper_needs(gpu=True).gpus == "a100:1"


def test_options_survive_json(tmp_path: Path) -> None:
    lab = options("--mem", "8G", tmp_path=tmp_path, profile_text=LAB)
    again = Options.from_json(json.loads(json.dumps(lab.to_json())))
    for method in ("dsvae", "mocogan"):
        assert again.needs(key(method=method), gpu=True) == lab.needs(key(method=method), gpu=True)
    assert (again.setup, again.max_jobs, again.extra) == (lab.setup, lab.max_jobs, lab.extra)


@pytest.mark.parametrize(
    ("words", "text", "message"),
    [
        (("--time", "soon"), "", "12:00:00"),
        (("--mem", "much"), "", "16G"),
        (("--gpus", "a100"), "", "a100:1"),
        (("--pack", "0"), "", "1 or more"),
        (("--max-jobs", "-1"), "", "1 or more"),
        (("--profile", "nowhere"), "", "no slurm.toml"),
        (("--profile", "no/such.toml"), "", "no such file"),
        ((), "[lab]\npartitoin = 'x'", "did you mean 'partition'"),
        ((), "[lab]\npartition = ", "cannot be read"),
        ((), "[a]\n[b]\n", "several profiles"),
        ((), "partition = 'x'\n", "below a"),
        ((), "[lab]\n[[lab.rule]]\nwhen = { methd = 'x' }", "did you mean 'method'"),
        (("--partition", "gpu\nrm -r x"), "", '--partition: holds control characters.*partition = "gpu"'),
        (("--cpus", "1000000"), "", "--cpus: is 1000000, outside .*cpus = 4"),
        (("--at-once", "0"), "", "--at-once: .*at_once = 4"),
        ((), "", "has no profile"),
        ((), "# nothing yet\n", "has no profile"),
        ((), "default = 3\n[lab]\n", 'default = "lab"'),
        ((), '[lab]\npartition = "gpu\\n#SBATCH --wrap=x"', "lab: partition: holds control characters"),
        ((), "[lab]\npartition = ['gpu']", 'lab: partition: must be text.*partition = "gpu"'),
        ((), "[lab]\ngpus = true", "lab: gpus: must be text.*1g.10gb:1"),
        ((), "[lab]\ngpus = -1", "lab: gpus: .*1g.10gb:1"),
        ((), "[lab]\ngpus = ''", "lab: gpus: must not be empty"),
        ((), "[lab]\ncpus = '4'", "lab: cpus: must be a whole number.*cpus = 4"),
        ((), "[lab]\ncpus = 2.5", "lab: cpus: must be a whole number"),
        ((), "[lab]\nmem = '16 G'", 'lab: mem: .*mem = "16G"'),
        ((), "[lab]\nmem = 1.5", 'lab: mem: .*mem = "16G"'),
        ((), "[lab]\nsignal_seconds = 0", "signal_seconds = 120"),
        ((), "[lab]\nmax_jobs = 'many'", "max_jobs = 16"),
        ((), "[lab]\nmax_jobs = -1", "max_jobs = 16"),
        ((), "[lab]\nsetup = 3", "lab: setup: must be a list.*module load"),
        ((), "[lab]\nsetup = ['module load x', 3]", r"lab: setup\[1\]: must be text"),
        ((), "[lab]\npython = ['python3']", "lab: python: must be text"),
        ((), "[lab]\nhold = 'yes'", "lab: hold: must be true or false"),
        ((), "[lab]\nextra = '--exclusive'", "lab: extra: must be an object.*mail-type"),
        ((), '[lab]\nextra = { mail-type = "END\\n#SBATCH -p x" }', "lab: extra.mail-type: holds control characters"),
        ((), "[lab]\nextra = { exclusive = false }", "lab: extra.exclusive: must be text"),
        ((), '[lab]\nextra = { "a\\n#SBATCH --wrap" = "x" }', "not a long name"),
        ((), "[lab]\n[lab.rule]\ntime = '60'", r"lab: each rule .*\[\[lab.rule\]\]"),
        ((), "[lab]\nrule = ['x']", r"\[\[lab.rule\]\]"),
        ((), "[lab]\n[[lab.rule]]\nwhen = 'mocogan'", "lab: when must be a table"),
        ((), "[lab]\n[[lab.rule]]\ntime = 'soon'", "lab: rule: time: .*12:00:00"),
    ],
)
def test_mistakes_are_one_clear_sentence(tmp_path: Path, words: tuple[str, ...], text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as found:
        options(*words, tmp_path=tmp_path, profile_text=None if words else text)
    assert len(str(found.value).splitlines()) == 1


def test_profile_file_that_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "slurm.toml").write_bytes(b"[lab]\npartition = '\xff'")
    with pytest.raises(UserError, match="cannot be read"):
        options()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('setup = "module load cuda/12.8"', ["module load cuda/12.8"]),
        ('setup = """module load cuda/12.8\nsource env.sh\n"""', ["module load cuda/12.8", "source env.sh"]),
        ('setup = ["if true; then\\n  source env.sh\\nfi"]', ["if true; then", "  source env.sh", "fi"]),
        ('gpus = "1g.10gb:1"', ["#SBATCH --gpus-per-node=1g.10gb:1"]),
        ('gpus = "nvidia_a100_1g.10gb+me:2"', ["#SBATCH --gpus-per-node=nvidia_a100_1g.10gb+me:2"]),
        ("gpus = 2", ["#SBATCH --gpus-per-node=2"]),
        ("time = 90", ["#SBATCH --time=90"]),
        ("time = 01:30:00", ["#SBATCH --time=01:30:00"]),
        ("mem = 4000", ["#SBATCH --mem=4000"]),
        (
            "extra = { exclusive = true, nice = 100, exclude = 'gpu07' }",
            ["#SBATCH --exclusive", "#SBATCH --nice=100", "#SBATCH --exclude=gpu07"],
        ),
    ],
)
def test_what_a_lab_writes_stands_in_the_request(tmp_path: Path, text: str, lines: list[str]) -> None:
    lab = options(tmp_path=tmp_path, profile_text=f"[lab]\n{text}\n")
    lab = Options.from_json(json.loads(json.dumps(lab.to_json())))
    found = requests.executor(build(cells(1), lab)[0], tmp_path / "x", lab, "").text().splitlines()
    assert set(lines) <= set(found)


@pytest.mark.parametrize("key", ["mem", "time"])
def test_what_a_cluster_refuses_to_be_asked_can_be_left_out(tmp_path: Path, key: str) -> None:
    asked = (options(tmp_path=tmp_path, profile_text=f'[lab]\n{key} = ""'), options(f"--{key}", ""))
    for lab in asked:
        for one in build(cells(1), lab):
            assert f"--{key}" not in requests.executor(one, tmp_path / "x", lab, "").text()


# Requests ----------------


def build(planned: list[Planned], asked: Options, *needed: Prerequisite, max_array: int = 1000) -> list[Any]:
    return requests.build(planned, asked, needed, max_array=max_array, tables=["-m", "tables"])


def test_cells_with_equal_needs_share_an_array(tmp_path: Path) -> None:
    lab = options(tmp_path=tmp_path, profile_text=LAB)
    built = build([*cells(3), *cells(2, method="mocogan")], lab)
    assert [(one.title, len(one.tasks)) for one in built] == [("cells 1", 3), ("cells 2", 2), ("tables", 0)]
    assert built[1].needs.time == "1-00:00:00"
    assert built[2].after_any == ("cells 1", "cells 2")


def test_every_cell_is_in_exactly_one_task_whatever_the_limits() -> None:
    for count, pack, bound in ((1, 1, 1), (10, 3, 2), (25, 1, 7), (9, 20, 5)):
        built = build(cells(count), options("--pack", str(pack)), max_array=bound)
        found = [cell for one in built for task in one.tasks for cell in task]
        assert sorted(found) == sorted(cell.id for cell in cells(count))
        assert all(len(one.tasks) <= bound and len(task) <= pack for one in built for task in one.tasks)


@pytest.mark.parametrize(("arrays", "bound"), [(1, 5), (3, 5), (4, 4), (7, 3), (5, 1)])
def test_running_jobs_never_exceed_the_bound(arrays: int, bound: int) -> None:
    built = build(cells(arrays * 2), options("--max-jobs", str(bound)), max_array=2)[:-1]
    assert len(built) == arrays
    # Whatever can run together: of each chain of arrays that wait for each other, one.
    chains: list[list[Any]] = []
    for one in built:
        chain = next((chain for chain in chains if chain[-1].title in one.after_any), None)
        if chain is None:
            chains.append([one])
        else:
            chain.append(one)
    assert sum(max(one.parallelism for one in chain) for chain in chains) <= bound
    assert all(one.parallelism >= 1 for one in built)


def test_only_the_cells_that_need_it_wait_for_a_prerequisite() -> None:
    planned = [*cells(2), *cells(2, method="cdsvae", dataset="mug")]
    needed = Prerequisite("prepare mug", ("-m", "x"), False, frozenset(cell.id for cell in planned[2:]))
    helper, free, bound, _ = build(planned, options(), needed)
    assert (helper.title, free.after_ok, bound.after_ok) == ("prepare mug", (), ("prepare mug",))
    assert requests.dependency(bound, {"prepare mug": "12"}) == "afterok:12"


def test_request_text_says_everything(tmp_path: Path) -> None:
    lab = options(
        "--account", "vision", "--qos", "long", "--constraint", "a100", "--hold", tmp_path=tmp_path, profile_text=LAB
    )
    request = build(cells(4), lab)[0]
    text = requests.executor(request, tmp_path / "20260101T000000-abcd", lab, "afterok:7,afterany:8").text()
    for line in (
        "--account=vision",
        "--qos=long",
        "--constraint=a100",
        "--partition=gpu",
        "--gpus-per-node=a100:1",
        "--time=12:00:00",
        "--mem=4G",
        "--array=0-3%4",
        "--job-name=bench-20260101T000000-abcd",
        "--requeue",
        "--open-mode=append",
        "--signal=USR2@120",
        "--hold",
        "--kill-on-invalid-dep=yes",
        "--mail-type=END",
        "--dependency=afterok:7,afterany:8",
        "--cpus-per-task=1",
    ):
        assert f"#SBATCH {line}" in text.splitlines(), line
    assert "export PYTHONSAFEPATH=1" in text
    assert text.index("module load cuda/12.8") < text.index("srun")
    assert "--wckey" not in text
    assert not (tmp_path / "20260101T000000-abcd").exists(), "rendering touches nothing"


def test_container_command_replaces_the_interpreter(tmp_path: Path) -> None:
    lab = options(tmp_path=tmp_path, profile_text='[lab]\npython = "apptainer exec --nv bench.sif python"\n')
    text = requests.executor(build(cells(1), lab)[0], tmp_path / "x", lab, "").text()
    assert "apptainer exec --nv bench.sif python -u -m seqdis.bench.launch.slurm.worker" in text
    assert text.index("apptainer") < text.index("scontrol requeue"), "requeued by the script, outside the container"


def test_packed_cells_share_the_cores() -> None:
    asked = options("--cpus", "8", "--pack", "6", "--at-once", "4")
    text = requests.executor(build(cells(6), asked)[0], Path("x"), asked, "").text()
    assert "export SEQDIS_THREADS=2" in text
