"""`bench judge` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seqdis.bench.cli import main
from seqdis.judges.cards import shipped_folder, trained_stem
from seqdis.judges.judge import Judge, save_judge

SHIPPED = sorted(path.stem for path in shipped_folder().glob("*.json"))


@pytest.fixture
def trained(tmp_path: Path, toy: Any, judge: Judge) -> Path:
    save_judge(judge, tmp_path / "judges", trained_stem(toy.spec))
    return tmp_path


def test_show_lists_shipped_and_trained_judges(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "show", "--json", "--data-dir", str(trained)]) == 0
    cards = json.loads(capsys.readouterr().out)
    assert sorted(card["name"] for card in cards if card["shipped"]) == sorted(SHIPPED)
    assert [card["name"] for card in cards if not card["shipped"]] == ["toy-synthetic-16"]
    assert all(0 <= value <= 1 for card in cards for value in card["accuracy"].values())


def test_show_prints_a_table_with_every_head(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "show", "--size", "16", "--data-dir", str(trained)]) == 0
    printed = capsys.readouterr().out
    for word in ("toy-synthetic-16", "motion", "colour", "row", "look", "toy-1"):
        assert word in printed


def test_show_without_a_judge_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "show", "--size", "8", "--data-dir", str(tmp_path)]) == 0
    assert "bench judge train" in capsys.readouterr().err


def test_verify_refuses_changed_weights(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = (trained / "judges").glob("*.safetensors")
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert main(["judge", "verify", "--size", "16", "--data-dir", str(trained)]) == 2
    printed = capsys.readouterr().err
    assert "SHA-256" in printed
    assert "bench judge train toy" in printed


@pytest.mark.skipif(not SHIPPED, reason="no judge is shipped yet")
def test_verify_without_data_checks_the_weights_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "verify", "--json", "--data-dir", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert {card["verified"] for card in json.loads(captured.out)} == {"digest"}
    assert "accuracy not recomputed" in captured.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["judge", "train"], "name the data set"),
        (["judge", "train", "spirtes"], "did you mean 'sprites'"),
        (["judge", "train", "timit", "--source", "synthetic"], "timit"),
        (["judge", "train", "sprites", "--split", "subject"], "--split"),
        (
            ["judge", "train", "sprites", "--source", "synthetic", "--size", "32"],
            "bench data prepare sprites --source synthetic --size 32",
        ),
        (["judge", "train", "sprites", "--name", "third"], "third"),
        (["judge", "verify", "mug", "--source", "real"], "bench judge train mug"),
    ],
)
def test_mistakes_get_one_sentence_and_exit_code_2(
    line: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line, "--data-dir", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""
