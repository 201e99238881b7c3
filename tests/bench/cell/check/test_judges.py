"""The checks of judges: the shipped ones keep the contract, and each fault put into a copy is found."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from seqdis.bench.cell.check.judges import CHECKS, Candidate, check_judge, find_judge, judge_names
from seqdis.bench.cli import main
from seqdis.bench.core.files import digest
from seqdis.datasets.sprites import Sprites
from seqdis.judges.cards import shipped_folder
from seqdis.judges.judge import Judge

ROOT = Path(__file__).resolve().parents[4]
NAME = "sprites-synthetic-32"
Card = dict[str, Any]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    Sprites.prepare(folder, "synthetic", 32)
    return folder


def failures(path: Path, root: Path) -> dict[str, str]:
    return {one.name: one.failures[0].text for one in check_judge(Candidate(path, root)) if one.state == "fails"}


@pytest.mark.parametrize("name", sorted(path.stem for path in shipped_folder().glob("*.json")))
def test_shipped_judges_keep_the_contract(name: str, tmp_path: Path) -> None:
    assert failures(shipped_folder() / f"{name}.json", tmp_path) == {}


def test_accuracy_is_measured_again_where_data_are_prepared(root: Path) -> None:
    found = {one.name: one.cases[0] for one in check_judge(Candidate(shipped_folder() / f"{NAME}.json", root))}
    case = found["its-accuracy-is-that-of-its-card"]
    assert case.state == "holds"
    assert case.text.startswith("256 clips: skin 100.0%")


def damaged(card: Card) -> None:
    card["sha256"] = "0" * 64


def miscounted(card: Card) -> None:
    card["parameters"] += 1


def outdated(card: Card) -> None:
    card["data"]["revision"] = "sprites-pixel-2"


def longer(card: Card) -> None:
    card["n_frames"] = 9


def silent(card: Card) -> None:
    del card["accuracy"]["skin"]


def headless(card: Card) -> None:
    card["factors"]["skin"][1] = "dynamic"


def boasting(card: Card) -> None:
    card["accuracy"]["motion"] = 0.5


def of_other_data(card: Card) -> None:
    card["data"]["digest"] = "f" * 64


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (damaged, "its-weights-are-those-that-its-card-names", "is not what its card says"),
        (miscounted, "its-weights-are-those-that-its-card-names", "it has 234273 parameters, the card says 234274"),
        (outdated, "its-heads-are-factors-of-the-data", "bench judge train sprites --source synthetic --size 32"),
        (longer, "its-heads-are-factors-of-the-data", "it takes 9 frames, the data have 8"),
        (silent, "its-heads-are-factors-of-the-data", "the card has no accuracy of head skin"),
        (headless, "its-weights-are-those-that-its-card-names", "do not fit together"),
        (boasting, "its-accuracy-is-that-of-its-card", "of motion and its card says 50.00%"),
        (of_other_data, "its-accuracy-is-that-of-its-card", "other data of the same revision"),
    ],
)
def test_a_card_that_is_wrong_is_found(
    change: Callable[[Card], None], name: str, words: str, root: Path, tmp_path: Path
) -> None:
    shutil.copy(shipped_folder() / f"{NAME}.safetensors", tmp_path)
    card = json.loads((shipped_folder() / f"{NAME}.json").read_text())
    change(card)
    (tmp_path / f"{NAME}.json").write_text(json.dumps(card))
    found = failures(tmp_path / f"{NAME}.json", root)
    assert words in found[name]


def test_weights_that_give_no_numbers_are_found(root: Path, tmp_path: Path) -> None:
    state = safetensors.torch.load_file(shipped_folder() / f"{NAME}.safetensors")
    state[next(key for key, value in state.items() if value.is_floating_point())].fill_(float("nan"))
    data = safetensors.torch.save(state)
    card = json.loads((shipped_folder() / f"{NAME}.json").read_text()) | {"sha256": digest(data)}
    (tmp_path / card["weights"]).write_bytes(data)
    (tmp_path / f"{NAME}.json").write_text(json.dumps(card))
    assert "not finite" in failures(tmp_path / f"{NAME}.json", root)["it-answers-with-logits"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda logits: logits + torch.rand(()), "answers otherwise when it is asked again"),
        (lambda logits: logits - logits.mean(0), "answers otherwise to a clip alone"),
    ],
)
def test_answers_that_hang_on_chance_or_on_the_batch_are_found(
    answer: Callable[[torch.Tensor], torch.Tensor],
    words: str,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = Judge.forward
    monkeypatch.setattr(
        Judge, "forward", lambda self, x: {name: answer(logits) for name, logits in plain(self, x).items()}
    )
    found = failures(shipped_folder() / f"{NAME}.json", root)
    assert words in found["its-answers-hang-on-the-clip-alone"]


def test_a_judge_is_found_by_name_by_card_and_by_weights(tmp_path: Path) -> None:
    card = shipped_folder() / f"{NAME}.json"
    assert NAME in judge_names(tmp_path)
    for name in (NAME, str(card), str(card.with_suffix(".safetensors"))):
        assert find_judge(name, tmp_path) == card
    assert find_judge(str(tmp_path / "none.json"), tmp_path) is None


def test_the_command_examines_a_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", NAME, "--data-dir", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [check["state"] for check in found["checks"]] == ["holds"] * 4 + ["skipped"]
    assert main(["check", "sprites-real-63"]) == 2
    assert "did you mean 'sprites-real-64'" in capsys.readouterr().err


def test_every_check_says_why_and_names_a_section_that_there_is() -> None:
    text = (ROOT / "docs" / "judges.md").read_text()
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.M)}
    for check in CHECKS:
        assert check.page.partition("#")[2] in headings
        assert check.why
