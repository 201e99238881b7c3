"""`bench status`: what is done, running, queued, failed or lost."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from seqdis.bench.core.exits import DONE, FAILED

if TYPE_CHECKING:
    from seqdis.bench.launch.state import CellState, Survey

HELP = """Shows where every cell stands, from the output folder and the queue. Changes nothing.

Results that today's code, prepared data or judge would not give are counted; --all says what is another of each.

Exit code 0 only if every cell is done.
"""
ROWS = 40
ORDER = ("failed", "lost", "held", "unknown", "running", "waiting", "cancelled", "queued", "missing", "done")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("filter", nargs="?", default="", help="only cells whose id starts with or contains this")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="output folder (default: ./runs)")
    parser.add_argument("--all", action="store_true", help="one line for every cell, the done ones too")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    from seqdis.bench.launch.state import match, survey
    from seqdis.bench.plan.outdated import of_cells, other_settings, settings_line
    from seqdis.bench.records.store import Store

    store = Store(args.out)
    found = survey(store, only=match(store, args.filter) if args.filter else None)
    done = [cell for cell in found.cells if cell.state == "done"]
    others = of_cells(store, [cell.id for cell in done])
    for cell in done:
        cell.detail = others.words(cell.id)
    if args.json:
        print(json.dumps({**found.to_json(), "outdated": {cell: list(why) for cell, why in others.reasons.items()}}))
    else:
        beside = other_settings(store, [cell.id for cell in found.cells])
        print("\n".join([*text(found, everything=args.all), *others.lines(), *settings_line(beside)]))
    return DONE if found.is_complete else FAILED


def text(found: Survey, *, everything: bool = False, rows: int = ROWS) -> list[str]:
    """The lines that a person reads: cells that are not done (what needs attention first), then totals."""
    cells = sorted(found.cells, key=lambda cell: (ORDER.index(cell.state), cell.id))
    shown = cells if everything else [cell for cell in cells if cell.state != "done"][:rows]
    lines = [_row(cell) for cell in shown]
    hidden = len(cells) - len(shown) - (0 if everything else sum(cell.state == "done" for cell in cells))
    if hidden > 0:
        lines.append(f"... and {hidden} more (--all shows them)")
    lines += [f"{title}: {state}" for title, state in found.commands]
    if found.scheduler not in ("ok", "none"):
        lines.append(f"SLURM does not answer ({found.scheduler}): what is below is from disk alone")
    totals = ", ".join(f"{count} {state}" for state, count in found.counts.items())
    return [*lines, f"{len(cells)} cells: {totals or 'none'}"]


def _row(cell: CellState) -> str:
    where = " ".join(filter(None, (cell.host, f"job {cell.job}" if cell.job else "")))
    return f"{cell.state:9s} {cell.id}" + (f"  {where}" if where else "") + (f"  {cell.detail}" if cell.detail else "")
