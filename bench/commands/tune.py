"""`bench tune`: the same search of settings for every method, the user's own too, on validation clips only."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from seqdis.bench.core.arguments import check_range
from seqdis.bench.core.environment import check_device
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE, FAILED

if TYPE_CHECKING:
    from seqdis.bench.launch.pool import Pool
    from seqdis.bench.launch.tuning import Search

HELP = """Searches settings of a method in the space that its file declares, scored on validation clips only.

All trials train to the first rung; the better half goes on from its checkpoints to the next, and so on to the whole
length. The best five, and the settings as they are, train again from three further seeds; the best mean is chosen.
What was killed goes on where it stood when the same line is typed again.

  bench tune dsvae --dataset sprites --preset quick
  bench tune path/to/file.py:Class --dataset sprites --preset quick --rungs 500,1000,2000
  bench tune --report results/tuning > docs/tuning.md
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("methods", nargs="?", metavar="METHOD", help="dsvae, cdsvae:VARIANT, path/to/file.py:Class")
    parser.add_argument("--dataset", default="sprites", help="default: sprites")
    parser.add_argument("--source", choices=("real", "synthetic"), help="default: the preset's")
    parser.add_argument("--preset", default="quick", help="whose scale, and settings to start from (default: quick)")
    parser.add_argument("--trials", type=int, default=40, help="the first has the settings as they are (default: 40)")
    parser.add_argument(
        "--rungs", help="steps at which trials are compared, such as 500,1000,2000 (default: 1/2, 3/4, all)"
    )
    parser.add_argument("--keep", type=float, default=0.5, help="share that goes on to the next rung (default: 0.5)")
    parser.add_argument("--finalists", type=int, default=5, help="trials that get further seeds (default: 5)")
    parser.add_argument("--seeds", type=int, default=3, help="further seeds of each (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="of what draws the settings (default: 0)")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of every trial, which is not searched then",
    )
    parser.add_argument("--name", default="", help="of the study (default: data, method and preset)")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="output folder (default: ./runs)")
    parser.add_argument("--data-dir", type=Path, help="prepared data (default: $SEQDIS_DATA or the user's cache)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--launcher", choices=("local", "slurm"), default="local", help="local only")
    parser.add_argument("--workers", type=int, help="trials at once (default: one a GPU, else one a core)")
    parser.add_argument("--pack-to", type=Path, metavar="DIR", help="put the finished study and its records there")
    parser.add_argument("--report", type=Path, metavar="DIR", help="the page made from the studies there; runs nothing")
    parser.add_argument("--dry-run", action="store_true", help="show what would be searched, and an estimate")
    parser.add_argument("--json", action="store_true", help="the study as JSON")


def run(args: argparse.Namespace) -> int:
    if args.report is not None:
        from seqdis.bench.tables.tuning import page, studies_below

        print(page(studies_below(args.report)), end="")
        return DONE
    return _search(args)


def _search(args: argparse.Namespace) -> int:
    from seqdis.bench.cell.prerequisites import make
    from seqdis.bench.core.exits import say
    from seqdis.bench.core.lease import Lease, LeaseHeld
    from seqdis.bench.core.places import data_root

    search, root = _asked(args), args.data_dir or data_root()
    if args.dry_run:
        return _dry_run(search, args)
    make([search.base.config], root, args.device, quiet=args.json)
    search.store.check_writable()
    try:
        with Lease(search.folder, counted=False):
            search.take_over(say)
            pool = search.pool(device=args.device, workers=args.workers, data_dir=args.data_dir)
            code = _run(pool, search)
    except LeaseHeld as held:
        raise UserError(f"{held}; wait for it, or choose another --name.") from None
    _show(search, as_json=args.json)
    if args.pack_to is not None:
        _pack(search, args.pack_to, quiet=args.json)
    return code


def _asked(args: argparse.Namespace) -> Search:
    """The search that is typed.

    Raises:
        UserError: no or more than one method, a number that searches nothing, or what `Search` refuses.
    """
    from seqdis.bench.launch.tuning import Search, Wishes
    from seqdis.bench.plan import catalog, presets, settings

    if args.launcher == "slurm":
        raise UserError(
            "a search decides after each trial which is next, and so runs on one machine: give it a job of your own, such "
            "as sbatch --wrap 'bench tune ...'; the same line goes on in the next job."
        )
    for flag, number, least, most in (
        ("--trials", args.trials, 1, 10_000),
        ("--workers", args.workers, 1, 1000),
        ("--finalists", args.finalists, 1, 1000),
        ("--seeds", args.seeds, 0, 1000),
        ("--seed", args.seed, 0, 1_000_000_000),
    ):
        check_range(flag, number, least, most)
    if not 0 < args.keep <= 1:
        raise UserError(f"--keep {args.keep:g} must be above 0, and 1 at most.")
    check_device(args.device)
    refs = catalog.parse_methods(args.methods or "")
    if len(refs) > 1:
        raise UserError("a search is of one method: type a line for each.")
    (dataset,) = catalog.parse_datasets(args.dataset)[:1]
    wishes = Wishes(
        trials=args.trials,
        rungs=_rungs(args.rungs),
        keep=args.keep,
        finalists=args.finalists,
        seeds=args.seeds,
        seed=args.seed,
        fixed=settings.parse_overrides(args.overrides),
    )
    source = args.source or presets.get(args.preset).source
    if args.name and not args.name.replace("-", "").replace("_", "").isalnum():
        raise UserError(f"--name {args.name!r} must be letters, digits, '-' and '_'.")
    return Search(refs[0], dataset, source=source, preset=args.preset, wishes=wishes, out=args.out, name=args.name)


def _rungs(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text is not None else ()
    except ValueError:
        raise UserError(f"--rungs {text} must be steps with commas between them, such as 500,1000,2000.") from None


def _run(pool: Pool, search: Search) -> int:
    """Runs the search and shows it. Returns its exit code."""
    from seqdis.bench.commands.display import show
    from seqdis.bench.core.exits import say

    show(pool)
    search.refresh()
    ended = [run for run in pool.runs if run.state in ("failed", "waiting")]
    for one in ended:
        say(f"{'failed' if one.state == 'failed' else 'not finished'}: {one.title}: {one.reason}")
    if ended:
        say("the search has stopped there: when this is put right, the same line goes on.")
    return FAILED if ended else DONE


def _show(search: Search, *, as_json: bool) -> None:
    from seqdis.bench.core import schema
    from seqdis.bench.tables.tuning import section

    if as_json:
        print(json.dumps(schema.to_json(search.study), indent=1))
    else:
        print(section(search.study), end="")


def _pack(search: Search, folder: Path, *, quiet: bool) -> None:
    """Puts the study and the records of its trials into a folder of its name, once it has come to its end."""
    from seqdis.bench.records.packing import pack
    from seqdis.bench.records.tuning import STUDY, write

    said = "not packed: the search has not come to its end"
    if search.study.chosen():
        target = folder / search.name
        write(target / STUDY, search.study)
        said = pack(search.store, target, name=search.name).summary()
    if not quiet:
        print(said)


def _dry_run(search: Search, args: argparse.Namespace) -> int:
    from seqdis.bench.core import schema
    from seqdis.bench.launch.slots import slots
    from seqdis.bench.perf.estimate import seconds_of_cells

    plan, places = search.plan, len(slots(args.device, args.workers))
    whole = seconds_of_cells([search.base.config], search.store)[0]
    seconds = whole * plan.total_steps() / plan.steps / places
    if args.json:
        print(
            json.dumps(
                {**schema.to_json(plan), "total_steps": plan.total_steps(), "estimated_seconds": seconds}, indent=1
            )
        )
        return DONE
    print(f"{plan.title} on {plan.dataset} ({plan.source}), {plan.preset}: {search.folder}")
    for one in search.searched:
        print(f"  {one.key:36s} {json.dumps(one.to_json())}  now {json.dumps(plan.start[one.key])}")
    for count, step in zip(plan.counts(), plan.rungs, strict=True):
        print(f"  {count:4d} trials to step {step}")
    print(f"  {min(plan.finalists, plan.trials)} best and the settings as they are, {plan.seeds} further seeds each")
    print(
        f"{plan.total_steps():,} steps, as {plan.total_steps() / plan.steps:.1f} whole trainings; about "
        f"{seconds / 60:.0f} min with {places} workers (an estimate)"
    )
    return DONE
