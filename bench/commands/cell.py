"""`bench cell`: one planned cell, from its folder. What every launcher starts."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

HELP = """Runs one planned cell from its folder.

Exit codes: 0 done, 1 failed, 3 waiting for its data or judge, 75 interrupted with its state saved: start me again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the cell's folder, with its config.json")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--data-dir", type=Path, help="prepared data (default: $SEQDIS_DATA or the user's cache)")


def run(args: argparse.Namespace) -> int:
    import torch

    from seqdis.bench.experiment import run_cell

    threads = os.environ.get("SEQDIS_THREADS")
    if threads:
        torch.set_num_threads(int(threads))
    return run_cell(args.folder, device=args.device, data_dir=args.data_dir)
