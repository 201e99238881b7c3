"""Options of data sets on the command line: into the cell's config, record and id, or one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seqdis.bench.cli import main
from seqdis.bench.core.errors import UserError
from seqdis.bench.plan import catalog
from seqdis.bench.plan.cells import Planned, grid, plan
from seqdis.datasets.base import chosen_options


def planned(dataset: str, **overrides: Any) -> Planned:
    cells = grid(
        catalog.parse_methods("dsvae"),
        [dataset],
        source="synthetic",
        preset="quick",
        seeds=[0],
        overrides={f"data.{key}": value for key, value in overrides.items()},
    )
    return plan(cells)[0]


def test_options_are_in_the_config_and_change_the_id() -> None:
    plain, bins, warped = planned("timit"), planned("timit", features="spec200"), planned("timit", augment="vtlp")
    assert plain.config.data == {}
    assert bins.config.data == {"features": "spec200"}
    assert bins.config.cell.overrides == {"data.features": "spec200"}
    assert warped.config.data == {"augment": "vtlp"}
    assert len({plain.id, bins.id, warped.id}) == 3
    assert planned("mug", split="subject").config.versions["data"].endswith("-subject")
    assert planned("smmnist", n_test=100).config.data == {"n_test": 100}


@pytest.mark.parametrize(
    ("dataset", "key", "value", "message"),
    [
        (
            "timit",
            "feature",
            "spec200",
            "timit has no option data.feature; those that it has: data.features, data.augment",
        ),
        ("timit", "features", "mfcc", "data.features of timit is mel80 or spec200, not 'mfcc'"),
        ("timit", "sa", 1, "data.sa of timit is false or true, not 1"),
        ("librispeech-mini", "sa", True, "librispeech-mini has no option data.sa"),
        ("sprites", "split", "subject", "sprites has no option data.split; those that it has: none"),
        ("mug", "split", "take", "data.split of mug is video or subject, not 'take'"),
        ("smmnist", "n_test", 10_001, "data.n_test of smmnist is a number up to 10000, not 10001"),
        ("smmnist", "n_test", True, "not True"),
    ],
)
def test_unknown_options_and_values_are_one_sentence(dataset: str, key: str, value: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen_options(catalog.load_dataset(dataset), {key: value})
    assert message in str(caught.value)


@pytest.mark.parametrize("dataset", ["sprites", "mug", "smmnist", "smmnist-10k", "timit", "librispeech-mini", "speech"])
def test_every_default_is_admitted_and_opens_what_no_option_opens(dataset: str, tmp_path: Path) -> None:
    kind = catalog.load_dataset(dataset)
    source = kind.sources[-1]
    for name, option in kind.options.items():
        assert option.admits(option.default)
        assert option.text
        plain = kind.folder(tmp_path, source, 64)  # type: ignore[attr-defined]
        assert kind.folder(tmp_path, source, 64, **{name: option.default}) == plain  # type: ignore[attr-defined]
        for value in option.choices:
            folder = kind.folder(tmp_path, source, 64, **{name: value})  # type: ignore[attr-defined]
            assert (folder != plain) == (option.stored and value != option.default)


def test_the_option_goes_from_the_command_line_to_the_prepared_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["timit", "--source", "synthetic", "--data-dir", str(tmp_path), "--set", "data.features=spec200"]
    assert main(["data", "verify", *words]) == 2
    error = capsys.readouterr().err
    assert "bench data prepare timit --set data.features=spec200 --source synthetic" in error
    assert main(["data", "prepare", *words]) == 0
    capsys.readouterr()
    dataset = catalog.load_dataset("timit").open(tmp_path, "synthetic", 0, features="spec200", augment="vtlp")
    assert dataset.spec.frame == (200,)
    assert dataset.spec.augment.audio == "vtlp"
    assert dataset.train.shifted is None  # type: ignore[attr-defined]
    assert [path.name for path in tmp_path.glob("timit*")] == ["timit-synthetic-spec200"]
    assert main(["data", "preview", *words, "--out", str(tmp_path / "speech.png")]) == 0
    with Image.open(tmp_path / "speech.png") as sheet:  # 6 speakers of 200 bins, two utterances of 1.25 s each
        assert sheet.size == (2 * (2 * 123 + 6), 6 * (2 * 200 + 6))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data", "prepare", "timit", "--set", "data.features=mfcc"], "mel80 or spec200, not 'mfcc'"),
        (["data", "prepare", "timit", "--set", "features=spec200"], "write data.NAME=VALUE"),
        (
            [
                "run",
                "--methods",
                "dsvae",
                "--datasets",
                "timit",
                "--preset",
                "quick",
                "--set",
                "data.features=mfcc",
                "--dry-run",
            ],
            "mel80 or spec200, not 'mfcc'",
        ),
        (
            [
                "run",
                "--methods",
                "dsvae",
                "--datasets",
                "sprites,timit",
                "--preset",
                "quick",
                "--set",
                "data.features=spec200",
                "--dry-run",
            ],
            "sprites has no option data.features",
        ),
    ],
)
def test_mistakes_end_the_command_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main([*words, "--data-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_dry_run_shows_the_cell_with_its_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "run",
        "--methods",
        "dsvae",
        "--datasets",
        "timit",
        "--preset",
        "quick",
        "--data-dir",
        str(tmp_path),
        "--out",
        str(tmp_path / "runs"),
        "--set",
        "data.augment=vtlp",
        "--dry-run",
        "--json",
    ]
    assert main(words) == 0
    (cell,) = json.loads(capsys.readouterr().out)["cells"]
    assert cell["overrides"] == {"data.augment": "vtlp"}


def test_describe_lists_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "timit"]) == 0
    assert 'data.features  mel80 or spec200; default "mel80"' in capsys.readouterr().out
    assert main(["describe", "mug", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["options"]["split"]["choices"] == ["video", "subject"]
