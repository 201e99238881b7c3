"""`bench import`: takes records from another lab, after validation. torch only with records of our methods and data."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from seqdis.bench.core.exits import DONE, FAILED

HELP = """Copies the valid records of a folder into a run folder, so that tables and pages show them.

Every record is checked as by 'bench validate' first; what is wrong is said and left out. Links are not followed and
nothing but records is copied. Of packed files ('bench pack'; a file, or the folder of them) the clips and logs are
taken too, and with --state the unfinished cells. Exit code 1 if any record was refused."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a run folder, a folder of records, or packed files")
    parser.add_argument("--state", action="store_true", help="also take over unfinished cells of your own packed files")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where they go (default: ./runs)")


def run(args: argparse.Namespace) -> int:
    from seqdis.bench.core.rules import printable
    from seqdis.bench.plan.claims import claims
    from seqdis.bench.records.importing import import_packed, import_records
    from seqdis.bench.records.packing import packs

    files = packs(args.folder)
    result = (
        import_packed(files, args.out, claims, state=args.state)
        if files
        else import_records(args.folder, args.out, claims)
    )
    for path, problems in result.refused:
        for problem in problems:
            print(f"{printable(path)}: {problem}")
    for what, records in result.unchecked.items():
        print(f"not checked in {records} record{'s' if records > 1 else ''}: {what}", file=sys.stderr)
    print(
        f"{len(result.taken)} imported into {args.out}, {len(result.known)} already there, "
        f"{len(result.refused)} refused"
        + (f"; clips of {result.clips} cells" if files else "")
        + (f"; {len(result.states)} unfinished cells taken over" if args.state else ""),
        file=sys.stderr,
    )
    return FAILED if result.refused else DONE
