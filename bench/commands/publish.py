"""`bench publish`: a static site from records."""

from __future__ import annotations

import argparse
from pathlib import Path

from seqdis.bench.core.exits import DONE, say

HELP = """A static leaderboard site from records: it opens from disk, with no network and no server.

examples:
  bench publish --out site
  bench publish --runs runs --runs /shared/other-runs --out site --title "Our lab's results\""""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's own arguments."""
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="the site's folder: new, empty, or an earlier site, which is replaced",
    )
    parser.add_argument(
        "--runs",
        type=Path,
        action="append",
        metavar="DIR",
        help="folder that 'bench run' wrote, or a folder of records; may be repeated (default: ./runs)",
    )
    parser.add_argument("--title", default=None, help="the site's name")
    parser.add_argument(
        "--clips",
        choices=("auto", "all", "first", "none"),
        default="auto",
        help="cells that bring clips: all, the first seed of each row, none (default: all, unless "
        "there are more than 200 cells)",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the site; prints its first page on stdout and what was left out on stderr."""
    from seqdis.bench.site import publish

    done = publish.publish(
        args.runs or [Path("runs")],
        args.out,
        heading=args.title or publish.HEADING,
        clips=args.clips,
        progress=say,
    )
    for problem in done.problems[:20]:
        say(f"left out: {problem}")
    if len(done.problems) > 20:
        say(f"and {len(done.problems) - 20} more problems; the page lists them.")
    print(f"{done.n_cells} cells, {done.n_tables} tables: {done.out / 'index.html'}")
    return DONE
