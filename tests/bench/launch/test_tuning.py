"""The search of settings: spaces, halving, and whole studies in small, killed, resumed and of a user's own method."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqdis.bench.cell.run import run_cell
from seqdis.bench.core.errors import UserError
from seqdis.bench.launch import sampler
from seqdis.bench.launch.tuning import Search, Wishes
from seqdis.bench.plan import catalog, presets
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.plan.cells import grid, plan
from seqdis.bench.plan.space import CAPACITY, Dimension, dimensions, present, settings
from seqdis.bench.records.importing import import_records
from seqdis.bench.records.record import RECORD, read_record
from seqdis.bench.records.store import CHECKPOINT, Store
from seqdis.bench.records.tuning import read_study
from seqdis.bench.records.validate import check_file
from seqdis.bench.tables.tuning import studies_below
from seqdis.methods.base import LogUniform, Ramp, Rule, Uniform

TINY = {
    "training.batch_size": 4,
    "training.validations": 1,
    "training.log_every": 1,
    "method.width": 4,
    "method.hidden_dim": 8,
    "selection_clips": 18,
}
SEARCHED = ("dsvae", "cdsvae", "s3vae", "rwae", "fhvae", "mocogan")
MINE = """
import dataclasses
import os
from typing import ClassVar

from seqdis.methods.base import LogUniform, Space
from seqdis.methods.dsvae import DSVAE, DSVAEConfig


class Mine(DSVAE):
    '''Writes down each step that it is trained; not finite above a rate.'''

    title = "Mine"
    space: ClassVar[Space] = {"method.lr": LogUniform(1e-3, 1e-2), "method.dynamic_dim": (2, 4, 8)}

    def loss(self, batch, player, ctx):
        with open(os.environ["STEPS"], "a") as file:
            file.write(f"{ctx.step}\\n")
        terms = super().loss(batch, player, ctx)
        return {**terms, "total": terms["total"] * (float("nan") if self.config.lr > LIMIT else 1.0)}
"""


@pytest.mark.parametrize("method", SEARCHED)
def test_every_end_of_every_space_can_be_planned(method: str) -> None:
    searched = dimensions(catalog.load_method(MethodRef(method)))
    ends = [(0, len(one.values) - 1) if one.values else (one.low, one.high) for one in searched]
    for place in (0, 1):
        overrides = settings(searched, {one.key: end[place] for one, end in zip(searched, ends, strict=True)})
        plan(
            grid(
                catalog.parse_methods(method),
                ["sprites"],
                source="synthetic",
                preset="quick",
                seeds=[0],
                overrides=overrides,
            )
        )


@pytest.mark.parametrize("method", SEARCHED)
def test_spaces_hold_the_present_settings_of_the_quick_preset(method: str, tmp_path: Path) -> None:
    """What a search draws lies around what the preset has, which is trial 0."""
    search = Search(
        MethodRef(method), "sprites", source="synthetic", preset="quick", wishes=Wishes(rungs=(9,)), out=tmp_path
    )
    for one in search.searched:
        start = search.plan.start[one.key]
        assert one.place(start) is not None or (one.key.startswith(CAPACITY) and start is None), one.key


def test_a_ramp_is_schedules_that_open_together() -> None:
    class Late(catalog.load_method(MethodRef("dsvae"))):  # type: ignore[misc]
        space = {  # noqa: RUF012
            "method.lr": (1e-3, 3e-3),
            "training.capacity": Ramp(
                hold=Uniform(0.1, 0.5),
                rise=(0.2, 0.6),
                start={"kl_static": LogUniform(1, 100), "noise_dynamic": Uniform(0, 2)},
            ),
        }

    searched = dimensions(Late)
    places = {one.key: place for one, place in zip(searched, (1, 0.3, 0, 20, 0.5), strict=True)}
    found = settings(searched, places)
    assert found == {
        "method.lr": 3e-3,
        "training.capacity.kl_static": [[0.3, 20.0], [0.5, 1.0]],
        "training.capacity.noise_dynamic": [[0.3, 0.5], [0.5, 0.0]],
    }
    cell = plan(
        grid([MethodRef("dsvae")], ["sprites"], source="synthetic", preset="quick", seeds=[0], overrides=found)
    )[0]
    values = present(searched, cell.config)
    assert {one.key: one.place(values[one.key]) for one in searched} == places
    late = settings(searched, {**places, searched[1].key: 0.5, searched[2].key: 1})
    assert late["training.capacity.kl_static"] == [[0.5, 20.0], [1.0, 1.0]]  # no later than the end


RATE, SIZE = Dimension("lr", low=1e-3, high=1e-1, is_log=True), Dimension("dim", (2, 4, 8))


def test_a_draw_is_a_function_of_the_seed_and_of_what_is_known() -> None:
    known = [(sampler.draw([RATE, SIZE], [], [], seed), seed / 20) for seed in range(20)]
    one = sampler.draw([RATE, SIZE], known, [{"lr": 1e-2, "dim": 0}], 7)
    assert one == sampler.draw([RATE, SIZE], known, [{"lr": 1e-2, "dim": 0}], 7)
    assert one != sampler.draw([RATE, SIZE], known, [{"lr": 1e-2, "dim": 0}], 8)
    assert one != sampler.draw([RATE, SIZE], known[:11], [{"lr": 1e-2, "dim": 0}], 7)


def test_the_sampler_finds_where_scores_are_high() -> None:
    """Against chance: of even draws by factors, a quarter lies within a quarter of the range around the best rate."""
    known: list[tuple[sampler.Places, float]] = []
    for seed in range(60):
        places = sampler.draw([RATE, SIZE], known, [], seed)
        known.append((places, -abs(math.log10(places["lr"]) + 2) - abs(places["dim"] - 1)))
    late = [places for places, _ in known[20:]]
    assert sum(abs(math.log10(places["lr"]) + 2) < 0.25 for places in late) > 0.5 * len(late)
    assert sum(places["dim"] == 1 for places in late) > 0.6 * len(late)


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `Mine` writes down the steps that it is trained."""
    monkeypatch.setenv("STEPS", str(tmp_path / "steps.txt"))
    torch.set_num_threads(1)
    return tmp_path / "steps.txt"


def mine(folder: Path, limit: float = 1.0) -> MethodRef:
    path = folder / "mine.py"
    path.write_text(MINE.replace("LIMIT", str(limit)))
    return catalog.parse_methods(f"{path}:Mine")[0]


WISHES = Wishes(trials=5, rungs=(1, 2, 3), finalists=2, seeds=2, fixed=TINY)


def begun(ref: MethodRef, out: Path, wishes: Wishes = WISHES) -> Search:
    return Search(ref, "sprites", source="synthetic", preset="quick", wishes=wishes, out=out)


def run_to_its_end(search: Search, data: Path, most: int = 1000) -> int:
    """The jobs of a search one after the other, in this process; at most so many. Returns how many there were."""
    for count in range(most):
        search.refresh()
        job = search.next_job(set())
        if job is None:
            return count
        search.send(job)
        assert run_cell(search.store.folder(job.planned.id), device="cpu", data_dir=data) == 0
    return most


def test_a_search_of_an_outside_method_does_each_step_once_and_says_what_its_records_are(
    tmp_path: Path, steps: Path, drawn_sprites: Path
) -> None:
    search = begun(mine(tmp_path), tmp_path)
    run_to_its_end(search, drawn_sprites)
    study = search.study
    assert [len(study.at(rung)) for rung in range(3)] == search.plan.counts() == [5, 2, 2]
    n_finalists = len(study.finalists())
    whole = search.plan.total_steps() - (3 - n_finalists) * 2 * 3
    written = [int(line) for line in steps.read_text().split()]
    assert len(written) == whole
    assert written.count(0) == 5 + 2 * n_finalists  # what goes on does not begin anew
    assert len(study.chosen()) == n_finalists
    cells = [trial.cell for trial in study.at(2)] + [final.cell for trial in study.trials for final in trial.finals]
    for cell in cells:
        path = search.store.folder(cell) / RECORD
        record = read_record(path)
        assert check_file(path).problems == ()
        assert record.tuning is not None
        assert (record.tuning.study, record.tuning.rungs) == (search.name, (1, 2, 3))
        assert record.data.splits.test == 0  # type: ignore[union-attr]
        assert record.protocol.name == "none"
        assert read_study(search.folder) == study
    assert len(cells) == sum((search.store.folder(cell) / RECORD).exists() for cell in search.store.ids())
    assert not list(search.folder.glob(f"cells/*/{CHECKPOINT}"))


def test_its_records_are_taken_by_nothing_that_compares(tmp_path: Path, steps: Path, drawn_sprites: Path) -> None:
    from seqdis.bench.records.collection import load

    search = begun(mine(tmp_path), tmp_path, dataclasses.replace(WISHES, trials=1, finalists=1, seeds=0))
    run_to_its_end(search, drawn_sprites)
    found = load([search.folder])
    assert (found.entries, found.problems, found.trials) == ([], [], 1)
    imported = import_records(search.folder, tmp_path / "other")
    assert not imported.taken
    assert imported.refused[0][1] == ("is a trial of a search, scored on validation clips only",)
    path = next(search.folder.glob(f"cells/*/{RECORD}"))
    forged = json.loads(path.read_text())
    forged["data"]["splits"]["test"] = 2664
    path.write_text(json.dumps(forged))
    assert check_file(path).problems == ("data.splits.test: is 2664, but a trial of a search opens no test clips",)


def test_a_search_that_ends_at_any_moment_goes_on_to_the_same(tmp_path: Path, steps: Path, drawn_sprites: Path) -> None:
    """Each job by a controller of its own that knows the folder only; and with the test clips destroyed."""
    ref = mine(tmp_path)
    undisturbed = begun(ref, tmp_path / "one")
    n_jobs = run_to_its_end(undisturbed, drawn_sprites)
    blind = tmp_path / "data"
    shutil.copytree(drawn_sprites, blind)
    for path in blind.glob("*/test_x.npy"):
        clips = np.load(path, mmap_mode="r+")
        clips[:] = 0
        clips.flush()
    for _ in range(n_jobs):
        assert run_to_its_end(begun(ref, tmp_path / "two"), blind, most=1) == 1
    resumed = begun(ref, tmp_path / "two")
    resumed.refresh()
    assert resumed.next_job(set()) is None
    assert resumed.study == undisturbed.study


def test_settings_that_cannot_be_trained_stand_last_and_the_others_go_on(
    tmp_path: Path, steps: Path, drawn_sprites: Path
) -> None:
    search = begun(mine(tmp_path, limit=5.5e-3), tmp_path)
    run_to_its_end(search, drawn_sprites)
    rates = {trial.number: trial.settings.get("method.lr", 5e-3) for trial in search.study.trials}
    failed = {trial.number for trial in search.study.trials if trial.standing.reason}
    assert failed == {number for number, rate in rates.items() if rate > 5.5e-3}
    assert failed
    assert not failed & {trial.number for trial in search.study.at(2)}
    assert search.study.chosen()


def test_a_small_space_is_searched_whole(tmp_path: Path, steps: Path) -> None:
    path = tmp_path / "small.py"
    path.write_text(
        "from seqdis.methods.dsvae import DSVAE\n\n\nclass Small(DSVAE):\n    title = 'Small'\n"
        "    space = {'method.lr': (1e-3, 5e-3, 1e-3), 'method.dynamic_dim': (2, 4)}\n"
    )
    search = begun(catalog.parse_methods(f"{path}:Small")[0], tmp_path, Wishes(trials=40, rungs=(1,)))
    while search.next_job({trial.cell for trial in search.study.trials}) is not None:
        pass
    found = {
        (trial.settings.get("method.lr"), trial.settings.get("method.dynamic_dim")) for trial in search.study.trials
    }
    assert found == {(None, None), (1e-3, 2), (1e-3, 4), (5e-3, 2)}  # the first is (5e-3, 4)
    assert search.plan.trials == len(search.study.trials) == 4


def test_another_search_of_the_same_name_is_refused(tmp_path: Path, steps: Path) -> None:
    ref = mine(tmp_path)
    begun(ref, tmp_path).next_job(set())
    with pytest.raises(UserError, match=r"is another search \(its trials differs\); choose a --name"):
        begun(ref, tmp_path, dataclasses.replace(WISHES, trials=6))
    with pytest.raises(UserError, match="its plugin_digest, base differ"):
        begun(mine(tmp_path, limit=2.0), tmp_path)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{'method.lr': LogUniform(0, 1e-2)}", "the range of method.lr in the space of Odd goes from 0 to 0.01"),
        ("{'method.lr': Uniform(1e-2, 1e-3)}", "goes from 0.01 to 0.001: it must rise"),
        ("{'method.lr': Uniform(1e-3, float('inf'))}", "a value of method.lr in its space is inf"),
        ("{'method.rate': (1e-3,)}", "unknown setting 'method.rate'"),
        ("{'method.static_dim': Uniform(0.5, 8)}", "method.static_dim=0.5: must be a whole number"),
        ("{'training.steps': (100, 200)}", "the space has the number of steps"),
        ("{'training.schedule': Uniform(0, 1)}", "must be"),
        ("{'training.capacity': (1, 2)}", "a Ramp is for training.capacity"),
        ("{'training.capacity': Ramp(hold=(0.1,), rise=(0.2,), start={'smell': (2.0,)})}", "smell is not in its"),
        ("{'training.capacity': Ramp(hold=(1.1,), rise=(0.2,), start={'recon': (2.0,)})}", "hold=1.1 is no share"),
        ("{'training.capacity': Ramp(hold=(0.1,), rise=(0.2,), start={'recon': (-2.0,)})}", "value is -2, outside"),
    ],
)
def test_a_space_that_cannot_be_searched_is_one_sentence(space: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(
        "from seqdis.methods.base import LogUniform, Ramp, Uniform\nfrom seqdis.methods.dsvae import DSVAE\n\n\n"
        f"class Odd(DSVAE):\n    title = 'Odd'\n    space = {space}\n"
    )
    with pytest.raises(UserError, match=message.replace("(", "\\(").replace(".", "\\.")):
        begun(MethodRef("odd", plugin=f"{path}:Odd"), tmp_path)


def test_a_killed_search_goes_on_where_it_stood(tmp_path: Path, steps: Path, drawn_sprites: Path) -> None:
    """The command as typed, one trial at a time; killed with the trial that it runs, and without. At its end it is packed."""
    ref, wishes = mine(tmp_path), Wishes(trials=2, rungs=(4,), finalists=1, seeds=1, fixed=TINY)
    line = [sys.executable, "-m", "seqdis.bench.cli", "tune", ref.plugin, "--device", "cpu", "--workers", "1", "--json"]
    numbers = {"trials": "2", "rungs": "4", "finalists": "1", "seeds": "1", "pack-to": "packed"}
    line += [part for flag, value in numbers.items() for part in (f"--{flag}", value)]
    line += [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]
    environment = {
        **os.environ,
        "SEQDIS_DATA": str(drawn_sprites),
        "PYTHONSAFEPATH": "1",
        "OMP_NUM_THREADS": "1",
        "STEPS": str(tmp_path / "killed.txt"),
    }
    for with_its_trial in (True, False):
        kill_in_training(line, environment, tmp_path, with_its_trial=with_its_trial)
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    undisturbed = begun(ref, tmp_path / "reference", wishes)
    run_to_its_end(undisturbed, drawn_sprites)
    resumed = begun(ref, tmp_path / "runs", wishes)
    assert resumed.study == undisturbed.study
    said = json.loads(done.stdout[done.stdout.index("{") :])
    assert said["trials"][1]["settings"] == resumed.study.trials[1].settings
    packed = tmp_path / "packed" / resumed.name
    assert studies_below(tmp_path / "packed") == [resumed.study]
    with zipfile.ZipFile(packed / f"{resumed.name}-records-1.zip") as file:
        records = [json.loads(file.read(name)) for name in file.namelist() if name.endswith(RECORD)]
    scores = {(record["tuning"]["trial"], record["cell"]["seed"]): best(record) for record in records}
    assert scores == {
        **{(trial.number, 0): trial.score(4) for trial in resumed.study.trials},
        **{(trial.number, 1): trial.final_scores(4)[0] for trial in resumed.study.finalists()},
    }


def kill_in_training(line: list[str], environment: dict[str, str], folder: Path, *, with_its_trial: bool) -> None:
    """Starts a search and kills it as soon as a trial trains; that trial may be left training."""
    steps = Path(environment["STEPS"])
    before, deadline = steps.stat().st_size if steps.exists() else 0, time.monotonic() + 120
    with subprocess.Popen(
        line, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as search:
        while not (steps.exists() and steps.stat().st_size > before) and time.monotonic() < deadline:
            time.sleep(0.02)
        for path in folder.glob("runs/tuning/*/cells/*/lease.json") if with_its_trial else ():
            os.kill(json.loads(path.read_text())["pid"], signal.SIGKILL)
        search.kill()


def best(record: dict[str, Any]) -> float:
    return float(max(row["score"] for row in record["training"]["validation"]))


@pytest.fixture(scope="module")
def drawn_sprites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    catalog.load_dataset("sprites").prepare(root, "synthetic", 32)
    return root


@pytest.mark.parametrize(("overrides", "said"), [({}, True), ({"method.lr": 1e-3}, False)])
def test_finished_records_say_it_for_the_preset_s_own_settings_only(
    overrides: dict[str, float], said: bool, tmp_path: Path, drawn_sprites: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {**presets.QUICK.training, "steps": 2, "batch_size": 4, "validations": 1}
    changed = dataclasses.replace(
        presets.QUICK,
        training=training,
        nets={"width": 4, "hidden_dim": 8, "embedding_dim": 16},
        evaluation={"draws": 1},
    )
    monkeypatch.setitem(presets.PRESETS, "quick", changed)
    method = catalog.load_method(MethodRef("dsvae"))
    monkeypatch.setattr(method, "rules", (*method.rules, Rule(presets=("quick",), not_trained="few steps")))
    cell = plan(
        grid(
            catalog.parse_methods("dsvae"),
            ["sprites"],
            source="synthetic",
            preset="quick",
            seeds=[0],
            overrides=overrides,
        )
    )[0]
    folder = Store(tmp_path).add(cell.id, cell.config)
    assert run_cell(folder, data_dir=drawn_sprites) == 0
    notes = json.loads((folder / "record.json").read_text())["notes"]
    assert ("not trained at the quick scale: few steps" in notes) is said


@pytest.mark.parametrize("method", [*catalog.ALL_METHODS, "autoencoder"])
def test_every_setting_of_every_method_can_be_set_from_the_command_line(method: str) -> None:
    refs = catalog.parse_methods(method)
    config = catalog.load_method(refs[0]).Config()
    overrides = {f"method.{name}": value for name, value in dataclasses.asdict(config).items()}
    cell = plan(grid(refs, ["sprites"], source="synthetic", preset="quick", seeds=[0], overrides=overrides))[0]
    assert cell.config.method == json.loads(json.dumps(dataclasses.asdict(config)))
