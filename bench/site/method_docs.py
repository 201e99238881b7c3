"""What the methods' own files say of themselves, read as text: no method, and so no torch, is imported."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

from seqdis.bench.core.source import assigned, class_values
from seqdis.bench.plan import catalog

Block = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class MethodDoc:
    """A method's file: its name, title and paper, its docstring in blocks, and its variants.

    `blocks` are ("text", paragraph), ("list", item) and ("code", lines): equations stand in indented lines.
    """

    name: str
    title: str
    paper: str
    summary: str
    blocks: tuple[Block, ...]
    variants: tuple[tuple[str, str], ...]


def all_methods() -> list[MethodDoc]:
    """Every method of the suite: the field's six in their order, then the others."""
    modules = catalog.method_modules()
    order = [name for name in catalog.ALL_METHODS if name in modules]
    return [read(name, modules[name]) for name in [*order, *sorted(set(modules) - set(order))]]


def read(name: str, path: Path) -> MethodDoc:
    """A method's file as text."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name_of_class = assigned(path, "METHOD")
    values = class_values(path, ast.unparse(name_of_class)) if name_of_class is not None else {}
    summary, _, rest = (ast.get_docstring(tree) or "").partition("\n\n")
    variants = values.get("variants", {})
    described = (
        tuple(
            (str(key), ", ".join(f"{setting} = {value}" for setting, value in changes.items()))
            for key, changes in variants.items()
        )
        if isinstance(variants, dict)
        else ()
    )
    return MethodDoc(
        name,
        str(values.get("title", name)),
        str(values.get("paper", "")),
        " ".join(summary.split()),
        tuple(blocks(rest)),
        described,
    )


def blocks(text: str) -> list[Block]:
    """A docstring's paragraphs, list items and indented lines, in order."""
    found: list[Block] = []
    for part in re.split(r"\n[ \t]*\n", text.strip("\n")):
        lines = [line.rstrip() for line in part.splitlines() if line.strip()]
        for kind, line in ((_kind(line), line) for line in lines):
            previous = found[-1] if found else None
            if kind == "code":
                found = _joined(found, previous, "code", line.removeprefix("    "), "\n")
            elif kind == "item":
                found.append(("list", line.lstrip("* -").strip()))
            elif previous and previous[0] == "list" and line.startswith(" "):
                found = _joined(found, previous, "list", line.strip(), " ")
            else:
                found = _joined(found, previous, "text", line.strip(), " ")
        found.append(("end", ""))
    return [block for block in found if block[0] != "end"]


def _kind(line: str) -> str:
    if line.startswith("    "):
        return "code"
    return "item" if re.match(r"[*-] ", line) else "text"


def _joined(found: list[Block], previous: Block | None, kind: str, line: str, glue: str) -> list[Block]:
    if previous and previous[0] == kind:
        return [*found[:-1], (kind, f"{previous[1]}{glue}{line}")]
    return [*found, (kind, line)]
