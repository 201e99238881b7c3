"""`bench run`: plan cells, make what they need, run them here or on SLURM, and show the table."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.bench.core.exits import DONE, FAILED, INTERRUPTED

if TYPE_CHECKING:
    from seqdis.bench.launch.pool import Pool, Run
    from seqdis.bench.plan.cells import Planned
    from seqdis.bench.records.packing import Press
    from seqdis.bench.records.store import Store

HELP = """Trains, judges and records every method on every data set, on this machine or on SLURM.

A cell that has a record is never run again; a killed run goes on where it stood when the same line is typed again.
With --time-budget it ends in time, whole cells first in the order given; exit code 75 says that cells are left.

  bench run --methods all --datasets sprites,mug --preset quick     a laptop, minutes, generated data
  bench run --methods all --datasets sprites,mug                    the papers' scale, real data, 5 seeds
"""


PACK_SECONDS = 30.0
PACK_FILES = 6
"""Fewer than `bench pack` writes: logs and timings that lie beside them may count too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--methods", help="comma-separated: all, controls, dsvae, cdsvae:no-content-aug, file.py:Class")
    parser.add_argument("--datasets", required=True, help="comma-separated: all, sprites, mug, ...")
    parser.add_argument("--preset", default="paper", help="quick, demo, paper or paper-long (default: paper)")
    parser.add_argument("--source", choices=("real", "synthetic"), help="default: the preset's")
    parser.add_argument("--seeds", type=int, help="number of seeds, counted from 0 (default: the preset's)")
    parser.add_argument("--first-seed", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument(
        "--table",
        default="comparison",
        help="plan the cells of this table: comparison, augmentation, estimators, batch-size",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change a setting, or an option of the data (data.features=spec200); such records never "
        "stand in the preset's row",
    )
    parser.add_argument("--out", type=Path, default=Path("runs"), help="output folder (default: ./runs)")
    parser.add_argument("--data-dir", type=Path, help="prepared data (default: $SEQDIS_DATA or the user's cache)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--launcher", choices=("auto", "local", "slurm"), default="auto")
    parser.add_argument("--workers", type=int, help="cells at once here (default: one a GPU, else one a core)")
    parser.add_argument(
        "--per-device", type=int, default=1, metavar="N", help="cells side by side on each GPU (default: 1)"
    )
    parser.add_argument(
        "--time-budget",
        metavar="TIME",
        help="end within this time, such as 9m: whole cells first, what "
        "does not fit is trained on, saved and stopped; the same line goes on",
    )
    parser.add_argument(
        "--pack-to",
        type=Path,
        metavar="DIR",
        help="keep the results that are there packed in few files in DIR (see bench pack)",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the cells and an estimate; change nothing")
    parser.add_argument("--json", action="store_true", help="with --dry-run: the plan as JSON")
    from seqdis.bench.launch.slurm import submit as slurm

    slurm.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    import time

    from seqdis.bench.commands import last_tables
    from seqdis.bench.core.places import data_root
    from seqdis.bench.launch.slurm import submit as slurm
    from seqdis.bench.plan import catalog, presets
    from seqdis.bench.plan import cells as plan
    from seqdis.bench.records.store import Store

    started = time.monotonic()
    if args.seeds is not None and args.seeds < 1:
        raise UserError(f"--seeds {args.seeds} runs nothing; give 1 or more.")
    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers {args.workers} runs nothing; give 1 or more.")
    if args.per_device < 1:
        raise UserError(f"--per-device {args.per_device} runs nothing; give 1 or more.")
    preset = presets.get(args.preset)
    budget = parse_duration(args.time_budget) if args.time_budget else None
    if args.device != "auto":
        from seqdis.bench.cell.device import pick_device

        if args.launcher != "slurm":  # a login node need not have the device that its jobs will have
            pick_device(args.device)
    datasets = catalog.parse_datasets(args.datasets)
    methods = plan.table_methods(args.table, args.methods)
    source = args.source or preset.source
    launcher = args.launcher
    if launcher == "auto":
        launcher = "slurm" if slurm.is_available() else "local"
    root = args.data_dir or data_root()
    if source == "real":
        _require_data(args, datasets, preset, root)
    if launcher == "local" and preset.needs_gpu and not args.dry_run:
        _require_gpu(args)
    seeds = range(args.first_seed, args.first_seed + (args.seeds or preset.seeds))
    planned = plan.plan(
        plan.grid(
            methods,
            datasets,
            source=source,
            preset=preset.name,
            seeds=seeds,
            table=args.table,
            overrides=plan.parse_overrides(args.overrides),
        )
    )
    store = Store(args.out)
    if args.dry_run:
        return _dry_run(args, planned, store, launcher)
    store.check_writable()
    missing = [cell for cell in planned if not store.is_done(cell.id)]
    store.add_all((cell.id, cell.config) for cell in missing)
    print(
        f"{len(planned)} cells: {len(planned) - len(missing)} done already, {len(missing)} to run ({launcher}); "
        f"preset {preset.name}, {source} data, output in {args.out}",
        flush=True,
    )
    if launcher == "slurm" and missing:
        if budget is not None:
            raise UserError("--time-budget is for runs on this machine; on SLURM the limit is --time.")
        return slurm.launch(store, missing, args, root, last_tables.command(store.out, args.table))
    failed, left = _run_local(args, store, missing, root, budget, started) if missing else (0, 0)
    if not missing:
        print("Nothing to train: every cell has its record.")
        _pack(args, store)
    _print_tables(args, planned)
    if failed:
        return FAILED
    if left:
        return FAILED if budget is None else INTERRUPTED
    return DONE


def parse_duration(text: str) -> float:
    """Seconds from '90', '90s', '9m' or '1h30m'.

    Raises:
        UserError: not a duration.
    """
    import re

    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text.strip())
    if not match or not any(match.groups()):
        raise UserError(f"{text!r} is not a duration; write 90s, 9m or 1h30m.")
    hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return hours * 3600.0 + minutes * 60.0 + seconds


def _require_data(args: argparse.Namespace, datasets: list[str], preset: Any, root: Path) -> None:
    """Every real data set must be there before anything is started or submitted.

    Raises:
        UserError: one is not; says how to get it, and the line that runs now.
    """
    from seqdis.bench.plan import catalog
    from seqdis.bench.plan import cells as plan

    missing: dict[str, str] = {}
    overrides = plan.parse_overrides(args.overrides)
    for name in datasets:
        try:
            catalog.load_dataset(name).open(
                root, "real", preset.size, **{**preset.data, **plan.data_options(name, overrides)}
            )
        except MissingDataError as error:
            missing[name] = str(error)
    if not missing:
        return
    rest = [name for name in datasets if name not in missing]
    line = " Nothing was started."
    if rest:
        line += f" What runs now: {_without(args, rest)}"
    elif preset.source == "real" and args.source is None:
        line += (
            " To see the whole job now on generated data: bench run --methods "
            f"{args.methods or 'all'} --datasets {args.datasets} --preset quick"
        )
    raise UserError(" ".join(missing.values()) + line)


def _without(args: argparse.Namespace, datasets: list[str]) -> str:
    """The user's own line with these data sets only."""
    words = ["bench run", "--datasets", ",".join(datasets)]
    if args.methods:
        words[1:1] = ["--methods", args.methods]
    for flag, value in (
        ("--preset", None if args.preset == "paper" else args.preset),
        ("--source", args.source),
        ("--seeds", args.seeds),
        ("--table", None if args.table == "comparison" else args.table),
    ):
        if value is not None:
            words += [flag, str(value)]
    for item in args.overrides:
        words += ["--set", item]
    return " ".join(words)


def _require_gpu(args: argparse.Namespace) -> None:
    """The paper preset needs a GPU or a cluster, unless the user insists with --device cpu.

    Raises:
        UserError: there is neither.
    """
    if args.device != "auto":
        return
    import torch

    if torch.cuda.is_available():
        return
    cells = "about 13 minutes an epoch of real Sprites on two CPU cores, so about 20 hours a cell"
    raise UserError(
        f"the {args.preset} preset needs a GPU or a SLURM cluster, and this machine has neither ({cells}). "
        f"Type: bench run --methods {args.methods or 'all'} --datasets {args.datasets} --preset quick; "
        "or insist with --device cpu."
    )


def _run_local(
    args: argparse.Namespace, store: Store, missing: list[Planned], root: Path, budget: float | None, started: float
) -> tuple[int, int]:
    """Makes prerequisites, runs the pool, shows it. Returns how many cells failed, and how many are not finished."""
    from seqdis.bench.cell.prerequisites import make
    from seqdis.bench.commands.display import show
    from seqdis.bench.launch.pool import Pool
    from seqdis.bench.launch.slots import slots
    from seqdis.bench.records.packing import Press

    make([cell.config for cell in missing], root, args.device)
    pool = Pool(
        store,
        [(cell.id, cell.cell.title) for cell in missing],
        slots(args.device, args.workers, args.per_device),
        args.data_dir,
    )
    if budget is not None:
        from seqdis.bench.launch.local import give_box

        give_box(pool, {cell.id: cell.config for cell in missing}, root, args.device, budget, started)
    press = Press()
    if args.pack_to is not None:
        _pack_as_they_come(pool, args, store, press)
    _end_softly()
    show(pool)
    _pack(args, store, press)
    failed = [run for run in pool.runs if run.state == "failed"]
    waiting = [run for run in pool.runs if run.state not in ("done", "failed")]
    for run in failed:
        print(f"failed: {run.title}: {run.reason}", file=sys.stderr)
    for run in waiting:
        print(f"not finished: {run.title}: {run.reason or 'not started'}", file=sys.stderr)
    return len(failed), len(waiting)


def _pack_as_they_come(pool: Pool, args: argparse.Namespace, store: Store, press: Press) -> None:
    """Packs after a cell is done, at most every half minute: what a kill leaves is then half a minute old."""
    import time

    last = [-PACK_SECONDS]

    def pack(run: Run) -> None:
        if time.monotonic() - last[0] > PACK_SECONDS:
            _pack(args, store, press, quiet=True)
            last[0] = time.monotonic()

    pool.on_done.append(pack)


def _pack(args: argparse.Namespace, store: Store, press: Press | None = None, *, quiet: bool = False) -> None:
    from seqdis.bench.records.packing import pack

    if args.pack_to is not None:
        packed = pack(store, args.pack_to, files=PACK_FILES, press=press)
        if not quiet:
            print(packed.summary())


def _end_softly() -> None:
    """SIGTERM ends a run as Ctrl-C does: the workers are asked to save first."""
    import signal

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _print_tables(args: argparse.Namespace, planned: list[Planned]) -> None:
    from seqdis.bench.commands import table

    table.print_after_run(args.out, [cell.id for cell in planned], args.table)


def _dry_run(args: argparse.Namespace, planned: list[Planned], store: Store, launcher: str) -> int:
    from seqdis.bench.commands import last_tables
    from seqdis.bench.launch.slots import slots
    from seqdis.bench.launch.slurm import submit as slurm
    from seqdis.bench.perf.estimate import seconds_of_cells

    missing = [cell for cell in planned if not store.is_done(cell.id)]
    seconds = seconds_of_cells([cell.config for cell in missing], store)
    places = len(slots(args.device, args.workers, args.per_device))
    if args.json:
        print(
            json.dumps(
                {
                    "launcher": launcher,
                    "workers": places,
                    "estimated_seconds": sum(seconds) / places,
                    "cells": [
                        {"id": cell.id, "title": cell.cell.title, "done": store.is_done(cell.id), **cell.config["cell"]}
                        for cell in planned
                    ],
                },
                indent=1,
            )
        )
        return 0
    left = dict(zip([cell.id for cell in missing], seconds, strict=True))
    for cell in planned:
        text = f"about {left[cell.id] / 60:.1f} min" if cell.id in left else "done"
        print(f"{cell.id:72s} {text}")
    print(
        f"{len(planned)} cells, {len(planned) - len(missing)} done, {len(missing)} to run; "
        f"about {sum(seconds) / places / 60:.0f} min with {places} workers (an estimate, from operation counts or "
        "from cells already run here)"
    )
    if launcher == "slurm":
        for request in slurm.render(store, missing, args, args.data_dir, last_tables.command(store.out, args.table)):
            print(request)
    return 0
