"""The house's walls: who may import whom, and what must work without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FREE_OF_TORCH = (
    "aggregate",
    "tables",
    "statistics",
    "formats",
    "published",
    "validate",
    "records",
    "store",
    "plan",
    "presets",
    "catalog",
    "figures",
    "publish",
    "display",
    "cli",
)
MAY_IMPORT = {
    "methods": ("seqdis.methods",),
    "datasets": ("seqdis.datasets", "seqdis.bench.core"),
    "judges": ("seqdis.judges", "seqdis.datasets", "seqdis.bench.core"),
}
HEAVY = {"torchvision", "torchaudio", "cv2", "soundfile", "pooch", "submitit", "sklearn", "matplotlib", "pyarrow"}


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path, *, top_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_room_imports_only_what_it_may(room: str) -> None:
    for path in modules(room):
        ours = {name for name in imported(path) if name.split(".")[0] == "seqdis"}
        strangers = {name for name in ours if not name.startswith(MAY_IMPORT[room])}
        assert not strangers, f"{path.relative_to(ROOT)} imports {strangers}"


@pytest.mark.parametrize("room", ["bench", "methods", "datasets", "judges"])
def test_optional_packages_are_imported_where_they_are_used(room: str) -> None:
    for path in modules(room):
        heavy = {name.split(".")[0] for name in imported(path, top_only=True)} & HEAVY
        assert not heavy, f"{path.relative_to(ROOT)} imports {heavy} at its top"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("module", FREE_OF_TORCH)
def test_module_needs_no_torch(module: str) -> None:
    code = f"import sys, seqdis.bench.{module}; print('torch' in sys.modules)"
    assert run_python(code).strip() == "False"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom seqdis.bench.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'scipy', 'rich', 'submitit'} & set(sys.modules)))"
    )
    assert run_python(code).strip().endswith("[]")


@pytest.mark.parametrize("arguments", [["list"], ["table", "--help"], ["run", "--help"], ["status", "--help"]])
def test_light_commands_import_no_torch(arguments: list[str]) -> None:
    code = (
        f"import sys\nfrom seqdis.bench.cli import main\ntry:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules)"
    )
    assert run_python(code).strip().endswith("False")


def test_every_command_has_its_module() -> None:
    from seqdis.bench.cli import COMMANDS, MODULES

    for name in COMMANDS:
        path = ROOT / "bench" / "commands" / f"{MODULES.get(name, name)}.py"
        assert path.is_file(), name
        tree = ast.parse(path.read_text())
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert {"add_arguments", "run"} <= defined
        assert any(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "HELP" for node in tree.body)
