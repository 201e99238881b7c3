"""`bench list`: what there is, by name. Imports no torch."""

from __future__ import annotations

import argparse
import json

from seqdis.bench.core.errors import UserError, unknown_name
from seqdis.bench.plan import catalog

HELP = "Lists methods, data sets, judges, presets or tables; all of them without an argument."
KINDS = ("methods", "datasets", "judges", "presets", "tables")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", help=", ".join(KINDS))
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    if args.kind is not None and args.kind not in KINDS:
        raise unknown_name("kind", args.kind, KINDS, "bench list")
    kinds = [args.kind] if args.kind else list(KINDS)
    listed = {kind: _entries(kind) for kind in kinds}
    if args.json:
        print(json.dumps(listed, indent=1))
        return 0
    for kind, entries in listed.items():
        print(f"{kind}:")
        width = max((len(name) for name in entries), default=0)
        for name, text in entries.items():
            print(f"  {name:{width}s}  {text}")
    return 0


def _entries(kind: str) -> dict[str, str]:
    if kind == "methods":
        return {name: _first_line(name) for name in catalog.method_names()} | {
            catalog.ORACLE: "control: renders the true factors; the protocol's ceiling"
        }
    if kind == "datasets":
        return {name: _dataset_line(name) for name in catalog.dataset_names()}
    if kind == "judges":
        return _judges()
    if kind == "presets":
        from seqdis.bench.plan.presets import PRESETS

        return {preset.name: preset.text for preset in PRESETS.values()}
    from seqdis.bench.plan.studies import STUDIES
    from seqdis.bench.tables.build import TABLES

    # What 'bench run --table' can plan comes from cells of its own; the others are made from any records, or from none.
    return {name: text + (f"; bench run --table {name}" if name in STUDIES else "") for name, text in TABLES.items()}


def _first_line(name: str) -> str:
    try:
        return catalog.docstring(name).partition("\n")[0]
    except UserError:
        return "plug-in"


def _dataset_line(name: str) -> str:
    import ast
    import importlib.util

    module = catalog.dataset_modules().get(name)
    spec = importlib.util.find_spec(module) if module else None
    if spec is None or spec.origin is None:
        return "plug-in"
    with open(spec.origin) as file:
        return (ast.get_docstring(ast.parse(file.read())) or "").partition("\n")[0]


def _judges() -> dict[str, str]:
    from seqdis.judges.cards import shipped_cards

    found = {}
    for name, card in shipped_cards().items():
        accuracy = ", ".join(f"{factor} {value:.1%}" for factor, value in card.accuracy.items())
        found[name] = f"{card.sha256[:8]}  {accuracy}"
    return found
