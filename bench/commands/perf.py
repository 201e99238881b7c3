"""`bench perf`: how fast training steps are, as ratios measured in one run."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from seqdis.bench.core.arguments import check_range
from seqdis.bench.core.cores import cores
from seqdis.bench.core.environment import MALLOC
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE

if TYPE_CHECKING:
    import torch

    from seqdis.bench.perf.suite import Form
    from seqdis.bench.perf.testbed import Settings
    from seqdis.bench.perf.throughput import AgainstPlain, Ceilings, Measured, Ratio
    from seqdis.bench.perf.together import Together
    from seqdis.bench.plan.catalog import MethodRef

MOST_THREADS = 1024
INFORMATION_BATCH = 128
"""Clips of the batch that I(s; z) is timed on: the released size."""
LAYOUTS = {"reference": "torch's layout", "reference_channels_last": "channels last too"}
PARITY_SHOWS = ("preset", "dataset", "batch_size", "device")

HELP = """Measures training steps on random clips: sequences a second, parts of a step, counted operations, the share of this
machine's matrix-product rate, memory; with --reference the ratio to a plain C-DSVAE step with the same mathematics; with
--together what several processes side by side do in all; with --parity how far each precision is from float64.

  bench perf --methods all --preset quick --batch 16
  bench perf --reference --preset paper --batch 16
  bench perf --parity --methods all
  bench perf --suite                       all ratios of the suite beside the committed ones, in under five minutes
  bench perf --preset paper --methods cdsvae,mocogan --precision tf32 --together 1,2,4     a GPU
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--methods", default="cdsvae", help="comma-separated methods (default: cdsvae)")
    parser.add_argument("--dataset", default="sprites", help="whose shapes the clips have (default: sprites)")
    parser.add_argument("--preset", default="quick", help="whose nets and frame size (default: quick)")
    parser.add_argument("--batch", type=int, help="clips a step (default: the preset's)")
    parser.add_argument("--precision", choices=("float32", "tf32", "bfloat16"), default="float32")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--graph", action="store_true", help="through torch.compile with CUDA graphs (a GPU)")
    parser.add_argument(
        "--parity",
        nargs="?",
        const="",
        metavar="OPTIONS",
        help="instead of times: how far loss terms and gradients of float32, contiguous, tf32, bfloat16, "
        "compile, graph are from float64 (default: those that need no compiler)",
    )
    parser.add_argument(
        "--suite",
        nargs="?",
        const="full",
        choices=("full", "short"),
        help="instead: the ratios that a change must not lower, beside the committed ones; short takes a minute",
    )
    parser.add_argument("--reference", action="store_true", help="also the ratio to the plain reference step")
    parser.add_argument("--together", metavar="N,N", help="also so many processes at once, such as 1,2,4")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="how long processes side by side are timed (default: 5)"
    )
    parser.add_argument(
        "--layout",
        choices=("channels-last", "contiguous"),
        default="channels-last",
        help="of the weights of convolutions (training uses channels-last)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default: 5)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    import torch

    from seqdis.bench.cell.device import check_precision, pick_device, set_precision, set_repeatable
    from seqdis.bench.perf.testbed import Settings

    check_range("--rounds", args.rounds, 1, 100_000)
    check_range("--batch", args.batch, 2, 1_000_000)
    check_range("--threads", args.threads, 1, MOST_THREADS)
    check_range("--seconds", args.seconds, 0.01, 86_400)
    counts = _counts(args.together)
    _start_with_our_allocator()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = pick_device(args.device)
    check_precision(args.precision, device)
    set_precision(args.precision)  # convolutions and recurrent layers too, as training does
    set_repeatable(False)
    if args.suite:
        return _suite(args, device)
    batch = args.batch or _batch_size(args.preset, args.dataset)
    plain = Settings(preset=args.preset, dataset=args.dataset, batch_size=batch, device=device)
    if args.parity is not None:
        return _parity(args, plain)
    settings = replace(
        plain,
        precision=args.precision,
        compile=args.compile,
        channels_last=args.layout == "channels-last",
        cuda_graph=args.graph,
    )
    report = _measured(args, settings, counts)
    if args.json:
        print(json.dumps(report.to_json(), indent=1))
    else:
        _show(report)
    return DONE


def _start_with_our_allocator() -> None:
    """Starts the process anew, unless it has the allocator's settings: glibc reads them when a process starts."""
    if any(name not in os.environ for name in MALLOC):
        os.environ.update(MALLOC)
        os.execv(sys.executable, [sys.executable, "-P", *sys.orig_argv[1:]])


@dataclass(frozen=True)
class Report:
    """All that one call measured.

    Attributes:
        limits: what the device can do at best.
        against: ratios to the plain step by the name that JSON has for them, and `information` that of I(s; z);
            without --reference none.
        several: processes side by side.
    """

    device: str
    threads: int
    load: float
    limits: Ceilings
    settings: Settings
    methods: list[Measured]
    against: dict[str, AgainstPlain]
    information: Ratio | None
    several: list[Together]

    def to_json(self) -> dict[str, Any]:
        """What --json prints."""
        report: dict[str, Any] = {
            "device": self.device,
            "threads": self.threads,
            "load": self.load,
            "matmul_gflops": self.limits.flops / 1e9,
            "copy_gbytes": self.limits.bytes / 1e9,
            "settings": _shown(self.settings, *PARITY_SHOWS, "precision", "compile", "channels_last", "cuda_graph"),
            "methods": [asdict(one) for one in self.methods],
            **{name: asdict(one) for name, one in self.against.items()},
        }
        if self.information is not None:
            report["information"] = {"batch_size": INFORMATION_BATCH, **asdict(self.information)}
        if self.several:
            report["together"] = [asdict(one) for one in self.several]
        return report


def _measured(args: argparse.Namespace, settings: Settings, counts: list[int]) -> Report:
    import torch

    from seqdis.bench.cell.device import device_name
    from seqdis.bench.perf import throughput, together
    from seqdis.bench.plan import catalog

    refs = catalog.parse_methods(args.methods)
    limits = throughput.ceilings(settings.device, settings.precision)
    methods = [throughput.measure(ref, args.rounds, limits, settings) for ref in refs]
    threads, load = torch.get_num_threads(), os.getloadavg()[0]
    against, information = {}, None
    if args.reference:
        against["reference"] = throughput.against_plain(args.rounds, limits, settings)
        against["reference_channels_last"] = throughput.against_plain(
            args.rounds, limits, settings, plain_channels_last=True
        )
        information = throughput.information_against_plain(args.rounds, settings.device, batch_size=INFORMATION_BATCH)
    several = [
        together.measure(_typed(ref), count, args.seconds, args.threads or max(1, cores() // count), settings)
        for ref in refs
        for count in counts
    ]
    return Report(device_name(settings.device), threads, load, limits, settings, methods, against, information, several)


def _show(report: Report) -> None:
    from seqdis.bench.perf import throughput

    print(
        f"{report.device}, {report.threads} threads, load {report.load:.1f}; matrix product "
        f"{report.limits.flops / 1e9:.0f} GF/s, copy {report.limits.bytes / 1e9:.1f} GB/s; "
        f"batch {report.settings.batch_size}, {report.settings.precision}"
    )
    for line in throughput.rows(report.methods):
        print(line)
    alone = {one.method: one.sequences_per_second for one in report.several if one.processes == 1}
    for one in report.several:
        ratio = f", {one.sequences_per_second / alone[one.method]:.2f}x of one" if one.method in alone else ""
        busy = f", GPU busy {one.gpu_busy:.0%}" if one.gpu_busy is not None else ""
        print(
            f"{one.method:24s} {one.processes} at once: {one.sequences_per_second:8.1f} seq/s in all{ratio}{busy}, "
            f"{one.peak_memory_bytes / 2**20:.0f} MiB each"
        )
    for name, against in report.against.items():
        print(_ratio(against, LAYOUTS[name]))
    if report.information is not None:
        low, high = report.information.ratio_range
        print(
            f"plain I(s; z) / ours at batch {INFORMATION_BATCH}, with gradients: {report.information.ratio:.1f}x "
            f"({low:.1f} to {high:.1f})"
        )


def _batch_size(preset: str, dataset: str) -> int:
    """What a preset has for most methods on a data set."""
    from seqdis.bench.plan import presets
    from seqdis.bench.plan.settings import merged
    from seqdis.bench.records.config import TrainingConfig

    layers = presets.layers(presets.get(preset), None, "", dataset, "")
    size: int = merged({"training": TrainingConfig}, layers, {})["training"].config.batch_size
    return size


def _parity(args: argparse.Namespace, settings: Settings) -> int:
    from seqdis.bench.perf import parity
    from seqdis.bench.plan import catalog

    options = parity.checked_options(args.parity, settings.device)
    found = {_typed(ref): parity.compare(ref, options, settings) for ref in catalog.parse_methods(args.methods)}
    if args.json:
        errors = {method: [asdict(one) for one in errors] for method, errors in found.items()}
        print(json.dumps({"settings": _shown(settings, *PARITY_SHOWS), "parity": errors}, indent=1))
        return DONE
    for method, one in found.items():
        for line in parity.rows(method, one):
            print(line)
    return DONE


def _suite(args: argparse.Namespace, device: torch.device) -> int:
    import torch

    from seqdis.bench.cell.device import device_name
    from seqdis.bench.perf import suite

    if device.type == "cpu" and not args.threads:
        torch.set_num_threads(1)  # as cells train, and as the committed ratios were measured
    form: Form = args.suite
    found = {}
    for name, ratio in suite.measured(device, form):
        found[name] = asdict(ratio)
        if not args.json:
            print(suite.row(suite.compared(name, ratio)), flush=True)
    if args.json:
        about = {"device": device_name(device), "threads": torch.get_num_threads(), "torch": torch.__version__}
        print(json.dumps({**about, "ratios": found}, indent=1))
    return DONE


def _shown(settings: Settings, *names: str) -> dict[str, Any]:
    """The settings that a report names, as JSON has them."""
    return {name: str(value) if name == "device" else value for name in names for value in [getattr(settings, name)]}


def _ratio(one: AgainstPlain, layout: str) -> str:
    low, high = one.ratio_range
    return (
        f"plain C-DSVAE step ({layout}) / ours: {one.ratio:.2f}x ({low:.2f} to {high:.2f} over {one.rounds} rounds"
        f"{', disturbed: repeat on a quieter machine' if one.disturbed else ''}); plain "
        f"{one.plain.flops_per_frame / 1e6:.0f} MF/frame at {one.plain.share_of_matmul:.0%} of the "
        f"matrix-product rate, ours {one.ours.flops_per_frame / 1e6:.0f} at {one.ours.share_of_matmul:.0%}"
    )


def _typed(ref: MethodRef) -> str:
    """A method as it is typed."""
    return ":".join(filter(None, (ref.plugin, ref.variant))) if ref.plugin else str(ref)


def _counts(text: str | None) -> list[int]:
    """The numbers of processes.

    Raises:
        UserError: not whole numbers from 1 to 64.
    """
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if not all(part.isdecimal() and len(part) < 3 and 1 <= int(part) <= 64 for part in parts):
        raise UserError(f"--together {text!r} must be numbers from 1 to 64, such as 1,2,4.")
    return [int(part) for part in parts]
