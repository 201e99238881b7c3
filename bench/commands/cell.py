"""`bench cell`: one planned cell, from its folder. Launchers start the same as `python -m seqdis.bench.cell`."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = """Runs one planned cell from its folder.

Exit codes: 0 done, 1 failed, 3 waiting for its data or judge, 75 interrupted with its state saved: start me again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the cell's folder, with its config.json")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--data-dir", type=Path, help="prepared data (default: $SEQDIS_DATA or the user's cache)")


def run(args: argparse.Namespace) -> int:
    from seqdis.bench.cell import __main__ as process

    return process.run(args.folder, device=args.device, data_dir=args.data_dir)
