"""Files that a Python file imports, followed without running any, and the digest of what they all do."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from seqdis.bench.core.files import canonical_json, digest
from seqdis.bench.core.meaning import meaning
from seqdis.bench.core.source import imported

Place = tuple[Path, str]
"""A file and the dotted name of its module."""

_INSTALLED = {"site-packages", "dist-packages"}


def reached(first: Iterable[Place], behind_name: Callable[[str], Iterable[Place]]) -> dict[Path, str]:
    """Files and all that they import, also through one another, each with the name of its module.

    Args:
        behind_name: the files that an import of a dotted name runs, of those that count.

    Raises:
        OSError: one cannot be read.
    """
    found: dict[Path, str] = {}
    followed: set[str] = set()
    todo = list(first)
    while todo:
        file, module = todo.pop(0)
        if file in found:
            continue
        found[file] = module
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        for name in imported(file, package):
            if name not in followed:
                followed.add(name)
                todo += behind_name(name)
    return found


def behind(root: Path, name: str, package: str = "") -> list[Place]:
    """The files in a folder that an import of a dotted name runs.

    Args:
        package: what the folder is called as a package; empty for one that holds packages.
    """
    found, place, module = [], str(root), package
    for part in name.split("."):
        place, module = f"{place}/{part}", f"{module}.{part}" if module else part
        choices = (f"{place}/__init__.py", f"{place}.py")
        found += [(Path(file), module) for file in choices if os.path.isfile(file)][:1]
    return found


def users(name: str) -> list[Place]:
    """The files that an import of a dotted name runs, if its package is the user's: none of Python's, and not where
    packages are installed to (an editable installation is the user's)."""
    folder = package_folder(name.partition(".")[0])
    if folder is None or _INSTALLED & set(folder.parts) or any(folder.glob("*.dist-info")):
        return []
    return behind(folder, name)


def package_folder(top: str) -> Path | None:
    """The folder that a package or module of one word lies in; None if there is none, or it is Python's or the suite's."""
    if not top or top in sys.stdlib_module_names or top == "seqdis":
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).parent
    return Path(spec.origin).parent if spec.has_location and spec.origin else None


def digest_of_files(files: Mapping[Path, str], name: str = "") -> str:
    """Digest of what files do and of their modules' names, wherever they lie.

    Args:
        name: what of them is meant, if it is not all.

    Raises:
        OSError: one cannot be read.
    """
    said = sorted([module, meaning(file).digest] for file, module in files.items())
    return digest(canonical_json({"files": said, "name": name}))
