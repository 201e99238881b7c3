"""`bench check`: whether a method, a data set or a judge keeps its contract, line by line."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from seqdis.bench.core.errors import UserError, unknown_name
from seqdis.bench.core.places import data_root
from seqdis.bench.plan import catalog

if TYPE_CHECKING:
    from seqdis.bench.cell.check.findings import Case, Finding
    from seqdis.datasets.base import DataSet, Source

HELP = """Checks a method, a data set or a judge against its contract: what was examined, what holds, what fails and why
it matters.

  bench check path/to/file.py:Class      your method with all of its variants, or your data set
  bench check cdsvae:gamma0              one variant of one of ours
  bench check sprites                    a data set (a stand-in is prepared in a temporary folder if it is missing)
  bench check sprites-real-64            a judge, by name or by the file of its card

Methods: small nets on random clips, on a CPU, in seconds. Exit code 0: all holds, 1: something fails, 2: it cannot be
examined."""

SIGNS = {"holds": "ok", "fails": "FAIL", "skipped": "skip"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a method, data set or judge, or path/to/file.py:Class")
    parser.add_argument("--source", choices=("real", "synthetic"), help="of a data set (default: synthetic if it is)")
    parser.add_argument("--size", type=int, default=32, help="of a data set: side of the frames (default: 32)")
    parser.add_argument("--data-dir", type=Path, help="prepared data (default: $SEQDIS_DATA or the user's cache)")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    import torch

    torch.set_num_threads(1)  # tiny tensors: more threads would only wait for one another
    with contextlib.ExitStack() as stack:
        title, findings = _examination(args, stack)
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


def _examination(args: argparse.Namespace, stack: contextlib.ExitStack) -> tuple[str, Iterator[Finding]]:
    """A title, and the findings as they are made."""
    name, root = args.name, args.data_dir or data_root()
    if ".py" in name:
        from seqdis.datasets.base import DataSet

        found = catalog.load_file(name)
        return _dataset(found, args, root, stack) if issubclass(found, DataSet) else _method(name)
    if name in catalog.dataset_names():
        return _dataset(catalog.load_dataset(name), args, root, stack)
    if name.partition(":")[0] in (*catalog.method_names(), catalog.ORACLE):
        return _method(name)
    from seqdis.bench.cell.check import judges

    path = judges.find_judge(name, root)
    if path is None:
        known = [*catalog.method_names(), *catalog.dataset_names(), *judges.judge_names(root)]
        raise unknown_name("method, data set or judge", name, known, "bench list")
    candidate = judges.Candidate(path, root)
    return f"{candidate.where} against the contract of a judge", judges.check_judge(candidate)


def _method(name: str) -> tuple[str, Iterator[Finding]]:
    from seqdis.bench.cell.check import methods

    refs = catalog.parse_methods(name)
    if len(refs) > 1 or refs[0].name == catalog.ORACLE:
        raise UserError(f"{name!r} is not one method; name one: bench check dsvae.")
    rows = methods.rows_of(refs[0].name, catalog.load_class(refs[0]), refs[0].variant)
    return f"{', '.join(row.where for row in rows)} against the contract of a method", methods.check_method(rows)


def _dataset(
    kind: type[DataSet], args: argparse.Namespace, root: Path, stack: contextlib.ExitStack
) -> tuple[str, Iterator[Finding]]:
    from seqdis.bench.cell.check import datasets
    from seqdis.bench.core.errors import MissingDataError

    source = cast("Source", args.source or ("synthetic" if "synthetic" in kind.sources else "real"))
    if source == "synthetic" and source in kind.sources:
        try:
            kind.open(root, source, args.size)
        except MissingDataError:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    opened = datasets.open_to_check(kind, source, args.size, root)
    return f"{opened.where} against the contract of a data set", datasets.check_dataset(opened)


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
