"""`bench logs`: a cell's log."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE
from seqdis.bench.core.rules import printable

HELP = "Prints what a cell printed, all attempts, and why it failed if it did."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cell", help="the cell's id, or the beginning or a part of it that no other cell has")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="output folder (default: ./runs)")
    parser.add_argument("-n", "--lines", type=int, default=0, metavar="N", help="only the last N lines")
    parser.add_argument("--job", action="store_true", help="also what its SLURM jobs printed")


def run(args: argparse.Namespace) -> int:
    from seqdis.bench.launch.state import error_text, match
    from seqdis.bench.records.store import ERROR, LOG, Store

    store = Store(args.out)
    found = match(store, args.cell)
    if len(found) > 1:
        some = ", ".join(found[:4]) + (", ..." if found[4:] else "")
        raise UserError(f"{len(found)} cells match {args.cell!r}: {some}. Give more of one id.")
    folder = store.folder(found[0])
    printed = _print(folder / LOG, args.lines)
    if args.job:
        for path in _job_logs(store.out, found[0]):
            print(f"--- {path}")
            _print(path, args.lines)
    if os.path.exists(folder / ERROR):
        print(f"--- failed: {error_text(folder)}")
    elif not printed:
        print(f"{found[0]} has printed nothing yet; 'bench status {found[0]}' says where it stands.")
    return DONE


def _print(path: Path, lines: int) -> bool:
    try:
        content = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    for line in content[-lines:] if lines else content:
        print(printable(line.expandtabs()))
    return bool(content)


def _job_logs(out: Path, cell: str) -> list[Path]:
    from seqdis.bench.launch.slurm.submissions import load_all

    found = []
    for submission in load_all(out):
        for index, task in enumerate(submission.manifest.tasks):
            if cell in task:
                found += sorted(submission.folder.glob(f"*_{index}_0_log.out"))
    return found
