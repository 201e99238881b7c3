"""Cells and their identities: what changes numbers changes the id, and nothing else does."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import ClassVar

import pytest

from seqdis.bench.cli import main
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.schema import from_json
from seqdis.bench.plan import catalog, presets
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.plan.cells import Planned, grid, plan, table_methods
from seqdis.bench.plan.settings import Part, merged, parse_overrides
from seqdis.bench.records.config import RunConfig, TrainingConfig, cell_id, read_config
from seqdis.bench.records.store import Store
from seqdis.methods.base import Method, Rule


def planned(methods: str = "dsvae,cdsvae", datasets: str = "sprites", **options: object) -> list[Planned]:
    settings: dict[str, object] = {"source": "synthetic", "preset": "quick", "seeds": range(2), **options}
    return plan(grid(catalog.parse_methods(methods), catalog.parse_datasets(datasets), **settings))  # type: ignore[arg-type]


def test_grid_runs_seed_0_of_every_row_first() -> None:
    seeds = [cell.cell.seed for cell in planned(datasets="sprites,mug")]
    assert seeds == [0, 0, 0, 0, 1, 1, 1, 1]


def test_ids_differ_by_all_that_changes_numbers() -> None:
    variants = [
        planned("dsvae"),
        planned("dsvae", preset="compact"),
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
    assert cell_id(json.loads(json.dumps(first.config.to_json()))) == first.id
    assert first.id.startswith("sprites-synth-dsvae-quick-s0-")


def test_plugin_path_does_not_change_the_id_but_what_it_does_and_its_class_do(tmp_path: Path) -> None:
    source = Path(catalog.method_modules()["dsvae"]).read_text() + "\nclass Other(DSVAE):\n    pass\n"
    ids = []
    for folder, text, name in (
        ("a", source, "DSVAE"),
        ("b", source, "METHOD"),  # DSVAE by another name
        ("c", source + "\n# changed\n", "DSVAE"),
        ("d", source + "\nCHANGED = True\n", "DSVAE"),
        ("e", source, "Other"),
    ):
        path = tmp_path / folder / "mine.py"
        path.parent.mkdir()
        path.write_text(text)
        ids.append(planned(f"{path}:{name}")[0].id)
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids)) == 3


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
        ("training.steps=many", "must be a whole number"),
        ("training.precision=float8", "must be one of"),
        ("training.compile=1", "must be true or false"),
        ("method.lr=true", "must be a number"),
    ],
)
def test_bad_setting_is_one_sentence(item: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        planned(overrides=parse_overrides([item]))


def test_setting_takes_the_value_and_is_recorded() -> None:
    cell = planned("dsvae", overrides=parse_overrides(["lr=1", "training.steps=7"]))[0]
    assert cell.config.method["lr"] == 1.0
    assert cell.config.training.steps == 7
    assert cell.config.cell.overrides == {"lr": 1, "training.steps": 7}


def test_tables_plan_exactly_their_cells() -> None:
    refs = [str(ref) for ref in table_methods("augmentation", None)]
    assert refs == ["dsvae", "cdsvae", "cdsvae:no-content-aug", "cdsvae:no-motion-aug"]
    batches = [cell.config.training.batch_size for cell in planned("cdsvae", table="batch-size", seeds=range(1))]
    assert batches == [8, 16, 32]
    paper = planned("cdsvae", table="batch-size", seeds=range(1), preset="paper", source="real")
    assert [cell.config.training.batch_size for cell in paper] == [64, 128, 256]


def test_rows_with_the_published_weights_have_no_schedule_and_the_papers_defaults() -> None:
    cells = planned(
        ",".join(map(str, table_methods("published-weights", None))),
        table="published-weights",
        preset="compact",
        seeds=range(1),
    )
    found = {cell.cell.method.variant: cell.config for cell in cells}
    assert [bool(config.training.capacity) for config in found.values()] == [True, False, False, False, False]
    assert found["no-schedule"].method == found[""].method
    defaults = dataclasses.asdict(catalog.load_method(MethodRef("cdsvae")).Config())
    weights = {key: value for key, value in defaults.items() if key.endswith("_weight")}
    assert weights["contrastive_dynamic_weight"] == 10.0
    for variant in ("published-weights", "published-logvar", "published-views"):
        assert {key: found[variant].method[key] for key in weights} == weights
    plain = found["published-weights"].method
    assert found["published-logvar"].method == {**plain, "mws_logvar_bug": True}
    assert found["published-views"].method == {**plain, "bn_stats": "all_views"}


def test_preset_s_nets_reach_every_method_that_has_the_setting_and_rules_only_their_method() -> None:
    class Stranger(Method):
        title, paper = "Stranger", "none"

        @dataclasses.dataclass(frozen=True)
        class Config:
            width: int = 64
            lr: float = 1e-4

    found = merged({"method": Stranger.Config}, presets.layers(presets.QUICK, Stranger, "", "sprites", "video"), {})
    assert found["method"].config == Stranger.Config(width=16)
    assert found["method"].origins == {"width": "preset quick", "lr": "default"}
    paper = {
        cell.cell.method.name: cell.config.method["lr"]
        for cell in planned("all", preset="paper", source="real", seeds=range(1))
    }
    assert paper["dsvae"] == paper["cdsvae"] == 1.5e-3
    assert (paper["mocogan"], paper["fhvae"]) == (2e-4, 1e-3)
    with pytest.raises(UserError, match="did you mean 'quick'"):
        presets.get("quik")


class Family(Method):
    title, paper = "Family", "none"
    variants: ClassVar[dict[str, dict[str, object]]] = {"late": {"beta": 7.0}, "odd": {}}
    rules = (
        Rule(presets=("quick", "compact"), method={"lr": 5e-3, "dynamic_dim": 4, "not_mine": 1}),
        Rule(presets=("quick",), data=("smmnist",), method={"dynamic_dim": 16, "beta": 3.0}, not_trained="blurred"),
        Rule(presets=("quick",), modality="audio", training={"steps": 9}),
        Rule(presets=("quick",), variants=("odd",), method={"beta": 5.0}, not_trained="odd"),
    )

    @dataclasses.dataclass(frozen=True)
    class Config:
        lr: float = 1e-3
        dynamic_dim: int = 32
        beta: float = 1.0


def resolved(preset: str, variant: str, data: str, modality: str) -> dict[str, Part]:
    layers = presets.layers(presets.get(preset), Family, variant, data, modality)
    return merged({"method": Family.Config, "training": TrainingConfig}, layers, {})


def test_a_method_s_rules_hold_for_their_scale_data_modality_and_variant_and_later_ones_win() -> None:
    assert resolved("quick", "", "sprites", "video")["method"].config == Family.Config(lr=5e-3, dynamic_dim=4)
    assert resolved("quick", "", "smmnist", "video")["method"].config == Family.Config(5e-3, 16, 3.0)
    assert resolved("quick", "odd", "smmnist", "video")["method"].config == Family.Config(5e-3, 16, 5.0)
    assert resolved("quick", "late", "smmnist", "video")["method"].config == Family.Config(5e-3, 16, 7.0)
    assert resolved("paper", "", "smmnist", "video")["method"].config == Family.Config()
    assert resolved("quick", "", "timit", "audio")["training"].config.steps == 9
    origins = resolved("quick", "late", "smmnist", "video")["method"].origins
    assert origins == {
        "lr": "Family at quick",
        "dynamic_dim": "Family at quick, smmnist",
        "beta": "variant late",
    }


def test_a_row_that_is_not_trained_says_why_and_its_variants_share_its_fate() -> None:
    def note(variant: str, data: str, preset: str = "quick") -> str:
        return presets.not_trained_note(presets.get(preset), Family, variant, data, "video")

    assert note("", "smmnist") == note("late", "smmnist") == "not trained at the quick scale: blurred"
    assert note("odd", "smmnist") == note("odd", "sprites") == "not trained at the quick scale: odd"
    assert note("", "sprites") == note("", "smmnist", "compact") == ""


@pytest.mark.parametrize("name", catalog.method_modules())
def test_rules_name_presets_data_variants_and_settings_that_exist(name: str) -> None:
    method = catalog.load_method(MethodRef(name))
    family = [
        one for one in map(catalog.load_method, map(MethodRef, catalog.method_modules())) if issubclass(one, method)
    ]
    settings = {field.name for one in (method, *family) for field in dataclasses.fields(one.Config)}
    for rule in method.rules:
        assert set(rule.presets) <= set(presets.PRESETS)
        assert set(rule.data) <= set(catalog.dataset_names())
        assert set(rule.variants) <= {"", *method.variants}
        assert set(rule.training) <= {field.name for field in dataclasses.fields(TrainingConfig)}
        assert set(rule.method) <= settings | {"kl_static_weight", "kl_dynamic_weight"}
        assert not rule.not_trained.endswith(".")


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
    assert [cell.config.training.batch_size for cell in timit] == [64, 128, 256]
    assert [cell.cell.batch for cell in timit] == [64, 128, 0]
    assert {cell.config.cell.size for cell in timit} == {0}


def test_a_new_data_revision_is_a_new_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    sprites = catalog.load_dataset("sprites")
    before = planned("dsvae")[0]
    real = sprites.describe

    def bumped(source: str, size: int, **options: object) -> object:
        return dataclasses.replace(real(source, size, **options), revision="another")  # type: ignore[arg-type]

    monkeypatch.setattr(sprites, "describe", bumped)
    assert planned("dsvae")[0].id != before.id


def test_a_config_comes_back_from_its_file_equal_and_a_damaged_one_is_one_sentence(tmp_path: Path) -> None:
    cell = planned("cdsvae", overrides={"lr": 1e-3})[0]
    path = Store(tmp_path).add(cell.id, cell.config) / "config.json"
    assert read_config(path) == cell.config
    assert isinstance(read_config(path), RunConfig)
    path.write_text(path.read_text().replace('"steps": 1500', '"steps": "many"'))
    with pytest.raises(UserError, match=r"training\.steps: must be a whole number"):
        read_config(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (".5", 0.5),
        ("1e-3", 1e-3),
        ("-2", -2),
        ("+3", 3),
        ("3.", 3.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ('{"a": 1}', {"a": 1}),
        ("cosine", "cosine"),
        ('"1"', "1"),
        ("", ""),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
    ],
)
def test_values_of_set_are_read_in_one_way(text: str, value: object) -> None:
    found = parse_overrides([f"key={text}"])["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["9" * 400, "9" * 5000, "1e999", "[" * 3000, "[" * 900 + "]" * 900, "NaN", "Infinity", "\ud800"]
)
def test_what_no_setting_can_be_is_one_sentence(text: str) -> None:
    with pytest.raises(UserError):
        planned("dsvae", overrides=parse_overrides([f"training.steps={text}"]))


LATE = {"kl_static": ((0.3, 20.0), (0.6, 1.0))}


@pytest.mark.parametrize(
    "items",
    [
        ["training.capacity.kl_static=0.3:20 0.6:1"],
        ["capacity.kl_static=[[0.3, 20], [0.6, 1]]"],
        ['training.capacity={"kl_static": [[0.3, 20], [0.6, 1]]}'],
        ['training.capacity={"kl_static": [[0, 2]]}', "training.capacity.kl_static=.3:20  .6:1"],
        ["training.capacity.kl_static=.3:20 .6:1", "training.capacity.kl_dynamic=null"],
    ],
)
def test_a_capacity_schedule_is_typed_and_comes_back_from_json(items: list[str]) -> None:
    (cell,) = planned("dsvae", seeds=range(1), preset="paper", overrides=parse_overrides(items))
    assert cell.config.training.capacity == LATE
    again = from_json(RunConfig, json.loads(json.dumps(cell.config.to_json())))
    assert again == cell.config
    assert again.id == cell.id
    assert cell.config.to_json()["training"]["capacity"] == {"kl_static": [[0.3, 20.0], [0.6, 1.0]]}


def test_a_schedule_is_part_of_the_identity_and_none_leaves_it_as_it_was() -> None:
    def ids(*items: str) -> list[str]:
        return [cell.id for cell in planned("dsvae", preset="paper", overrides=parse_overrides(items))]

    plain = planned("dsvae", preset="paper")[0].config.to_json()
    assert "capacity" not in plain["training"]
    assert ids() == ids()
    late = planned("dsvae", preset="paper", overrides={"training.capacity.kl_static": "0:2"})[0].config.to_json()
    other = planned("dsvae", preset="paper", overrides={"training.capacity.kl_static": "0:3"})[0].config.to_json()
    late["cell"] = other["cell"] = plain["cell"]  # which holds what --set said
    assert len({cell_id(config) for config in (plain, late, other)}) == 3
    del late["training"]["capacity"]
    assert cell_id(late) == cell_id(plain)


@pytest.mark.parametrize(
    ("method", "item", "message"),
    [
        (
            "dsvae",
            "training.capacity.kl_statik=0:2",
            "dsvae has no 'kl_statik' that training.capacity can schedule; it",
        ),
        (
            "rwae",
            "training.capacity.kl_static=0:2",
            "it has: recon, noise_static, noise_dynamic, kl_action, penalty_st",
        ),
        ("mocogan", "training.capacity.noise_static=0:2", "it has: adversarial_image, adversarial_video, category"),
        ("oracle", "training.capacity.kl_static=0:2", "it has none"),
        ("dsvae", "training.capacity.kl_static=soon", "must be points of progress and value, such as 0.3:20 0.6:1"),
        ("dsvae", "training.capacity.kl_static=0.6:1 0.3:2", "must have points in rising progress"),
        ("dsvae", "training.capacity.kl_static=1.2:1", "progress is 1.2, outside [0, 1]"),
        ("dsvae", "training.capacity.kl_static=0:-1", "value is -1, outside [0, 1000000]"),
        ("dsvae", "training.capacity.=0:1", "unknown setting 'training.capacity.'"),
        ("dsvae", "training.steps.kl_static=0:1", "unknown setting 'training.steps.kl_static'"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_one_sentence(method: str, item: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        planned(method, overrides=parse_overrides([item]))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_rule_s_schedule_reaches_what_a_class_declares_and_set_takes_single_names_out() -> None:
    class Late(Family):
        schedulable = ("kl_static", "noise_static")
        rules = (
            Rule(
                presets=("quick",), training={"capacity": {**LATE, "kl_action": ((0, 2),), "noise_static": ((0, 1),)}}
            ),
        )

    layers = presets.layers(presets.get("quick"), Late, "", "sprites", "video")
    kinds = {"method": Late.Config, "training": TrainingConfig}
    part = merged(kinds, layers, {})["training"]
    assert part.config.capacity == {**LATE, "noise_static": ((0.0, 1.0),)}
    assert part.origins["capacity"] == "Family at quick"
    part = merged(kinds, layers, {"training.capacity.kl_static": None})["training"]
    assert part.config.capacity == {"noise_static": ((0.0, 1.0),)}
    assert part.origins["capacity"] == "--set"
    assert merged(kinds, layers, {"training.capacity": {}})["training"].config.capacity == {}


def test_describe_shows_a_schedule_as_it_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    late = ["--set", "training.capacity.kl_static=0.30:20 0.6:1"]
    assert main(["describe", "dsvae", "--preset", "paper", *late]) == 0
    shown = capsys.readouterr().out
    assert (
        "Schedules (--set training.capacity.NAME='0.3:20 0.6:1'): recon, noise_static, noise_dynamic, kl_static"
        in shown
    )
    assert re.search(r"^  capacity +kl_static 0\.3:20 0\.6:1 +--set$", shown, re.M)
    assert main(["describe", "dsvae", "--preset", "paper"]) == 0
    assert re.search(r"^  capacity +none +default$", capsys.readouterr().out, re.M)


def test_a_preset_that_was_renamed_names_its_successor_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        UserError, match=r"^the preset demo of version 0.1.0 is gone, .* use --preset compact \(.*\)\.$"
    ):
        presets.get("demo")
    assert main(["describe", "demo"]) == 2
    assert main(["run", "--methods", "dsvae", "--datasets", "sprites", "--preset", "demo", "--dry-run"]) == 2
    assert capsys.readouterr().err.count("use --preset compact") == 2


def test_the_schedule_of_compact_holds_for_video_but_digits() -> None:
    def capacity(method: str, dataset: str, preset: str = "compact") -> dict[str, object]:
        (cell, *_) = planned(method, datasets=dataset, preset=preset)
        return dict(cell.config.training.capacity)

    for method, names in (
        ("dsvae", {"kl_static", "kl_dynamic"}),
        ("cdsvae:no-motion-aug", {"kl_static", "kl_dynamic"}),
        ("s3vae", {"kl_static", "kl_dynamic"}),
        ("rwae:gan", {"noise_static"}),
        ("fhvae", set()),
    ):
        assert set(capacity(method, "sprites")) == set(capacity(method, "mug")) == names
        assert capacity(method, "smmnist") == capacity(method, "timit") == {}
        assert capacity(method, "sprites", "paper") == capacity(method, "sprites", "quick") == {}


def test_ids_are_those_of_version_0_1_0_but_of_rows_whose_settings_changed_since() -> None:
    known = json.loads((Path(__file__).parent / "ids.json").read_text())
    for line, ids in known.items():
        preset, dataset, methods, source, table = line.split("|")
        cells = plan(
            grid(catalog.parse_methods(methods), [dataset], source=source, preset=preset, seeds=[0, 3], table=table)  # type: ignore[arg-type]
        )
        assert [cell.id for cell in cells] == ids, line


def test_logging_does_not_change_the_id() -> None:
    one = planned("dsvae")[0]
    config = json.loads(json.dumps(one.config.to_json()))
    config["training"]["log_every"] += 1
    assert cell_id(config) == one.id
