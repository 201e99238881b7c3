"""What Python files say of their classes and import, read as text: nothing is imported, and so no torch."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqdis.bench.core.meaning import meaning


def assigned(path: Path, name: str) -> ast.expr | None:
    """The value assigned to `name` at the top level of a module."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return node.value
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return node.value
    return None


def class_values(path: Path, name: str) -> dict[str, Any]:
    """Class attributes that are literals, inherited ones included; what an expression builds is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if found is None:
        origin = _origin(tree, name)
        return class_values(origin, name) if origin is not None else {}
    values: dict[str, Any] = {}
    for base in reversed(found.bases):
        if isinstance(base, ast.Name):
            values |= class_values(path, base.id)
    for node in found.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target: ast.expr = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if isinstance(target, ast.Name):
            try:
                values[target.id] = ast.literal_eval(node.value)
            except ValueError:  # left out rather than run
                values.pop(target.id, None)
    return values


def imported(path: Path, package: str) -> Iterator[str]:
    """Names that a file imports, wherever it does, fully dotted; `from a import b` gives a.b.

    A file that is no Python imports nothing, nor does a line that reaches above the top of its package.

    Args:
        package: what its relative imports start from.
    """
    for name in meaning(path).imports:
        if not name.startswith("."):
            yield name
        elif package:
            with contextlib.suppress(ImportError):
                yield importlib.util.resolve_name(name, package)


def _origin(tree: ast.Module, name: str) -> Path | None:
    """The file of ours that a name is imported from."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            spec = importlib.util.find_spec(node.module or "") if (node.module or "").startswith("seqdis.") else None
            return Path(spec.origin) if spec is not None and spec.origin else None
    return None
