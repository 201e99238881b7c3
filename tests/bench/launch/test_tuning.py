"""The search behind the quick preset: valid spaces around the present settings, trials that run and touch no test clip."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqdis.bench.cell.run import run_cell
from seqdis.bench.core.errors import UserError
from seqdis.bench.launch import tuning
from seqdis.bench.plan import catalog, presets
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.plan.cells import grid, plan
from seqdis.bench.records.store import Store
from seqdis.methods.base import Rule

TINY = (
    "training.steps=6",
    "training.batch_size=4",
    "training.validations=2",
    "training.log_every=3",
    "method.width=4",
    "method.hidden_dim=8",
    "selection_clips=18",
)


SEARCHED = ("dsvae", "cdsvae", "s3vae", "rwae", "fhvae", "mocogan")


@pytest.mark.parametrize("method", SEARCHED)
def test_every_setting_of_every_space_is_valid(method: str) -> None:
    for key, values in catalog.load_method(MethodRef(method)).space.items():
        for value in values:
            plan(
                grid(
                    catalog.parse_methods(method),
                    ["sprites"],
                    source="synthetic",
                    preset="quick",
                    seeds=[0],
                    overrides={key: value},
                )
            )


@pytest.mark.parametrize("method", catalog.ALL_METHODS)
def test_spaces_hold_the_present_settings_of_the_quick_preset(method: str) -> None:
    """What a search draws lies around what the preset has, which is trial 0."""
    cell = plan(grid(catalog.parse_methods(method), ["sprites"], source="synthetic", preset="quick", seeds=[0]))
    for key, values in catalog.load_method(MethodRef(method)).space.items():
        section, _, name = key.partition(".")
        assert cell[0].config.to_json()[section][name] in values, key


def test_trials_are_the_same_everywhere_and_differ_from_one_another() -> None:
    first = tuning.trials(MethodRef("dsvae"), 8)
    assert first == tuning.trials(MethodRef("dsvae"), 8)
    assert first[:4] == tuning.trials(MethodRef("dsvae"), 4)
    assert first[0].overrides == {}
    assert len({json.dumps(trial.overrides, sort_keys=True) for trial in first}) == 8
    assert tuning.trials(MethodRef("s3vae"), 8)[1:] != first[1:]


def test_an_outside_method_is_searched_in_the_space_that_it_declares(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from seqdis.methods.dsvae import DSVAE\n\n\nclass Mine(DSVAE):\n    title = 'Mine'\n"
        "    space = {'method.lr': (1e-3, 2e-3, 3e-3), 'training.batch_size': (4, 8)}\n"
    )
    found = tuning.trials(catalog.parse_methods(f"{path}:Mine")[0], 5)
    assert {key for trial in found for key in trial.overrides} == {"method.lr", "training.batch_size"}


def test_a_small_space_is_searched_whole(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from seqdis.methods.dsvae import DSVAE\n\n\nclass Mine(DSVAE):\n    title = 'Mine'\n"
        "    space = {'method.lr': (1e-3, 3e-3, 1e-3)}\n"
    )
    found = tuning.trials(catalog.parse_methods(f"{path}:Mine")[0], 8)
    assert sorted(trial.overrides.get("method.lr", 0) for trial in found) == [0, 1e-3, 3e-3]


def test_a_method_without_a_space_is_one_sentence() -> None:
    with pytest.raises(UserError, match="autoencoder declares no settings to search; give its class a `space`"):
        tuning.trials(MethodRef("autoencoder"), 8)


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


def test_trials_run_for_methods_that_read_signals_and_segments(tmp_path: Path) -> None:
    """The command as typed, shortened; the second call finds the results of the first."""
    settings = [part for setting in TINY for part in ("--set", setting)]
    line = [
        sys.executable,
        "-m",
        "seqdis.bench.cli",
        "tune",
        "--methods",
        "s3vae,fhvae",
        "--trials",
        "1",
        "--workers",
        "1",
        "--device",
        "cpu",
        "--json",
        *settings,
    ]
    environment = {**os.environ, "SEQDIS_DATA": str(tmp_path / "data"), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
    runs = []
    for _ in range(2):
        done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, timeout=300, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        runs.append(json.loads(done.stdout[done.stdout.index("{") :]))
    assert runs[0] == runs[1]
    assert list(runs[0]) == ["s3vae", "fhvae"]
    for found in runs[0].values():
        assert [trial["trial"] for trial in found] == [0]
        assert 0 < found[0]["score"] <= 1
        assert found[0]["validation"]["step"] in (3, 6)


@pytest.mark.parametrize("method", [*catalog.ALL_METHODS, "autoencoder"])
def test_every_setting_of_every_method_can_be_set_from_the_command_line(method: str) -> None:
    refs = catalog.parse_methods(method)
    config = catalog.load_method(refs[0]).Config()
    overrides = {f"method.{name}": value for name, value in dataclasses.asdict(config).items()}
    cell = plan(grid(refs, ["sprites"], source="synthetic", preset="quick", seeds=[0], overrides=overrides))[0]
    assert cell.config.method == json.loads(json.dumps(dataclasses.asdict(config)))
