"""What the text of a Python file does: the digest of its syntax tree, and what it imports. Nothing is run.

Comments, docstrings and blanks are left out: two texts of one digest do the same. The tree is written in words of our
own, since `ast.dump` says one tree otherwise in each version of Python.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from seqdis.bench.core.files import digest

_UNSAID = {"ctx", "kind", "type_comment", "type_ignores"}


class Meaning(NamedTuple):
    """What a file says.

    Attributes:
        digest: SHA-256 of its syntax tree; of its bytes where it is no Python.
        imports: names that it imports, wherever it does, relative ones with their dots; `from .a import b` gives .a.b.
    """

    digest: str
    imports: tuple[str, ...]


def meaning(path: Path) -> Meaning:
    """What a file says.

    Raises:
        OSError: it cannot be read.
    """
    return parsed(path.read_bytes())


@functools.cache
def parsed(data: bytes) -> Meaning:
    """What a text says; of one that is no Python, its bytes and no imports."""
    words: list[str] = []
    imports: list[str] = []
    try:
        _write(ast.parse(data), words, imports)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Meaning(digest(data), ())
    return Meaning(digest("\0".join(words).encode("utf-8", "surrogatepass")), tuple(dict.fromkeys(imports)))


def _write(node: ast.AST, words: list[str], imports: list[str]) -> None:
    """A tree in words. Fields that are empty are left out: later versions of Python have more of them."""
    words.append(type(node).__name__)
    if isinstance(node, ast.Import | ast.ImportFrom):
        imports += _imports(node)
    for name in node._fields:
        value = getattr(node, name, None)
        if value is None or name in _UNSAID:
            continue
        if isinstance(value, ast.AST):
            words.append(name)
            _write(value, words, imports)
        elif isinstance(value, list):
            kept = [item for item in _joined(node, value) if not _does_nothing(item)]
            words += [f"{name}["] if kept else []
            for item in kept:
                if isinstance(item, ast.AST):
                    _write(item, words, imports)
                else:
                    words.append(repr(item))
        else:
            words.append(f"{name}={value!r}")
    words.append(")")


def _does_nothing(node: object) -> bool:
    """Whether it is a docstring, or another text that stands alone."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _joined(node: ast.AST, values: Sequence[object]) -> Sequence[object]:
    """The items of a list; of an f-string's, texts that follow one another are one: versions of Python part them
    differently."""
    if not isinstance(node, ast.JoinedStr):
        return values
    joined: list[object] = []
    for value in values:
        if not isinstance(value, ast.Constant):
            joined.append(value)
        elif joined and isinstance(joined[-1], ast.Constant):
            joined[-1] = ast.Constant(str(joined[-1].value) + str(value.value))
        elif value.value:
            joined.append(value)
    return joined


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    else:
        base = "." * node.level + (node.module or "")
        yield from (f"{base}{'' if base.endswith('.') else '.'}{alias.name}" for alias in node.names)
