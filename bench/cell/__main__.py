"""The process of one planned cell: what every launcher starts, and what `bench cell` does.

python -m seqdis.bench.cell FOLDER [--device NAME] [--data-dir ROOT]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from seqdis.bench.core.arguments import folder_and_options
from seqdis.bench.core.cores import cell_threads
from seqdis.bench.core.environment import number
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import refuse
from seqdis.bench.core.inherited import settle


def run(folder: Path, *, device: str = "auto", data_dir: Path | None = None) -> int:
    """Runs the cell whose config lies in `folder`, with the CPU threads that its launcher gives it.

    Returns:
        The exit code, as `cell.run.run_cell` has it.

    Raises:
        UserError: no config there, or no such device.
    """
    from seqdis.bench.cell.run import run_cell

    take_threads()
    return run_cell(folder, device=device, data_dir=data_dir)


def take_threads() -> None:
    """Gives torch the threads that the launcher says, else those of a cell that nobody says anything of."""
    import torch

    told = int(number("SEQDIS_THREADS", 1, 1, 100_000)) if os.environ.get("SEQDIS_THREADS") else None
    torch.set_num_threads(cell_threads(told).count)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the process. Returns its exit code."""
    settle()
    try:
        folder, given = folder_and_options(sys.argv[1:] if argv is None else argv, ("device", "data-dir"))
        data_dir = Path(given["data-dir"]) if "data-dir" in given else None
        return run(folder, device=given.get("device", "auto"), data_dir=data_dir)
    except (UserError, OSError) as error:
        return refuse(error)


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


if __name__ == "__main__":
    _leave(main())
