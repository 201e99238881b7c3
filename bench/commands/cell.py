"""`bench cell`: one planned cell, from its folder. What every launcher starts."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

HELP = """Runs one planned cell from its folder.

Exit codes: 0 done, 1 failed, 3 waiting for its data or judge, 75 interrupted with its state saved: start me again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the cell's folder, with its config.json")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--data-dir", type=Path, help="prepared data (default: $SEQDIS_DATA or the user's cache)")


def run(args: argparse.Namespace) -> int:
    import torch

    from seqdis.bench.cell.experiment import run_cell

    threads = os.environ.get("SEQDIS_THREADS")
    if threads:
        torch.set_num_threads(int(threads))
    code = run_cell(args.folder, device=args.device, data_dir=args.data_dir)
    if getattr(sys.modules["__main__"].__spec__, "name", "") == "seqdis.bench.cli":
        _leave(code)
    return code


def _leave(code: int) -> NoReturn:
    """Ends the process without taking the interpreter and its libraries down. Never returns.

    All files are written and renamed and the lease is given back, so nothing is left to do. Going down in the usual
    way takes half a second with torch loaded, in which Python has put the signals' defaults back: one more SIGTERM
    (SLURM and the job's worker both send it) would kill a cell that has just saved and is about to say so. It also
    runs the destructors of every native library: a cell that had been told to stop was once seen to abort in the
    allocator at its end, which several hundred stopped cells did not repeat.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
