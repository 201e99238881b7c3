"""Cards: the file is kept to the byte, changed ones are refused, and whose judge is found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.bench.core.schema import to_json
from seqdis.datasets.base import DataSet, Spec
from seqdis.judges.cards import find_card, read_card, shipped_cards, shipped_folder, train_command
from seqdis.judges.judge import Judge, load_judge

CARDS = sorted(shipped_folder().glob("*.json"))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_shipped_cards_are_written_as_they_were_read(path: Path) -> None:
    card = read_card(path, "")
    assert json.dumps(to_json(card), indent=1) + "\n" == path.read_text()
    assert shipped_cards()[path.stem] == card


def test_a_saved_card_is_read_as_it_was(root: Path, judge: Judge, toy: DataSet) -> None:
    path, card = find_card(toy.spec, root)
    assert card == judge.card
    assert path.read_text() == json.dumps(to_json(card), indent=1) + "\n"


def test_a_card_names_the_command_that_made_it(root: Path, toy: DataSet) -> None:
    """The same as the one that a missing judge asks for."""
    _, card = find_card(toy.spec, root)
    assert card.command == train_command(toy.spec)
    second = dataclasses.replace(card, size=0, judge="second", data=dataclasses.replace(card.data, identity="subject"))
    assert second.command == "bench judge train toy --source synthetic --name second --split subject"


def test_missing_judge_says_how_to_train_it(tmp_path: Path, toy: DataSet) -> None:
    with pytest.raises(MissingDataError) as caught:
        load_judge(toy.spec, tmp_path)
    assert caught.value.command == f"bench judge train toy --source synthetic --size 16 --data-dir {tmp_path}"
    with pytest.raises(MissingDataError, match="--name second"):
        load_judge(toy.spec, tmp_path, "second")


def test_judge_of_another_data_revision_is_not_used(root: Path, other_spec: Callable[..., Spec]) -> None:
    with pytest.raises(MissingDataError, match=r"'toy-1'.*'toy-2'"):
        load_judge(other_spec(revision="toy-2"), root)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"sha256": None},
        {"weights": "../elsewhere.safetensors"},
        {"weights": ""},
        {"frame": "3x16x16"},
        {"accuracy": {"motion": 1.2}},
        {"architecture": {"kind": "other"}},
        {"architecture": {"width": 9}},
        {"architecture": {"unknown": 1}},
        {"factors": {"motion": [3, "dynamic"]}},
        None,
    ],
)
def test_changed_card_is_refused(root: Path, toy: DataSet, change: dict[str, Any] | None) -> None:
    path = root / "judges" / "toy-synthetic-16@toy-1.json"
    card = json.loads(path.read_text())
    path.write_text("{" if change is None else json.dumps(card | change))
    with pytest.raises(UserError):
        load_judge(toy.spec, root)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_shipped_judge_is_of_the_data_that_this_version_makes(path: Path) -> None:
    from seqdis.bench.plan import catalog

    card = read_card(path, "")
    kind = catalog.load_dataset(card.dataset)
    describe = getattr(kind, "describe", None) or kind._spec  # type: ignore[attr-defined]
    spec = describe(card.source, card.size)
    assert card.data.revision == spec.revision, "data changed: bench judge train --all-shipped"
    name = next((name for name in ("second", "official") if path.stem.endswith(f"-{name}")), "default")
    assert find_card(spec, name=name) == (path, card)
