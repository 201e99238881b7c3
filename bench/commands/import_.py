"""`bench import`: takes records from another lab, after validation. Imports no torch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = """Copies the valid records of a folder into a run folder, so that tables and pages show them.

Every record is checked as by 'bench validate' first; what is wrong is said and left out. Links are not followed and
nothing but records is copied. Exit code 1 if any was refused."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a run folder or a folder of records")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where they go (default: ./runs)")


def run(args: argparse.Namespace) -> int:
    from seqdis.bench.importing import import_records
    from seqdis.bench.validate import printable

    result = import_records(args.folder, args.out)
    for path, problems in result.refused:
        for problem in problems:
            print(f"{printable(path)}: {problem}")
    print(
        f"{len(result.taken)} imported into {args.out}, {len(result.known)} already there, "
        f"{len(result.refused)} refused",
        file=sys.stderr,
    )
    return 1 if result.refused else 0
