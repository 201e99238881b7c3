"""How long commands take over stores of several sizes, with how much memory, and how that grows.

    python examples/load_benchmark.py --records results/records --sizes 1000,10000,100000

Copies of good records get other seeds, and the ids that belong to them, in a temporary folder laid out like any other;
they are deleted at the end, since they are no results. Each command runs as a user runs it, with the files in the page
cache. The exponent is the slope of a line through the logarithms: 1 grows as the store does. Planning writes nothing.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from table_benchmark import MEASURE

from seqdis.bench.records.config import CONFIG_SCHEMA, cell_id

COMMANDS = ("status", "validate", "table", "publish", "plan")
PLANNED = 10_000
"""Most cells of a plan."""
ROWS = "dsvae,cdsvae,s3vae,rwae,rwae:gan"


def write_store(templates: list[dict[str, Any]], count: int, out: Path) -> None:
    """`count` valid records made from the templates in turn, each of another seed."""
    for number in range(count):
        record = copy.deepcopy(templates[number % len(templates)])
        cell = {key: value for key, value in record["cell"].items() if key != "id"}
        cell["seed"] = 1000 + number
        config = {"schema": CONFIG_SCHEMA, "cell": cell, **record["config"], "plugin": ""}
        record["cell"] = {"id": cell_id(config), **cell}
        record["cost"]["train_seconds"] *= 1 + number / 1e7  # no two are copies of one run
        folder = out / "cells" / record["cell"]["id"]
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def line(command: str, size: int, store: Path, scratch: Path) -> list[str]:
    """The words of a command over a store."""
    return {
        "status": ["status", "--out", f"{store}"],
        "validate": ["validate", f"{store}"],
        "table": ["table", "--out", f"{store}"],
        "publish": ["publish", "--runs", f"{store}", "--out", f"{scratch / 'site'}", "--clips", "none"],
        "plan": [
            *("run", "--methods", ROWS, "--datasets", "sprites", "--preset", "quick", "--source", "synthetic"),
            *(
                "--seeds",
                f"{min(size, PLANNED) // 5}",
                "--dry-run",
                "--launcher",
                "local",
                "--out",
                f"{scratch / 'none'}",
            ),
        ],
    }[command]


def measured(words: list[str]) -> tuple[float, float, float]:
    """Seconds, processor seconds, and MiB of the largest process."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, sys.executable, "-P", "-m", "seqdis.bench.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    memory, processor = map(float, done.stdout.split())
    return time.perf_counter() - start, processor, memory


def exponent(points: list[tuple[int, float]]) -> float:
    """The slope of the line through (log size, log seconds) with the least squares."""
    logs = [(math.log(size), math.log(seconds)) for size, seconds in points]
    x, y = (sum(values) / len(logs) for values in zip(*logs, strict=True))
    return sum((a - x) * (b - y) for a, b in logs) / sum((a - x) ** 2 for a, _ in logs)


def main() -> None:
    """Prints a line for each command and size, and the exponent of each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=Path("results/records"), help="good records")
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--commands", default=",".join(COMMANDS))
    args = parser.parse_args()
    records = [json.loads(path.read_text()) for path in sorted(args.records.rglob("record.json"))]
    templates = [one for one in records if not one["config"]["plugin_digest"] and not one["cell"]["overrides"]]
    if not templates:
        sys.exit(f"{args.records} holds no record of a preset's row; run some cells first (bench run --preset quick).")
    points: dict[str, list[tuple[int, float]]] = {command: [] for command in args.commands.split(",")}
    for size in map(int, args.sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            store, scratch = Path(folder) / "runs", Path(folder)
            write_store(templates, size, store)
            for command, found in points.items():
                cells = min(size, PLANNED) if command == "plan" else size
                seconds, processor, memory = measured(line(command, cells, store, scratch))
                found.append((cells, seconds))
                what = f"{command} of {cells}"
                print(f"{what}: {seconds:.1f} s, {processor:.1f} s of processor time, {memory:.0f} MiB", flush=True)
    for command, found in points.items():
        if len(dict(found)) > 1:
            print(f"{command}: grows as the size to the power of {exponent(list(dict(found).items())):.2f}")


if __name__ == "__main__":
    main()
