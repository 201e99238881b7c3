"""Cells and their identities: what changes numbers changes the id, and nothing else does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import ClassVar

import pytest

from seqdis.bench.core.errors import UserError
from seqdis.bench.plan import catalog, presets
from seqdis.bench.plan import cells as plan
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.records.config import cell_id
from seqdis.bench.records.store import Store


def planned(methods: str = "dsvae,cdsvae", datasets: str = "sprites", **options: object) -> list[plan.Planned]:
    settings: dict[str, object] = {"source": "synthetic", "preset": "quick", "seeds": range(2), **options}
    return plan.plan(plan.grid(catalog.parse_methods(methods), catalog.parse_datasets(datasets), **settings))  # type: ignore[arg-type]


def test_grid_runs_seed_0_of_every_row_first() -> None:
    seeds = [cell.cell.seed for cell in planned(datasets="sprites,mug")]
    assert seeds == [0, 0, 0, 0, 1, 1, 1, 1]


def test_ids_differ_by_all_that_changes_numbers() -> None:
    variants = [
        planned("dsvae"),
        planned("dsvae", preset="demo"),
        planned("dsvae", datasets="mug"),
        planned("dsvae:mws"),
        planned("dsvae", overrides={"training.steps": 3}),
        planned("dsvae", source="real"),
        planned("dsvae", overrides={"method.recon_weight": 2.0}),
        planned("dsvae", overrides={"draws": 2}),
    ]
    ids = [cell.id for cells in variants for cell in cells]
    assert len(set(ids)) == len(ids)


def test_ids_are_stable_and_survive_json() -> None:
    first, again = planned()[0], planned()[0]
    assert first.id == again.id
    assert cell_id(json.loads(json.dumps(first.config))) == first.id
    assert first.id.startswith("sprites-synth-dsvae-quick-s0-")


def test_plugin_path_does_not_change_the_id_but_its_content_does(tmp_path: Path) -> None:
    source = Path(catalog.method_modules()["dsvae"]).read_text()
    ids = []
    for folder, text in (("a", source), ("b", source), ("c", source + "\n# changed\n")):
        path = tmp_path / folder / "mine.py"
        path.parent.mkdir()
        path.write_text(text)
        ids.append(planned(f"{path}:DSVAE")[0].id)
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("cdsva", "did you mean 'cdsvae'"),
        ("cdsvae:no-content", "did you mean 'no-content-aug'"),
        ("", "no method named"),
        ("nowhere.py:X", "does not exist"),
    ],
)
def test_unknown_method_names_the_nearest(methods: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        catalog.parse_methods(methods)


def test_unknown_data_set_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown data set 'sprite'; did you mean 'sprites'"):
        catalog.parse_datasets("sprite")


def test_all_means_the_six_of_the_field() -> None:
    assert [ref.name for ref in catalog.parse_methods("all")] == list(catalog.ALL_METHODS)
    assert catalog.parse_methods("dsvae,dsvae") == [MethodRef("dsvae")]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("training.stepz=3", "did you mean 'training.steps'"),
        ("steps", "not of the form"),
        ("training.steps=many", "must be int"),
        ("training.precision=float8", "must be one of"),
        ("training.compile=1", "must be bool"),
        ("method.lr=true", "must be float"),
    ],
)
def test_bad_setting_is_one_sentence(item: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        planned(overrides=plan.parse_overrides([item]))


def test_setting_takes_the_value_and_is_recorded() -> None:
    cell = planned("dsvae", overrides=plan.parse_overrides(["lr=1", "training.steps=7"]))[0]
    assert cell.config["method"]["lr"] == 1.0
    assert cell.config["training"]["steps"] == 7
    assert cell.config["cell"]["overrides"] == {"lr": 1, "training.steps": 7}


def test_tables_plan_exactly_their_cells() -> None:
    refs = [str(ref) for ref in plan.table_methods("augmentation", None)]
    assert refs == ["dsvae", "cdsvae", "cdsvae:no-content-aug", "cdsvae:no-motion-aug"]
    batches = [cell.config["training"]["batch_size"] for cell in planned("cdsvae", table="batch-size", seeds=range(1))]
    assert batches == [8, 16, 32]
    paper = planned("cdsvae", table="batch-size", seeds=range(1), preset="paper", source="real")
    assert [cell.config["training"]["batch_size"] for cell in paper] == [64, 128, 256]


def test_preset_settings_reach_only_methods_that_have_them() -> None:
    @dataclasses.dataclass(frozen=True)
    class Own:
        width: int = 64
        lr: float = 1e-4

    assert presets.method_settings(presets.get("quick"), "x", "sprites", Own) == {"width": 16}
    paper = {
        cell.cell.method.name: cell.config["method"]["lr"]
        for cell in planned("all", preset="paper", source="real", seeds=range(1))
    }
    assert paper["dsvae"] == paper["cdsvae"] == 1.5e-3
    assert (paper["mocogan"], paper["fhvae"]) == (2e-4, 1e-3)
    with pytest.raises(UserError, match="did you mean 'quick'"):
        presets.get("quik")


def test_settings_by_data_set_reach_that_family_there_and_give_way_to_the_method_s_own() -> None:
    @dataclasses.dataclass(frozen=True)
    class Family:
        BACKBONE: ClassVar[bool] = True
        lr: float = 1e-3
        dynamic_dim: int = 32

    @dataclasses.dataclass(frozen=True)
    class Stranger:
        dynamic_dim: int = 32

    preset = dataclasses.replace(
        presets.QUICK,
        objective={"lr": 5e-3, "dynamic_dim": 4},
        by_dataset={"smmnist": {"dynamic_dim": 16, "kl": 1.0}},
        by_method={"own": {"dynamic_dim": 3}},
        by_method_and_dataset={},
    )
    settings = presets.method_settings
    assert settings(preset, "x", "smmnist", Family) == {"lr": 5e-3, "dynamic_dim": 16}
    assert settings(preset, "x", "sprites", Family) == {"lr": 5e-3, "dynamic_dim": 4}
    assert settings(preset, "own", "smmnist", Family) == {"lr": 5e-3, "dynamic_dim": 3}
    assert settings(preset, "x", "smmnist", Stranger) == {}


def test_a_preset_s_settings_by_data_set_name_data_sets_and_settings_that_exist() -> None:
    for preset in presets.PRESETS.values():
        assert {*preset.by_dataset, *preset.training_by_dataset} <= set(catalog.dataset_names())
        for dataset, settings in preset.by_dataset.items():
            source = catalog.load_dataset(dataset).sources[0]
            for cell in plan.plan(
                plan.grid(catalog.parse_methods("dsvae"), [dataset], source=source, preset=preset.name, seeds=range(1))
            ):
                assert settings.items() <= cell.config["method"].items()


def test_store_refuses_an_edited_config(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cell = planned("dsvae")[0]
    folder = store.add(cell.id, cell.config)
    store.add(cell.id, cell.config)
    (folder / "config.json").write_text((folder / "config.json").read_text().replace("1500", "15"))
    with pytest.raises(UserError, match="was edited"):
        store.add(cell.id, cell.config)


def test_batch_table_has_the_papers_sizes_whatever_the_preset_uses() -> None:
    timit = planned("cdsvae", "timit", table="batch-size", seeds=range(1), preset="paper", source="real")
    assert [cell.config["training"]["batch_size"] for cell in timit] == [64, 128, 256]
    assert [cell.cell.batch for cell in timit] == [64, 128, 0]
    assert {cell.config["cell"]["size"] for cell in timit} == {0}


def test_a_new_data_revision_is_a_new_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    sprites = catalog.load_dataset("sprites")
    before = planned("dsvae")[0]
    real = sprites.describe

    def bumped(source: str, size: int, **options: object) -> object:
        return dataclasses.replace(real(source, size, **options), revision="another")  # type: ignore[arg-type]

    monkeypatch.setattr(sprites, "describe", bumped)
    assert planned("dsvae")[0].id != before.id


def test_logging_does_not_change_the_id() -> None:
    one = planned("dsvae")[0]
    config = json.loads(json.dumps(one.config))
    config["training"]["log_every"] += 1
    assert cell_id(config) == one.id
