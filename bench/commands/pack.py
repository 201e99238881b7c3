"""`bench pack`: the results of a run folder in few files of a bounded size. Imports no torch."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from seqdis.bench.core.arguments import check_range
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE
from seqdis.bench.core.rules import shown

HELP = """Packs records, logs, clips and the state of unfinished cells in few files, to be carried to another machine.

  bench pack runs packed            here
  bench import packed --out runs    there; --state also takes over unfinished cells, which then go on exactly

A running 'bench run --pack-to DIR' does the same after each cell. State of more than 48 MiB is left out, and said so."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="the run folder, such as ./runs")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the files go")
    parser.add_argument("--name", default="results", help="what their names begin with (default: results)")
    parser.add_argument("--limit", type=float, default=15.0, metavar="MIB", help="most MiB a file (default: 15)")
    parser.add_argument("--files", type=int, default=8, help="most files (default: 8)")


def run(args: argparse.Namespace) -> int:
    from seqdis.bench.records.packing import pack
    from seqdis.bench.records.store import Store

    check_range("--limit", args.limit, 0.05, 1024)
    check_range("--files", args.files, 1, 10_000)
    if not args.name.replace("-", "").replace("_", "").isalnum():
        raise UserError(f"--name {shown(args.name)} must be letters, digits, '-' and '_'.")
    if not os.path.isdir(args.out / "cells"):
        raise UserError(f"{args.out} is no run folder: it has no folder 'cells'.")
    print(pack(Store(args.out), args.folder, name=args.name, limit=int(args.limit * 2**20), files=args.files).summary())
    return DONE
