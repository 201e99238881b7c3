"""Files outside of the suite: which files one is made of, their digest, and loading them.

A plug-in is a file, with the files beside it that it imports (`from .nets import Encoder`). It is loaded as a module of
a package that is made up for its folder and named after both what the files hold and where they are: two plug-ins of one
name do not meet, and an edited one is another module. An `__init__.py` beside the file is not run.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import digest
from seqdis.bench.core.source import assigned
from seqdis.bench.plan.code import Place, behind, digest_of_files, reached, users

PACKAGE = "seqdis_plugin"
_NOT_BESIDE = {*sys.stdlib_module_names, "seqdis"}


def files_of(path: Path) -> list[Path]:
    """A plug-in's file, then those of the user's that it imports, also through one another; nothing is run.

    The user's are those in its folder or below, and of packages elsewhere that were not installed (see `code.users`).
    """
    return list(_modules(path))


def _modules(path: Path) -> dict[Path, str]:
    """The same, each with the name of its module."""

    def found(name: str) -> list[Place]:
        first, _, rest = name.partition(".")
        if first == PACKAGE:
            return behind(path.parent, rest, PACKAGE)
        return [] if first in _NOT_BESIDE else [*behind(path.parent, name, PACKAGE), *users(name)]

    return reached([(path, f"{PACKAGE}.{path.stem}")], found)


def digest_of(path: Path, name: str = "") -> str:
    """Digest of what the files of a plug-in do, and of which of its classes is meant, if one is.

    Raises:
        UserError: it cannot be read.
    """
    try:
        chosen = assigned(path, name) if name else None
    except (OSError, SyntaxError, ValueError):
        chosen = None
    name = chosen.id if isinstance(chosen, ast.Name) else name  # METHOD = Mine is Mine
    try:
        return digest_of_files(_modules(path), name)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error


def load(path: Path, name: str) -> Any:
    """What a plug-in calls `name`. What is loaded once and has not been edited is not run again.

    Raises:
        UserError: it cannot be imported, or has nothing of that name.
    """
    key = digest(f"{path.parent}\n{digest_of(path)}")[:12]
    package, stem = f"{PACKAGE}_{key}", path.stem.replace(".", "_")
    try:
        module = sys.modules.get(f"{package}.{stem}") or _run(path, package, stem)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a plug-in may raise anything at import
        raise UserError(f"{path} cannot be imported ({_words(path, error)}).") from error
    if not hasattr(module, name):
        raise UserError(f"{path} has no class {name!r}; name it as path/to/file.py:Class.")
    return getattr(module, name)


def _words(path: Path, error: BaseException) -> str:
    first, *_ = str(error).splitlines() or [""]
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    hint = f"; write 'from .{name} import ...'" if name and behind(path.parent, name, PACKAGE) else ""
    return f"{type(error).__name__}: {first}{hint}"


def _run(path: Path, package: str, stem: str) -> types.ModuleType:
    importlib.invalidate_caches()
    around = types.ModuleType(package)
    around.__path__ = [str(path.parent)]
    spec = importlib.util.spec_from_file_location(f"{package}.{stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name, and relative imports their package.
    sys.modules |= {package: around, spec.name: module}
    try:
        spec.loader.exec_module(module)
        _refuse_unseen(path, package)
    except BaseException:
        for name in [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]:
            del sys.modules[name]
        raise
    return module


def _refuse_unseen(path: Path, package: str) -> None:
    """The digest stands for what was run: a file that it does not cover could be edited without another cell's id."""
    seen = {str(file) for file in files_of(path)}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) if name.startswith(f"{package}.") else None
        if file is not None and file not in seen:
            beside = name.removeprefix(f"{package}.")
            raise UserError(
                f"{path} imports {file} in a way that cannot be read from its text; write 'from .{beside} import ...'."
            )
