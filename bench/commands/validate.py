"""`bench validate`: checks records. torch is imported for what our methods and data sets declare."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from seqdis.bench.core.exits import DONE, FAILED

HELP = """Checks records: schema, identities (log IS = H(y) - H(y|x) for each draw and head), ranges, counts, dates, duplicates,
and what they claim of method, supervision, settings, data, judge and version against what this suite knows. Says what is
wrong and where, then what cannot be checked (code outside of the suite, judges of others, training itself); exit code 1 if
anything is wrong."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        default=[Path("runs")],
        metavar="PATH",
        help="records, cells' folders, or folders of runs (default: ./runs)",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument(
        "--schema",
        nargs="?",
        const="json",
        choices=["json", "markdown"],
        help="print what a record may hold, as JSON Schema or as a page, and check nothing",
    )


def run(args: argparse.Namespace) -> int:
    if args.schema:
        from seqdis.bench.records import record

        page = (
            record.documentation() if args.schema == "markdown" else f"{json.dumps(record.json_schema(), indent=1)}\n"
        )
        print(page, end="")
        return DONE
    from seqdis.bench.core.rules import printable
    from seqdis.bench.plan.claims import claims
    from seqdis.bench.records.validate import check_files, record_files

    good, bad = 0, []
    unchecked: Counter[str] = Counter()
    for checked in check_files(record_files(args.paths), claims):
        unchecked.update(checked.unchecked)
        if not checked.problems:
            good += 1
            continue
        bad.append({"path": str(checked.path), "problems": list(checked.problems)})
        if not args.json:
            for problem in checked.problems:
                print(f"{printable(checked.path)}: {problem}")
    if args.json:
        print(json.dumps({"valid": good, "invalid": bad, "unchecked": unchecked}, indent=1))
    else:
        for what, records in unchecked.items():
            print(f"not checked in {records} record{'s' if records > 1 else ''}: {what}", file=sys.stderr)
        print(f"{good} valid, {len(bad)} with problems", file=sys.stderr)
    return FAILED if bad else DONE
