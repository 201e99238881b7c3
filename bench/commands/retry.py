"""`bench retry`: run again what failed or was lost, and nothing else."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE, FAILED

if TYPE_CHECKING:
    from seqdis.bench.launch.slurm.profile import Options
    from seqdis.bench.launch.slurm.submissions import Submission
    from seqdis.bench.records.store import Store

HELP = """Runs again the cells that failed or were lost. Their logs and errors are kept; saved states are used.

On SLURM they ask for what they asked for last time, unless flags or --profile say otherwise.
"""


@dataclasses.dataclass(frozen=True)
class Stored:
    """A planned cell, read back from its folder."""

    id: str
    config: dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from seqdis.bench.launch.slurm.profile import add_arguments as add_slurm_arguments

    parser.add_argument("filter", nargs="?", default="", help="only cells whose id starts with or contains this")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="output folder (default: ./runs)")
    parser.add_argument("--from-scratch", action="store_true", help="drop their saved states")
    parser.add_argument("--launcher", choices=("auto", "local", "slurm"), default="auto")
    parser.add_argument("--data-dir", type=Path, help="folder of prepared data (default: that of the last launch)")
    parser.add_argument("--device", default=None, help="auto, cpu, cuda or cuda:N (default: that of the last launch)")
    parser.add_argument("--workers", type=int, help="cells at once on this machine (default: a GPU or core each)")
    add_slurm_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from seqdis.bench.core.files import read_json
    from seqdis.bench.launch.slurm import submit as slurm
    from seqdis.bench.launch.slurm.submissions import load_all
    from seqdis.bench.launch.state import match, survey
    from seqdis.bench.records.store import CONFIG, Store

    store = Store(args.out)
    found = survey(store, only=match(store, args.filter) if args.filter else None)
    if found.scheduler not in ("ok", "none") and args.launcher != "local":
        raise UserError(f"SLURM does not answer ({found.scheduler}), so nobody knows what is lost; try again later.")
    again = [cell.id for cell in found.cells if cell.state in ("failed", "lost")]
    if not again:
        print("nothing has failed or was lost")
        return 0
    for cell in again:
        clear(store.folder(cell), from_scratch=args.from_scratch)
    known = [one for one in load_all(store.out) if one.is_cells]
    launcher = args.launcher
    if launcher == "auto":
        launcher = "slurm" if known and slurm.is_available() else "local"
    cells = [Stored(cell, read_json(store.folder(cell) / CONFIG)) for cell in again]
    return _slurm(args, store, cells, known) if launcher == "slurm" else _local(args, store, cells)


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


def _slurm(args: argparse.Namespace, store: Store, cells: Sequence[Stored], known: Sequence[Submission]) -> int:
    from seqdis.bench.core.places import data_root
    from seqdis.bench.launch.slurm import submit as slurm

    arguments = list(known[-1].manifest["cell_arguments"]) if known else []
    if args.device or args.data_dir or not arguments:
        args.device = args.device or "auto"
        arguments = slurm.cell_arguments(args, args.data_dir or data_root())
    root = Path(arguments[arguments.index("--data-dir") + 1])
    summary = slurm.submit(
        store,
        cells,
        _options(args, known),
        cell_arguments=arguments,
        prerequisites=slurm.missing_prerequisites(store, cells, root),
        tables=_tables(store),
    )
    for line in summary.lines():
        print(line)
    if summary.refused:
        raise UserError(
            f"SLURM refused a request: {summary.refused} What it accepted is in the queue; type "
            "the 'bench run' line again for the rest."
        )
    return 0


def _tables(store: Store) -> Sequence[str]:
    """What the last launch made of its records, once more."""
    from seqdis.bench.commands import last_tables
    from seqdis.bench.launch.slurm.submissions import load_all

    made = [one.manifest["argv"] for one in load_all(store.out) if one.manifest["title"] == "tables"]
    return last_tables.command(store.out, made[-1][-1] if made else "comparison")


def _options(args: argparse.Namespace, known: Sequence[Submission]) -> Options:
    """The last launch's, unless the user says anything now."""
    from seqdis.bench.launch.slurm.profile import Options

    asked = Options.from_args(args)
    if args.profile or asked.flags or args.max_jobs is not None or args.setup or args.hold or not known:
        return asked
    return Options.from_json(known[-1].manifest["options"])


def _local(args: argparse.Namespace, store: Store, cells: Sequence[Stored]) -> int:
    from seqdis.bench.cell.prerequisites import make
    from seqdis.bench.commands.display import show
    from seqdis.bench.core.places import data_root
    from seqdis.bench.launch.pool import Pool
    from seqdis.bench.launch.slots import slots

    device = args.device or "auto"
    make([cell.config for cell in cells], args.data_dir or data_root(), device)
    pool = Pool(store, [(cell.id, cell.id) for cell in cells], slots(device, args.workers), args.data_dir)
    show(pool)
    failed = [one for one in pool.runs if one.state != "done"]
    for one in failed:
        print(f"{one.state}: {one.cell_id}: {one.reason}", file=sys.stderr)
    return FAILED if failed else DONE
