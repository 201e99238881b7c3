"""`bench perf`: how fast training steps are, as ratios measured in one run."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

HELP = """Measures training steps on random clips: sequences a second, parts of a step, counted operations, the share of this
machine's matrix-product rate, memory; and with --reference the ratio to a plain C-DSVAE step with the same mathematics.

  bench perf --methods all --preset quick --batch 16
  bench perf --reference --preset paper --batch 16
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--methods", default="cdsvae", help="comma-separated methods (default: cdsvae)")
    parser.add_argument("--dataset", default="sprites", help="whose shapes the clips have (default: sprites)")
    parser.add_argument("--preset", default="quick", help="whose nets and frame size (default: quick)")
    parser.add_argument("--batch", type=int, help="clips a step (default: the preset's)")
    parser.add_argument("--precision", choices=("float32", "tf32", "bfloat16"), default="float32")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--reference", action="store_true", help="also the ratio to the plain reference step")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default: 5)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    import torch

    from seqdis.bench import catalog, perf, presets
    from seqdis.bench.core.errors import UserError
    from seqdis.bench.experiment import device_name, pick_device
    from seqdis.bench.launch.environment import MALLOC

    if args.rounds < 1 or (args.batch is not None and args.batch < 2):
        raise UserError("--rounds must be 1 or more and --batch 2 or more.")
    missing = [name for name in MALLOC if name not in os.environ]
    if missing:
        # glibc reads its settings when a process starts, so the measurement runs in a fresh one that has them.
        import sys

        os.environ.update(MALLOC)
        os.execv(sys.executable, [sys.executable, "-P", "-m", "seqdis.bench.cli", *sys.argv[1:]])
    if args.threads:
        torch.set_num_threads(args.threads)
    device = pick_device(args.device)
    torch.set_float32_matmul_precision("high" if args.precision == "tf32" else "highest")
    batch = args.batch or presets.training_settings(presets.get(args.preset), "cdsvae", args.dataset)["batch_size"]
    settings = {"preset": args.preset, "dataset": args.dataset, "batch_size": batch, "device": device,
                "precision": args.precision, "compile": args.compile}
    limits = perf.ceilings(device, args.precision)
    found = [perf.measure(ref, args.rounds, limits, **settings) for ref in catalog.parse_methods(args.methods)]
    report: dict[str, Any] = {
        "device": device_name(device), "threads": torch.get_num_threads(), "load": os.getloadavg()[0],
        "matmul_gflops": limits.flops / 1e9, "copy_gbytes": limits.bytes / 1e9,
        "settings": {**settings, "device": str(device)}, "methods": found,
    }
    if args.reference:
        report["reference"] = perf.against_plain(args.rounds, limits, **settings)
    if args.json:
        print(json.dumps(report, indent=1))
        return 0
    print(f"{report['device']}, {report['threads']} threads, load {report['load']:.1f}; matrix product "
          f"{limits.flops / 1e9:.0f} GF/s, copy {limits.bytes / 1e9:.1f} GB/s; batch {batch}, {args.precision}")
    for line in perf.rows(found):
        print(line)
    if args.reference:
        one = report["reference"]
        low, high = one["ratio_range"]
        print(f"plain C-DSVAE step / ours: {one['ratio']:.2f}x ({low:.2f} to {high:.2f} over {one['rounds']} rounds"
              f"{', disturbed: repeat on a quieter machine' if one['disturbed'] else ''}); plain "
              f"{one['plain']['flops_per_frame'] / 1e6:.0f} MF/frame at {one['plain']['share_of_matmul']:.0%} of the "
              f"matrix-product rate, ours {one['ours']['flops_per_frame'] / 1e6:.0f} at {one['ours']['share_of_matmul']:.0%}")
    return 0
