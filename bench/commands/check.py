"""`bench check`: whether a method keeps its contract, line by line."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from seqdis.bench.core.errors import UserError
from seqdis.bench.plan import catalog

if TYPE_CHECKING:
    from seqdis.bench.cell.check.findings import Case, Finding

HELP = """Checks a method against its contract: what was examined, what holds, what fails and why it matters.

  bench check path/to/file.py:Class      your method, with all of its variants
  bench check cdsvae:gamma0              one variant of one of ours

Small nets on random clips, on a CPU: seconds. Exit code 0: all holds, 1: something fails, 2: it cannot be examined."""

SIGNS = {"holds": "ok", "fails": "FAIL", "skipped": "skip"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a method that 'bench list' shows, or path/to/file.py:Class")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    import torch

    torch.set_num_threads(1)  # tiny tensors: more threads would only wait for one another
    title, findings = _method(args.name)
    if not args.json:
        print(title, end="\n\n", flush=True)
    found = []
    for finding in findings:
        found.append(finding)
        if not args.json:
            print("\n".join(_lines(finding)), flush=True)
    counts = {state: sum(finding.state == state for finding in found) for state in SIGNS}
    if args.json:
        checks = [{**dataclasses.asdict(finding), "state": finding.state} for finding in found]
        print(json.dumps({"name": args.name, "holds": not counts["fails"], "checks": checks}, indent=1))
    else:
        skipped = f", {counts['skipped']} with nothing to check" if counts["skipped"] else ""
        print(f"\n{len(found)} checks: {counts['holds']} hold, {counts['fails']} fail{skipped}.")
    return 1 if counts["fails"] else 0


def _method(name: str) -> tuple[str, Iterator[Finding]]:
    from seqdis.bench.cell.check import methods

    refs = catalog.parse_methods(name)
    if len(refs) > 1 or refs[0].name == catalog.ORACLE:
        raise UserError(f"{name!r} is not one method; name one: bench check dsvae.")
    rows = methods.rows_of(refs[0].name, catalog.load_method(refs[0]), refs[0].variant)
    return f"{', '.join(row.where for row in rows)} against the contract of a method", methods.check_method(rows)


def _lines(finding: Finding) -> Iterator[str]:
    """A finding as printed: one line, what is to be said of single cases, and why it matters if it fails."""
    yield f"{SIGNS[finding.state]:4s}  {finding.name}: {finding.sentence}"
    said: dict[tuple[str, str], list[Case]] = {}
    for case in finding.cases:
        if case.text:
            said.setdefault((case.state, case.text), []).append(case)
    for (state, text), cases in said.items():
        if state == "fails" or len(cases) < len(finding.cases):
            yield f"        {'; '.join(case.where for case in cases)}: {text}"
        else:
            yield f"        {text}"
    if finding.state == "fails":
        yield f"      Why: {finding.why}"
        yield f"      See: {finding.page}"
