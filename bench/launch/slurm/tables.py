"""The last job of a grid: writes its tables when all cells have ended, and says which cells they lack.

python -m seqdis.bench.launch.slurm.tables <out> [TABLE ...]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from seqdis.bench.records.store import Store

SUFFIXES = (".txt", ".md", ".csv", ".json")


def main(argv: Sequence[str] | None = None) -> int:
    """Writes <out>/tables/<table>.<suffix>. Exit code 0 also when cells are missing: the tables are right without."""
    from seqdis.bench import cli

    out, *names = sys.argv[1:] if argv is None else argv
    store = Store(Path(out))
    ids = sorted(store.ids())
    missing = [cell for cell in ids if not store.is_done(cell)]
    lack = f"; missing: {', '.join(missing[:20])}{', ...' if len(missing) > 20 else ''}" if missing else ""
    print(f"{len(ids) - len(missing)} of {len(ids)} cells have a record{lack}", flush=True)
    if len(missing) == len(ids):
        return 0
    codes = []
    for name in names or ["comparison"]:
        for suffix in SUFFIXES:
            target = store.out / "tables" / f"{name}{suffix}"
            kind = ["--format", "terminal", "--wide"] if suffix == ".txt" else []
            codes.append(cli.main(["table", name, "--out", str(store.out), "--output", str(target), *kind]))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
