"""The prerequisite job: makes the data set and the judge that a cell reads, unless they are there.

python -m seqdis.bench.launch.slurm.prepare <cell folder> --data-dir ROOT
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import read_json


def main() -> int:
    """Runs it. Exit codes: 0 done, 2 the user's to put right (one sentence on stderr)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    args = parser.parse_args()
    import torch

    from seqdis.bench.cell.prerequisites import make

    torch.set_num_threads(int(os.environ.get("SEQDIS_THREADS") or torch.get_num_threads()))
    try:
        make([read_json(args.folder / "config.json")], args.data_dir)
    except UserError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
