"""How long `bench table` takes over many records, and how much memory.

    python examples/table_benchmark.py --runs runs --count 100000

Copies of the finished records under `--runs` get other seeds and slightly other numbers, in a temporary folder laid out
like any other; they are deleted at the end, since they are no results. The command is run twice, as a user runs it:
first from the disk (where the system lets go of files when asked to: Linux), then with the files in the page cache.
Processor time is that of all processes, which says more than the clock on a busy machine; memory is the largest one's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss >> 10, used.ru_utime + used.ru_stime)
sys.exit(code)
"""


def jittered(value: Any, generator: random.Random) -> Any:
    """The same structure with every float moved by up to a thousandth, so that no two records are equal."""
    if isinstance(value, dict):
        return {key: jittered(entry, generator) for key, entry in value.items()}
    if isinstance(value, list):
        return [jittered(entry, generator) for entry in value]
    return value * (1 + 1e-3 * generator.random()) if isinstance(value, float) else value


def write_copies(templates: list[dict[str, Any]], count: int, out: Path) -> None:
    """`count` records made from the templates in turn, each with a seed and an id of its own."""
    generator = random.Random(0)
    for number in range(count):
        record = dict(templates[number % len(templates)])
        name = f"{record['cell']['id'][:-10]}{number:010x}"
        record["cell"] = {**record["cell"], "id": name, "seed": number // len(templates)}
        record["metrics"] = jittered(record["metrics"], generator)
        folder = out / "cells" / name
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")


def forget(folder: Path) -> None:
    """Asks the system to drop the files from its page cache."""
    if not hasattr(os, "posix_fadvise"):
        return
    os.sync()  # what is not written yet cannot be dropped
    for path in folder.rglob("record.json"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    """Prints seconds, records a second, processor seconds and MiB of both runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="what 'bench run' wrote, or records")
    parser.add_argument("--count", type=int, default=100_000)
    args = parser.parse_args()
    records = [json.loads(path.read_text()) for path in sorted(args.runs.rglob("record.json"))]
    templates = [record for record in records if not record["cell"]["overrides"]]
    if not templates:
        sys.exit(f"{args.runs} holds no record of a preset's row; run some cells first (bench run --preset quick).")
    with tempfile.TemporaryDirectory() as folder:
        write_copies(templates, args.count, Path(folder))
        command = [sys.executable, "-P", "-m", "seqdis.bench.cli", "table", "comparison", "--out", folder]
        forget(Path(folder))
        for what in ("from the disk", "from the page cache"):
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", MEASURE, *command],
                capture_output=True,
                text=True,
                env={**os.environ, "COLUMNS": "100"},
                check=True,
            )
            took = time.perf_counter() - start
            memory, processor = map(float, done.stdout.split())
            print(
                f"{what}: {took:.1f} s, {args.count / took:,.0f} records/s, {processor:.1f} s of processor time, "
                f"{memory:.0f} MiB"
            )


if __name__ == "__main__":
    main()
