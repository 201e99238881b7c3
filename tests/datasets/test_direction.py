"""Which files of `datasets/` may import which: adapters stand on helpers, and helpers on the contract."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from seqdis.bench.plan.catalog import dataset_modules

ROOT = Path(__file__).resolve().parents[2] / "datasets"
GROUND = ("base", "cache", "augment", "folders", "prepared")
MAY: dict[str, tuple[str, ...]] = {"synthetic": (), "video": GROUND, "audio": GROUND}
ADAPTERS = {module.rpartition(".")[2] for module in dataset_modules().values()}


def imports(path: Path) -> set[str]:
    """Files of `datasets/` that a file imports, as `base` or `video.frames`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("seqdis.datasets"):
            place = (node.module or "").removeprefix("seqdis.datasets").removeprefix(".")
            for alias in node.names:
                below = [part for part in (place, alias.name) if part]
                is_file = ROOT.joinpath(*below).with_suffix(".py").is_file()
                found.add(".".join(below) if is_file else place)
    return found


@pytest.mark.parametrize("room", MAY)
def test_helpers_import_the_contract_and_their_own_room(room: str) -> None:
    for path in sorted((ROOT / room).glob("*.py")):
        for name in imports(path):
            assert name.split(".")[0] in (room, *MAY[room]), f"{path.name} imports {name}"


@pytest.mark.parametrize("name", GROUND)
def test_the_contract_imports_no_helper_and_no_adapter(name: str) -> None:
    for other in imports(ROOT / f"{name}.py"):
        assert other in GROUND, f"{name}.py imports {other}"


def test_adapters_do_not_import_each_other() -> None:
    assert {"sprites", "mug", "smmnist", "timit", "speech"} == ADAPTERS
    for name in ADAPTERS:
        assert not imports(ROOT / f"{name}.py") & ADAPTERS
