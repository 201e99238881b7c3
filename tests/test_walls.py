"""The house's walls: which room may import which, and what must work without torch.

`ROOMS` is the plan of docs/architecture.md, from the ground up. A room is a folder with all that lies below it, unless
a deeper one is named here too. It imports itself, what stands beside it here, and nothing else of ours.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = ("bench", "methods", "datasets", "judges", "results")

ROOMS: dict[str, tuple[str, ...]] = {
    # ground floor
    "methods": (),
    "bench/core": (),
    "results": (),
    # data and judges
    "datasets": ("bench/core",),
    "judges": ("bench/core", "methods", "datasets"),
    # what was run, and what is to be run
    "bench/records": ("bench/core", "judges"),
    "bench/plan": ("bench/core", "methods", "datasets", "judges", "bench/records"),
    # running it
    "bench/cell": ("bench/core", "methods", "datasets", "judges", "bench/records", "bench/plan"),
    "bench/perf": ("bench/core", "methods", "datasets", "bench/records", "bench/plan", "bench/cell"),
    "bench/launch": ("bench/core", "bench/records", "bench/plan", "bench/cell", "bench/perf"),
    # showing it
    "bench/tables": ("bench/core", "results", "bench/records", "bench/plan"),
    "bench/formats": ("bench/core", "bench/tables"),
    "bench/figures": ("bench/core", "bench/records", "bench/plan", "bench/tables"),
    "bench/site": ("bench/core", "bench/records", "bench/plan", "bench/tables", "bench/formats", "bench/figures"),
    # the command line
    "bench/commands": (
        *("bench/core", "datasets", "judges", "bench/records", "bench/plan", "bench/cell", "bench/perf"),
        *("bench/launch", "bench/tables", "bench/formats", "bench/figures", "bench/site"),
    ),
    "bench": ("bench/core", "bench/commands"),
    # the library: `import seqdis`
    "bench/front": ("bench/commands",),
}
MOST_ARROWS = 60

ONLY: dict[tuple[str, str], tuple[str, ...]] = {
    # the contract, never a method: judges must not know which method they judge
    ("judges", "methods"): ("seqdis.methods.base",),
}

FREE_OF_TORCH = (
    "bench/core",
    "bench/records",
    "bench/plan",
    "bench/tables",
    "bench/formats",
    "bench/figures",
    "bench/site",
)
MAY_LOAD_TORCH: frozenset[str] = frozenset()
HEAVY = {
    *("torchvision", "torchaudio", "cv2", "soundfile", "pooch", "submitit", "sklearn", "matplotlib", "pyarrow"),
    "optuna",
}
STANDARD_LIBRARY_ONLY = ("bench/core",)

HANDED_OVER = ("bench/launch/worker.py", "bench/launch/prepare.py", "bench/launch/tables.py")
"""Old names that jobs in a queue start. Each only hands over to the new one, wherever it is; nothing here knows them."""


def modules() -> Iterator[Path]:
    for top in TOP:
        yield from (path for path in sorted((ROOT / top).rglob("*.py")) if path not in OLD_NAMES)


OLD_NAMES = {ROOT / path for path in HANDED_OVER}


def name_of(path: Path) -> str:
    parts = ["seqdis", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The deepest room that a module of ours lies in."""
    place = module.removeprefix("seqdis.").replace(".", "/")
    while place and place not in ROOMS:
        place = place.rpartition("/")[0]
    return place


def imported(path: Path, *, top_only: bool = False) -> set[str]:
    """Names that a file imports, relative ones resolved; `from a import b` gives a.b."""
    tree = ast.parse(path.read_text())
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    names: set[str] = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def started(path: Path) -> set[str]:
    """Modules of ours that a file names in a text, as an argument of `python -m` does."""
    texts = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    return {text for text in texts if isinstance(text, str) and re.fullmatch(r"seqdis(\.\w+)+", text)}


ARROWS: dict[tuple[str, str], set[str]] = {}
for _path in modules():
    for _name in imported(_path) | started(_path):
        _from, _to = room_of(name_of(_path)), room_of(_name)
        if _name.startswith("seqdis.") and _to and _from != _to:
            ARROWS.setdefault((_from, _to), set()).add(f"{_path.relative_to(ROOT)} -> {_name}")


def test_the_plan_names_each_room_after_those_that_it_stands_on() -> None:
    order = list(ROOMS)
    for room, below in ROOMS.items():
        assert all(order.index(other) < order.index(room) for other in below), room


def test_the_architecture_page_shows_this_plan() -> None:
    rows = re.findall(
        r"^\| `([\w/]+)` \| .*? \| (.*) \|$", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE
    )
    assert {room: tuple(re.findall(r"`([\w/]+)`", imports)) for room, imports in rows} == ROOMS
    assert [room for room, _ in rows] == list(ROOMS)


def test_every_folder_of_code_is_a_room_or_lies_in_one() -> None:
    assert {room_of(name_of(path)) for path in modules()} == set(ROOMS)
    inside = {"/".join(path.relative_to(ROOT).parts[:2]) for path in (ROOT / "bench").rglob("*.py")}
    assert {folder for folder in inside if not folder.endswith(".py")} <= set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_rooms_below_it(room: str) -> None:
    for (here, there), files in ARROWS.items():
        if here == room:
            assert there in ROOMS[room], f"{room} may not import {there}: {sorted(files)}"


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_all_that_the_plan_says(room: str) -> None:
    unused = [other for other in ROOMS[room] if (room, other) not in ARROWS]
    assert not unused, f"{room} no longer imports {unused}: take them out of the plan"


@pytest.mark.parametrize("path", HANDED_OVER)
def test_old_name_only_hands_over_and_nothing_uses_it(path: str) -> None:
    old = name_of(ROOT / path)
    assert imported(ROOT / path) == {"runpy"}
    assert len(started(ROOT / path)) == 1
    assert all(find_module(name) for name in started(ROOT / path))
    assert not [other for other in modules() if old in imported(other) | started(other)]


def find_module(name: str) -> bool:
    return any(name_of(path) == name for path in modules())


def test_there_are_few_arrows() -> None:
    assert len(ARROWS) < MOST_ARROWS


@pytest.mark.parametrize("arrow", ONLY)
def test_what_a_room_may_take_of_another(arrow: tuple[str, str]) -> None:
    for entry in ARROWS.get(arrow, ()):
        name = entry.partition(" -> ")[2]
        assert any(name == one or name.startswith(f"{one}.") for one in ONLY[arrow]), entry


def test_no_two_files_import_each_other() -> None:
    """No circle between files either, wherever in a file the import stands; imports for the type checker count too."""
    known = {name_of(path) for path in modules()}
    edges: dict[str, set[str]] = {}
    for path in modules():
        found = {name if name in known else name.rpartition(".")[0] for name in imported(path) | started(path)}
        edges[name_of(path)] = {name for name in found & known if name != name_of(path)}
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"a circle: {' -> '.join((*trail[trail.index(name) :], name))}"
        if name not in done:
            for other in sorted(edges[name]):
                walk(other, (*trail, name))
            done.add(name)

    for name in sorted(edges):
        walk(name, ())


@pytest.mark.parametrize("top", ["bench", "methods", "datasets", "judges"])
def test_optional_packages_are_imported_where_they_are_used(top: str) -> None:
    for path in sorted((ROOT / top).rglob("*.py")):
        heavy = {name.split(".")[0] for name in imported(path, top_only=True)} & HEAVY
        assert not heavy, f"{path.relative_to(ROOT)} imports {heavy} at its top"


@pytest.mark.parametrize("room", STANDARD_LIBRARY_ONLY)
def test_room_needs_the_standard_library_only(room: str) -> None:
    for path in sorted((ROOT / room).rglob("*.py")):
        strangers = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names) - {"seqdis"}
        assert not strangers, f"{path.relative_to(ROOT)} imports {strangers}"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("room", FREE_OF_TORCH)
def test_room_needs_no_torch(room: str) -> None:
    names = [name_of(path) for path in sorted((ROOT / room).rglob("*.py"))]
    wanted = [name for name in names if name not in MAY_LOAD_TORCH]
    assert run_python(f"import sys, {', '.join(wanted)}; print('torch' in sys.modules)").strip() == "False"


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
