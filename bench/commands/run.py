"""`bench run`: plan cells, make what they need, run them here or on SLURM, and show the table."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqdis.bench.commands import grid, slurm_flags
from seqdis.bench.commands.grid import Grid
from seqdis.bench.core.arguments import check_range
from seqdis.bench.core.environment import check_device
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE, FAILED, INTERRUPTED
from seqdis.bench.launch.request import Place, Request

if TYPE_CHECKING:
    from seqdis.bench.launch.pool import Pool, Run
    from seqdis.bench.plan.cells import Planned
    from seqdis.bench.plan.outdated import Outdated
    from seqdis.bench.records.packing import Press
    from seqdis.bench.records.store import Store

HELP = """Trains, judges and records every method on every data set, on this machine or on SLURM.

A cell that has a record is not run again; a line says where code, data or a judge are others by now, and --again
repeats those cells and keeps the old records. A killed run goes on where it stood when the same line is typed again.
With --time-budget it ends in time, whole cells first in the order given; exit code 75 says that cells are left.

  bench run --methods all --datasets sprites,mug --preset quick     a laptop, minutes, generated data
  bench run --methods all --datasets sprites,mug                    the papers' scale, real data, 5 seeds
"""


PACK_SECONDS = 30.0
PACK_FILES = 6
"""Fewer than `bench pack` writes: logs and timings that lie beside them may count too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    grid.add_arguments(parser)
    parser.add_argument("--out", type=Path, default=Path("runs"), help="output folder (default: ./runs)")
    parser.add_argument("--data-dir", type=Path, help="prepared data (default: $SEQDIS_DATA or the user's cache)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--launcher", choices=("auto", "local", "slurm"), default="auto")
    parser.add_argument("--workers", type=int, help="cells at once here (default: one a GPU, else one a core)")
    parser.add_argument(
        "--threads",
        type=int,
        help="CPU threads of a cell here (default: OMP_NUM_THREADS, else 1); its numbers hang on them",
    )
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
    parser.add_argument(
        "--no-weights",
        action="store_true",
        help="do not keep trained weights beside the records ($SEQDIS_WEIGHTS: most MiB a cell, 512, or no)",
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="run done cells again whose code, data or judge are others today, or unknown; old records are kept",
    )
    parser.add_argument(
        "--track",
        metavar="NAMES",
        default="",
        help="also tell tensorboard, wandb or mlflow (comma-separated; offline unless their environment variables say otherwise)",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the cells and an estimate; change nothing")
    parser.add_argument("--json", action="store_true", help="with --dry-run: the plan as JSON")
    slurm_flags.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from seqdis.bench.core.environment import TRACK, WEIGHTS, variables

    told = {WEIGHTS: "no"} if args.no_weights else {}
    if args.track:
        from seqdis.bench.cell import trackers

        told[TRACK] = ",".join(trackers.wanted(args.track))
    with variables(told):  # workers inherit them, here and on SLURM
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    from seqdis.bench.plan.outdated import of_cells, other_settings, settings_line
    from seqdis.bench.records.store import Store

    started = time.monotonic()
    asked, request = _asked(args)
    launcher = _launcher(asked, request, dry_run=args.dry_run)
    planned, store = asked.plan(), Store(request.out)
    found = of_cells(store, [cell.id for cell in planned if store.is_done(cell.id)], request.data_dir)
    again = set(found.cells if args.again else ())
    missing = [cell for cell in planned if cell.id in again or not store.is_done(cell.id)]
    if args.dry_run:
        return _dry_run(planned, missing, found, store, asked, request, launcher, as_json=args.json)
    if launcher == "local":
        _check_precision(missing, request.device)
    store.check_writable()
    store.add_all((cell.id, cell.config) for cell in missing)
    print(
        f"{len(planned)} cells: {len(planned) - len(missing)} done already, {len(missing)} to run ({launcher}); "
        f"preset {asked.preset}, {asked.data_source} data, output in {request.out}",
        flush=True,
    )
    beside = other_settings(store, [cell.id for cell in missing])
    for line in [*([] if args.again else found.lines()), *settings_line(beside)]:
        print(line, flush=True)
    for cell_id in sorted(again):
        store.set_aside(cell_id)
    if launcher == "slurm" and missing:
        if request.budget is not None:
            raise UserError("--time-budget is for runs on this machine; on SLURM the limit is --time.")
        return _submit(missing, store, asked, request)
    failed, left = _run_here(missing, store, request, args.pack_to, started) if missing else (0, 0)
    if not missing:
        print("Nothing to train: every cell has its record.")
        _pack(store, args.pack_to)
    _print_table(planned, request.out, asked.table)
    if failed:
        return FAILED
    if left:
        return FAILED if request.budget is None else INTERRUPTED
    return DONE


def _asked(args: argparse.Namespace) -> tuple[Grid, Request]:
    """What is typed: which cells, and how and where they are to run.

    Raises:
        UserError: a number that runs nothing, an unknown name, a time that is none.
    """
    from seqdis.bench.core.times import parse_duration

    check_range("--seeds", args.seeds, 1, 10_000)
    check_range("--first-seed", args.first_seed, 0, 1_000_000_000)
    check_range("--workers", args.workers, 1, 1000)
    check_range("--threads", args.threads, 1, 1000)
    check_range("--per-device", args.per_device, 1, 1000)
    asked = Grid.typed(args)
    asked.check()
    request = Request(
        out=args.out,
        data_dir=args.data_dir,
        device=args.device,
        launcher=args.launcher,
        workers=args.workers,
        threads=args.threads,
        per_device=args.per_device,
        budget=parse_duration(args.time_budget) if args.time_budget else None,
        jobs=slurm_flags.wishes(args),
    )
    check_device(request.device)
    return asked, request


def _launcher(asked: Grid, request: Request, *, dry_run: bool) -> Place:
    """Where the cells run.

    Raises:
        UserError: data or a device that they need are not there.
    """
    from seqdis.bench.launch.slurm.scheduler import is_available

    launcher: Place
    if request.launcher == "auto":
        launcher = "slurm" if is_available() else "local"
    else:
        launcher = request.launcher
    if launcher == "local":
        slurm_flags.refuse_here(request.jobs)
    elif request.threads is not None:
        raise UserError("--threads: on SLURM a cell has the cores of its job as threads; give --cpus.")
    if launcher == "local" and request.device != "auto":
        from seqdis.bench.cell.device import pick_device

        pick_device(request.device)  # a login node need not have the device that its jobs will have
    if asked.data_source == "real":
        asked.require_data(request.root)
    if launcher == "local" and asked.scale.needs_gpu and request.device == "auto" and not dry_run:
        asked.require_gpu()
    return launcher


def _check_precision(missing: Sequence[Planned], device: str) -> None:
    """Whether the device here computes in what is asked for.

    Raises:
        UserError: it does not.
    """
    wanted = {cell.config.training.precision for cell in missing} - {"float32"}
    if wanted:
        from seqdis.bench.cell.device import check_precision, pick_device

        for precision in sorted(wanted):
            check_precision(precision, pick_device(device))


def _submit(missing: Sequence[Planned], store: Store, asked: Grid, request: Request) -> int:
    """Hands the cells to SLURM and returns.

    Raises:
        UserError: SLURM does not answer or refuses; what it had accepted is kept, and the same line goes on.
    """
    from seqdis.bench.commands import last_tables
    from seqdis.bench.launch.slurm import submit
    from seqdis.bench.launch.slurm.profile import Options

    options = Options.of(request.jobs)
    started = time.monotonic()
    summary = submit.submit(
        store,
        missing,
        options,
        cell_arguments=submit.cell_arguments(request.device, request.root),
        prerequisites=submit.missing_prerequisites(store, missing, request.root),
        tables=last_tables.command(store.out, asked.table),
    )
    for line in summary.lines():
        print(line)
    print(f"in {time.monotonic() - started:.1f} s; this machine may go away now. Next: bench status --out {store.out}")
    if summary.refused:
        raise UserError(
            f"SLURM refused a request: {summary.refused} What it accepted is in the queue; when this is "
            "put right, the same line submits only the rest."
        )
    return DONE


def _run_here(
    missing: Sequence[Planned], store: Store, request: Request, pack_to: Path | None, started: float
) -> tuple[int, int]:
    """Makes prerequisites, runs the pool, shows it. Returns how many cells failed, and how many are not finished."""
    from seqdis.bench.commands.display import show
    from seqdis.bench.launch.local import make_pool
    from seqdis.bench.records.packing import Press

    pool = make_pool(store, missing, request, started)
    press = Press()
    if pack_to is not None:
        _pack_as_they_come(pool, pack_to, press)
    show(pool)
    _pack(store, pack_to, press)
    failed = [run for run in pool.runs if run.state == "failed"]
    waiting = [run for run in pool.runs if run.state not in ("done", "failed")]
    for run in failed:
        print(f"failed: {run.title}: {run.reason}", file=sys.stderr)
    for run in waiting:
        print(f"not finished: {run.title}: {run.reason or 'not started'}", file=sys.stderr)
    return len(failed), len(waiting)


def _pack_as_they_come(pool: Pool, pack_to: Path, press: Press) -> None:
    """Packs after a cell is done, at most every half minute: what a kill leaves is then half a minute old."""
    last = [-PACK_SECONDS]

    def pack(run: Run) -> None:
        if time.monotonic() - last[0] > PACK_SECONDS:
            _pack(pool.store, pack_to, press, quiet=True)
            last[0] = time.monotonic()

    pool.on_done.append(pack)


def _pack(store: Store, pack_to: Path | None, press: Press | None = None, *, quiet: bool = False) -> None:
    from seqdis.bench.records.packing import pack

    if pack_to is not None:
        packed = pack(store, pack_to, files=PACK_FILES, press=press)
        if not quiet:
            print(packed.summary())


def _print_table(planned: Sequence[Planned], out: Path, name: str) -> None:
    from seqdis.bench.commands import table

    table.print_after_run(out, [cell.id for cell in planned], name)


def _dry_run(
    planned: Sequence[Planned],
    missing: Sequence[Planned],
    found: Outdated,
    store: Store,
    asked: Grid,
    request: Request,
    launcher: Place,
    *,
    as_json: bool,
) -> int:
    from seqdis.bench.launch.slots import slots
    from seqdis.bench.perf.estimate import seconds_of_cells

    seconds = seconds_of_cells([cell.config for cell in missing], store)
    places = len(slots(request.device, request.workers, request.per_device, request.threads))
    if as_json:
        plan = {
            "launcher": launcher,
            "workers": places,
            "estimated_seconds": sum(seconds) / places,
            "cells": [
                {
                    **{"id": cell.id, "title": cell.title, "done": store.is_done(cell.id)},
                    **{"outdated": found.words(cell.id), **cell.config.to_json()["cell"]},
                }
                for cell in planned
            ],
        }
        print(json.dumps(plan, indent=1))
        return DONE
    left = dict(zip([cell.id for cell in missing], seconds, strict=True))
    for cell in planned:
        state = f"about {left[cell.id] / 60:.1f} min" if cell.id in left else "done"
        text = ", ".join(filter(None, (state, found.words(cell.id))))
        print(f"{cell.id:72s} {text}")
    print(
        f"{len(planned)} cells, {len(planned) - len(missing)} done, {len(missing)} to run; "
        f"about {sum(seconds) / places / 60:.0f} min with {places} workers (an estimate, from operation counts or "
        "from cells already run here)"
    )
    if launcher == "slurm":
        from seqdis.bench.commands import last_tables
        from seqdis.bench.launch.slurm import submit

        for text in submit.render(store, missing, request, last_tables.command(store.out, asked.table)):
            print(text)
    return DONE
