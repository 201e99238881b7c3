"""The last job of a grid: writes its tables when all cells have ended, and says which cells they lack.

python -m seqdis.bench.commands.last_tables <out> [TABLE ...]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from seqdis.bench.commands.table import load
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE, refuse
from seqdis.bench.core.files import write_output
from seqdis.bench.core.inherited import settle
from seqdis.bench.records.store import Store

WRITTEN = (".txt", ".md", ".csv", ".json")


def command(out: Path, table: str) -> tuple[str, ...]:
    """The arguments of the interpreter that start this job."""
    return "-m", "seqdis.bench.commands.last_tables", str(out.absolute()), table


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job. Exit code 0 also when cells are missing: the tables are right without."""
    settle()
    out, *names = sys.argv[1:] if argv is None else argv
    store = Store(Path(out))
    ids = sorted(store.ids())
    missing = [cell for cell in ids if not store.is_done(cell)]
    lack = f"; missing: {', '.join(missing[:20])}{', ...' if len(missing) > 20 else ''}" if missing else ""
    print(f"{len(ids) - len(missing)} of {len(ids)} cells have a record{lack}", flush=True)
    if len(missing) == len(ids):
        return DONE
    code = DONE
    for name in names or ["comparison"]:
        try:
            write(name, store.out)
        except (UserError, OSError) as error:
            code = refuse(error)
    return code


def write(name: str, out: Path) -> None:
    """Writes <out>/tables/<name>.<suffix>, what `bench table NAME --out OUT --output FILE` writes for each suffix.

    Raises:
        UserError: no such table, no record to make it of, or no room for it.
    """
    from seqdis.bench.formats.render import SUFFIXES, render
    from seqdis.bench.tables.build import build

    document = build(name, load(name, [out]))
    for suffix in WRITTEN:
        target = out / "tables" / f"{name}{suffix}"
        write_output(target, render(document, SUFFIXES[suffix], everything=suffix == ".txt"))
        print(f"wrote {target}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
