"""The prerequisite job: makes the data set and the judge that a cell reads, unless they are there.

python -m seqdis.bench.launch.slurm.prepare <cell folder> --data-dir ROOT
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from seqdis.bench.core.arguments import folder_and_options
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE, refuse
from seqdis.bench.core.inherited import settle
from seqdis.bench.core.places import data_root
from seqdis.bench.records.config import read_config
from seqdis.bench.records.store import CONFIG


def main(argv: Sequence[str] | None = None) -> int:
    """Runs it. Exit codes: 0 done, 2 the user's to put right (one sentence on stderr)."""
    settle()
    try:
        folder, given = folder_and_options(sys.argv[1:] if argv is None else argv, ("data-dir",))
        from seqdis.bench.cell.__main__ import take_threads
        from seqdis.bench.cell.prerequisites import make

        take_threads()
        make([read_config(folder / CONFIG)], Path(given["data-dir"]) if "data-dir" in given else data_root())
    except (UserError, OSError) as error:
        return refuse(error)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
