"""`bench watch`: status, live."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

from seqdis.bench.core.exits import DONE, FAILED

HELP = "Shows `bench status` again and again until every cell is done or nothing moves any more. Ctrl-C leaves it."
SHORTEST = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("filter", nargs="?", default="", help="only cells whose id starts with or contains this")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="output folder (default: ./runs)")
    parser.add_argument(
        "--every",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help=f"seconds between two looks, at least {SHORTEST:.0f} (default: 5)",
    )


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from seqdis.bench.commands.status import text
    from seqdis.bench.launch.state import match, survey
    from seqdis.bench.records.store import Store

    store = Store(args.out)
    every = max(SHORTEST, args.every)
    console = Console()
    rows = max(5, shutil.get_terminal_size().lines - 6)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            found = survey(store, only=match(store, args.filter) if args.filter else None)
            live.update(Text("\n".join(text(found, rows=rows)), no_wrap=True, overflow="ellipsis"), refresh=True)
            # Held and unknown cells may come alive by themselves or by a person's hand: go on watching.
            if not any(found.counts.get(state) for state in ("running", "queued", "waiting", "held", "unknown")):
                return DONE if found.is_complete else FAILED
            time.sleep(every)
