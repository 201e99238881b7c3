"""`bench retry`: run again what failed or was lost, and nothing else."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqdis.bench.commands import slurm_flags
from seqdis.bench.core.arguments import check_range
from seqdis.bench.core.environment import check_device
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE, FAILED
from seqdis.bench.launch.request import JobWishes, Request

if TYPE_CHECKING:
    from seqdis.bench.launch.slurm.profile import Options
    from seqdis.bench.launch.slurm.submissions import Manifest, Submission
    from seqdis.bench.records.config import RunConfig
    from seqdis.bench.records.store import Store

HELP = """Runs again the cells that failed or were lost. Their logs and errors are kept; saved states are used.

On SLURM they ask for what they asked for last time, unless flags or --profile say otherwise.
"""


@dataclasses.dataclass(frozen=True)
class Stored:
    """A planned cell, read back from its folder."""

    id: str
    config: RunConfig

    @property
    def title(self) -> str:
        return self.id


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("filter", nargs="?", default="", help="only cells whose id starts with or contains this")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="output folder (default: ./runs)")
    parser.add_argument("--from-scratch", action="store_true", help="drop their saved states")
    parser.add_argument("--launcher", choices=("auto", "local", "slurm"), default="auto")
    parser.add_argument("--data-dir", type=Path, help="folder of prepared data (default: that of the last launch)")
    parser.add_argument("--device", default=None, help="auto, cpu, cuda or cuda:N (default: that of the last launch)")
    parser.add_argument("--workers", type=int, help="cells at once on this machine (default: a GPU or core each)")
    slurm_flags.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from seqdis.bench.launch.slurm import submissions
    from seqdis.bench.launch.slurm.scheduler import is_available
    from seqdis.bench.launch.state import match, survey
    from seqdis.bench.records.config import read_config
    from seqdis.bench.records.store import CONFIG, Store

    request = Request(
        out=args.out,
        data_dir=args.data_dir,
        device=args.device or "auto",
        launcher=args.launcher,
        workers=args.workers,
        jobs=slurm_flags.wishes(args),
    )
    check_device(request.device)
    check_range("--workers", request.workers, 1, 1000)
    store = Store(request.out)
    found = survey(store, only=match(store, args.filter) if args.filter else None)
    if found.scheduler not in ("ok", "none") and request.launcher != "local":
        raise UserError(f"SLURM does not answer ({found.scheduler}), so nobody knows what is lost; try again later.")
    again = [cell.id for cell in found.cells if cell.state in ("failed", "lost")]
    if not again:
        print("nothing has failed or was lost")
        return DONE
    for cell in again:
        clear(store.folder(cell), from_scratch=args.from_scratch)
    known = submissions.load_all(store.out)
    on_slurm = request.launcher == "slurm"
    if request.launcher == "auto":
        on_slurm = any(one.is_cells for one in known) and is_available()
    cells = [Stored(cell, read_config(store.folder(cell) / CONFIG)) for cell in again]
    if on_slurm:
        return _submit(cells, store, request, known, as_before=not (args.device or args.data_dir))
    return _run_here(cells, store, request)


def clear(folder: Path, *, from_scratch: bool = False) -> None:
    """Takes the failure mark off a cell; the error stays as error-N.json, N the attempts so far."""
    from seqdis.bench.core.lease import note_attempt, read_attempts
    from seqdis.bench.records.store import CHECKPOINT, ERROR

    if (folder / ERROR).exists():
        count = sum("started" in line for line in read_attempts(folder))
        (folder / ERROR).rename(folder / f"error-{count}.json")
    note_attempt(folder, {"retry": True})
    if from_scratch:
        (folder / CHECKPOINT).unlink(missing_ok=True)


def _submit(
    cells: Sequence[Stored], store: Store, request: Request, known: Sequence[Submission], *, as_before: bool
) -> int:
    """Submits cells, for what the last launch asked unless the user says anything now.

    Args:
        known: all submissions, oldest first.
        as_before: neither a device nor a data folder is named: those of the last launch.
    """
    from seqdis.bench.commands import last_tables
    from seqdis.bench.launch.slurm import submit
    from seqdis.bench.launch.slurm.requests import TABLES

    arrays = [one.manifest for one in known if one.is_cells]
    made = [one.manifest.argv[-1] for one in known if one.manifest.title == TABLES]
    arguments = list(arrays[-1].cell_arguments) if arrays else []
    if not (as_before and arguments):
        arguments = submit.cell_arguments(request.device, request.root)
    root = Path(arguments[arguments.index("--data-dir") + 1])
    summary = submit.submit(
        store,
        cells,
        _options(request.jobs, arrays),
        cell_arguments=arguments,
        prerequisites=submit.missing_prerequisites(store, cells, root),
        tables=last_tables.command(store.out, made[-1] if made else "comparison"),
    )
    for line in summary.lines():
        print(line)
    if summary.refused:
        raise UserError(
            f"SLURM refused a request: {summary.refused} What it accepted is in the queue; type "
            "the 'bench run' line again for the rest."
        )
    return DONE


def _options(wishes: JobWishes, arrays: Sequence[Manifest]) -> Options:
    """The last launch's, unless the user says anything now."""
    from seqdis.bench.launch.slurm.profile import Options

    return Options.of(wishes) if wishes != JobWishes() or not arrays else arrays[-1].options


def _run_here(cells: Sequence[Stored], store: Store, request: Request) -> int:
    from seqdis.bench.commands.display import show
    from seqdis.bench.launch.local import make_pool

    pool = make_pool(store, cells, request)
    show(pool)
    failed = [one for one in pool.runs if one.state != "done"]
    for one in failed:
        print(f"{one.state}: {one.cell_id}: {one.reason}", file=sys.stderr)
    return FAILED if failed else DONE
