"""`bench tune`: the small seeded search behind the quick preset's settings."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from seqdis.bench.core.arguments import check_range

HELP = """Searches a preset's settings of one method: seeded trials, one seed each, on validation clips only.

The quick preset's settings come from: bench tune --methods METHOD --dataset sprites --trials 8
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--methods", required=True, help="comma-separated methods")
    parser.add_argument("--dataset", default="sprites")
    parser.add_argument("--source", choices=("real", "synthetic"), default="synthetic")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--trials", type=int, default=8, help="the first is the preset as it stands")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="changes a setting of every trial, for a shorter or wider search",
    )
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--data-dir", type=Path, help="prepared data (default: $SEQDIS_DATA or the user's cache)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, help="trials at once (default: one a core)")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    from seqdis.bench.cell.prerequisites import make
    from seqdis.bench.core.places import data_root
    from seqdis.bench.launch import tuning
    from seqdis.bench.launch.slots import slots
    from seqdis.bench.plan import catalog, settings
    from seqdis.bench.plan.cells import grid, plan

    check_range("--trials", args.trials, 1, 10_000)
    check_range("--workers", args.workers, 1, 1000)
    root = args.data_dir or data_root()
    refs = catalog.parse_methods(args.methods)
    example = plan(grid(refs[:1], [args.dataset], source=args.source, preset=args.preset, seeds=[0]))
    make([example[0].config], root, args.device)
    workers = args.workers or len(slots(args.device, None))
    fixed = settings.parse_overrides(args.overrides)
    found = {}
    for ref in refs:
        ranked = tuning.search(
            ref,
            args.dataset,
            source=args.source,
            preset=args.preset,
            count=args.trials,
            out=args.out,
            root=root,
            device=args.device,
            workers=workers,
            fixed=fixed,
        )
        found[str(ref)] = [
            {"trial": trial.number, "score": trial.score, "settings": trial.overrides, "validation": trial.scores}
            for trial in ranked
        ]
        if not args.json:
            print(f"{ref} on {args.dataset} ({args.source}), {args.preset}, validation score, best first:")
            for trial in ranked:
                print(
                    f"  {trial.score:.3f}  trial {trial.number}  "
                    + (" ".join(f"{key}={value}" for key, value in trial.overrides.items()) or "(as it stands)")
                )
    if args.json:
        print(json.dumps(found, indent=1))
    return 0
