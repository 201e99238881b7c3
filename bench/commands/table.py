"""`bench table`: the field's tables from records. Imports no torch."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqdis.bench.core.cores import cores
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE

if TYPE_CHECKING:
    from seqdis.bench.records.collection import Collection

HELP = """Prints a table from records, beside the published numbers.

Tables: comparison (default), augmentation, estimators, published-weights, batch-size, cost, seeds, overrides, ranks;
published and audit need no records.
docs/reading-the-tables.md explains every column."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from seqdis.bench.formats.render import FORMATS

    parser.add_argument("name", nargs="?", default="comparison", help="which table (default: comparison)")
    parser.add_argument(
        "--out",
        type=Path,
        action="append",
        metavar="DIR",
        help="folder that 'bench run' wrote (default: ./runs); may be given more than once",
    )
    parser.add_argument(
        "--records",
        type=Path,
        action="append",
        metavar="DIR",
        help="a folder of records, such as results/records; may be given more than once",
    )
    parser.add_argument("--dataset", "--datasets", dest="dataset", help="only these data sets, separated by commas")
    parser.add_argument("--preset", help="only these presets")
    parser.add_argument("--source", choices=("real", "synthetic"), help="only this source")
    parser.add_argument("--format", choices=FORMATS, help="default: terminal, or what --output's suffix says")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to a file (-: to stdout)")
    parser.add_argument("--wide", action="store_true", help="every column, however wide")
    parser.add_argument(
        "--unverified", action="store_true", help="with published and audit: also numbers whose source was not read"
    )


def run(args: argparse.Namespace) -> int:
    from seqdis.bench.formats.render import render
    from seqdis.bench.tables.build import build

    kind = _format(args)
    collection = load(args.name, [*(args.out or ([] if args.records else [Path("runs")])), *(args.records or [])])
    document = build(
        args.name,
        collection,
        datasets=_names(args.dataset),
        presets=_names(args.preset),
        sources=_names(args.source),
        unverified=args.unverified,
    )
    rendered = render(document, kind, width=_width(), everything=args.wide, color=_is_coloured(args))
    if args.output is not None:
        from seqdis.bench.core.files import write_output

        write_output(args.output, rendered)
        print(f"wrote {args.output}", file=sys.stderr)
    else:
        sys.stdout.write(rendered.decode())
    return DONE


def load(name: str, folders: Sequence[Path]) -> Collection:
    """The records of the folders; none for a table that needs none.

    Raises:
        UserError: there is not one.
    """
    from seqdis.bench.records import collection
    from seqdis.bench.tables.build import LITERATURE, TABLES

    if name not in TABLES or name in LITERATURE:
        return collection.Collection()
    found = collection.load(folders, workers=min(4, cores()))
    if not found.entries and not found.problems:
        raise UserError(
            f"no finished cell in {', '.join(map(str, folders))}; "
            "'bench run --methods all --datasets sprites,mug --preset quick' makes some; --out names "
            "another folder that it wrote, --records one of records."
        )
    return found


def print_after_run(out: Path, ids: Sequence[str], table: str) -> None:
    """Prints a table of the named cells only; nothing if none of them has ended."""
    from seqdis.bench.formats.render import render
    from seqdis.bench.records.collection import Loader
    from seqdis.bench.records.record import RECORD
    from seqdis.bench.records.store import Store
    from seqdis.bench.tables.build import build

    loader, store = Loader(), Store(out)
    for cell in ids:
        loader.add(str(store.folder(cell) / RECORD))
    if loader.collection.entries:
        document = build(table, loader.collection)
        color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        sys.stdout.write(render(document, "terminal", width=_width(), color=color).decode())


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in (text or "").split(","))))


def _format(args: argparse.Namespace) -> str:
    from seqdis.bench.formats.render import SUFFIXES

    if args.format:
        kind = str(args.format)
    elif args.output is not None and str(args.output) != "-":
        if args.output.suffix not in SUFFIXES:
            raise UserError(f"--output {args.output} has no suffix of {', '.join(SUFFIXES)}; name the --format.")
        kind = SUFFIXES[args.output.suffix]
    else:
        kind = "terminal"
    if kind == "parquet" and args.output is None:
        raise UserError("parquet is not text: name a file with --output table.parquet.")
    return kind


def _is_coloured(args: argparse.Namespace) -> bool:
    return args.output is None and sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _width() -> int:
    import shutil

    return max(60, shutil.get_terminal_size((80, 24)).columns)
