"""Throughput, operations and memory of training steps, as ratios measured in one run.

A bare time on a shared machine says little: its load moves a step by a factor of two. So two steps are compared by
alternating them (A B A B ...) in one process, with the same threads and allocator, and the median and spread of the
per-round ratios is what counts; rates are given as shares of the matrix-product and copy rates measured in the same run.
"""

from __future__ import annotations

import dataclasses
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from seqdis.bench.cell.check.bed import ReadBacks
from seqdis.bench.cell.device import to_channels_last
from seqdis.bench.cell.trainer import Trainer
from seqdis.bench.core.errors import UserError
from seqdis.bench.perf.plain import plain_information, plain_loss
from seqdis.bench.plan import catalog, presets
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.plan.cells import untupled
from seqdis.bench.plan.presets import TrainingConfig
from seqdis.datasets.base import AugmentPolicy, Factor, Spec, Split
from seqdis.methods import estimators
from seqdis.methods.base import Method, Shape, SignalShape
from seqdis.methods.nets.sequence import Gaussian

WARM_UP = 2
STEPS_A_ROUND = {"cuda": 10, "cpu": 1}
"""Steps that are timed together: a GPU that is waited for after each step is idle for a part of the next."""
COUNTED = 4
"""Clips of the batch that operations are counted on where the device's own counts leave recurrent layers out."""
SPREAD = 1.3
"""Rounds of one side that differ by more than this factor are called disturbed."""


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """What this machine does at best, measured now: floating-point operations and bytes a second."""

    flops: float
    bytes: float


def ceilings(device: torch.device, precision: str) -> Ceilings:
    """The rate of a large matrix product in this precision, and of a large copy (bytes read plus written).

    On a CPU the product is also made as a 1x1 convolution, and the faster counts: the library behind `@` may be the
    slower one by half (MKL on AMD), and steps, which are mostly convolutions, would be said to exceed the ceiling.
    """
    n = 8192 if device.type == "cuda" else 2048
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = torch.randn(n, n, device=device, dtype=dtype), torch.randn(n, n, device=device, dtype=dtype)
    products: list[Callable[[], Any]] = [lambda: a @ b]
    if device.type == "cpu":
        # Channels last, and `a` itself in memory; one large image would be handed back to `@`'s library.
        image = a.reshape(32, n // 256, 8, n).permute(0, 3, 1, 2)
        kernel = b.reshape(n, n, 1, 1)
        products.append(lambda: torch.nn.functional.conv2d(image, kernel))
    with torch.no_grad():
        flops = 2.0 * n**3 / min(_seconds(product, device) for product in products for _ in range(5))
    source = torch.randn(2**28 if device.type == "cuda" else 2**25, device=device)
    target = torch.empty_like(source)
    copied = 2.0 * source.numel() * 4 / min(_seconds(lambda: target.copy_(source), device) for _ in range(5))
    return Ceilings(flops, copied)


def random_split(frame: tuple[int, ...], n_frames: int, n_clips: int, signal_dim: int = 9) -> tuple[Split, Spec]:
    """Random clips in the resident format (uint8 video, float16 audio): two of each sequence. Never zeros."""
    generator = torch.Generator().manual_seed(0)
    shape = (n_clips, n_frames, *frame)
    video = len(frame) == 3
    x = (
        torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        if video
        else torch.randn(shape, generator=generator).half()
    )
    split = Split(
        x,
        {"motion": torch.arange(n_clips) % 9},
        torch.arange(n_clips) // 2,
        sequence=torch.arange(n_clips) // 2,
        signal=torch.randint(0, 2, (n_clips, n_frames, signal_dim), generator=generator).float(),
    )
    motions = tuple(str(number) for number in range(9))
    spec = Spec(
        name="random",
        title="Random clips",
        source="synthetic",
        modality="video" if video else "audio",
        frame=frame,
        n_frames=n_frames,
        factors=(Factor(name="motion", classes=motions, role="dynamic"),),
        headline=("fix_dynamic", "motion"),
        split_rule="none",
        revision="1",
        licence="none",
        citation="none",
        augment=AugmentPolicy(crop=video, colour=video, blur=video, audio="" if video else "vtlp"),
    )
    return split, spec


class Bed:
    """A trainer on random clips, ready to step."""

    def __init__(
        self,
        ref: MethodRef,
        *,
        preset: str,
        dataset: str,
        batch_size: int,
        device: torch.device,
        precision: str = "float32",
        compile: bool = False,
        overrides: dict[str, Any] | None = None,
        n_clips: int = 1024,
        channels_last: bool = True,
        cuda_graph: bool = False,
    ) -> None:
        if cuda_graph and device.type != "cuda":
            raise UserError(
                "CUDA graphs need a GPU, and this step runs on the CPU: leave the option out, or give --device cuda."
            )
        chosen = presets.get(preset)
        kind = catalog.load_method(ref)
        settings = presets.method_settings(chosen, ref.name, dataset, kind.Config)
        config = kind.Config(
            **untupled(kind.Config, {**settings, **kind.variants.get(ref.variant, {}), **(overrides or {})})
        )
        frame, n_frames = shape_of(dataset, chosen.size, segments=kind.needs(config).segments)
        split, self.spec = random_split(frame, n_frames, max(2 * batch_size, n_clips))
        shape = Shape(
            frame=frame,
            n_frames=n_frames,
            n_train=len(split),
            n_sequences=split.n_sequences,
            n_motions=9,
            signal=SignalShape(dim=9, kind="multilabel"),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            method: Method = kind(config, shape).to(device)
        if shape.is_video and channels_last:
            method = to_channels_last(method)
        training = TrainingConfig(steps=10**6, batch_size=batch_size, precision=precision, compile=compile)  # type: ignore[arg-type]
        self.trainer = Trainer(
            method, split, self.spec, training, seed=0, device=device, motion_labels=split.labels["motion"]
        )
        if cuda_graph:
            # Its graphs hold the loss and the backward pass; shapes are fixed, since partial batches are dropped.
            self.trainer.compiled = torch.compile(method.loss, mode="reduce-overhead")
        self.n_frames = n_frames
        self.device = device
        # What an epoch begins with (FHVAE builds its table there) is not part of a step.
        self.index = self.trainer.begin_epoch()[:batch_size]

    def step(self) -> None:
        """One whole training step: batch, views, loss, gradients, update."""
        self.trainer.step(self.index)

    def flops_per_frame(self) -> float:
        """Counted operations of a step's convolutions and matrix products, per frame of the batch."""
        with FlopCounterMode(display=False) as counter:
            self.step()
        return counter.get_total_flops() / (len(self.index) * self.n_frames)

    def values_read_back(self) -> int:
        """How often a step copies a value to the host."""
        with ReadBacks() as seen:
            self.step()
        return len(seen.operations)

    def parts(self, rounds: int) -> dict[str, float]:
        """Median seconds of a step's parts, each timed alone: batch with its views, forward, backward, update."""
        trainer, method = self.trainer, self.trainer.method
        found: dict[str, list[float]] = {"batch": [], "forward": [], "backward": [], "update": []}
        for _ in range(WARM_UP + rounds):
            start = now(self.device)
            batch = trainer.batch(self.index)
            at = now(self.device)
            found["batch"].append(at - start)
            spent = dict.fromkeys(("forward", "backward", "update"), 0.0)
            for player in method.players:
                start = now(self.device)
                total = trainer.losses(batch, player, trainer.context())["total"]
                middle = now(self.device)
                trainer.backward(player, total)
                end = now(self.device)
                trainer.update(player)
                spent["forward"] += middle - start
                spent["backward"] += end - middle
                spent["update"] += now(self.device) - end
            for name, seconds in spent.items():
                found[name].append(seconds)
        method.zero_grad(set_to_none=True)
        return {name: statistics.median(values[WARM_UP:]) for name, values in found.items()}


class PlainBed(Bed):
    """C-DSVAE stepped the plain way: float32 views from a loader's layout, `plain_loss`, unfused Adam."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(MethodRef("cdsvae"), **settings)
        trainer = self.trainer
        self.optimiser = torch.optim.Adam(trainer.method.parameters(), lr=1e-3, foreach=False, fused=False)
        batch = trainer.batch(self.index)
        assert batch.motion_view is not None
        # (B, T, H, W, C) float32, as the released loader hands clips over.
        self.stored = [view.permute(0, 1, 3, 4, 2).contiguous() for view in (batch.x, batch.motion_view)]

    def step(self) -> None:
        """One plain step."""
        trainer = self.trainer
        batch = trainer.batch(self.index)
        batch.x, batch.motion_view = (view.permute(0, 1, 4, 2, 3) for view in self.stored)
        terms = plain_loss(trainer.method, batch, trainer.context())  # type: ignore[arg-type]
        self.optimiser.zero_grad()
        terms["total"].backward()
        self.optimiser.step()
        # The released step reads every loss back for its progress line.
        for value in terms.values():
            float(value.detach())


def shape_of(dataset: str, size: int, *, segments: bool = False) -> tuple[tuple[int, ...], int]:
    """Frame shape and frames a clip of a data set's training clips, without opening it."""
    kind = catalog.load_dataset(dataset)
    spec = kind.describe(kind.sources[0], size)
    return spec.frame, (segments and spec.segment_frames) or spec.n_frames


def alternate(
    first: Callable[[], None], second: Callable[[], None], rounds: int, device: torch.device
) -> dict[str, Any]:
    """Times two steps in turns. `ratio` is the median over rounds of first's seconds over second's."""
    for _ in range(WARM_UP):
        first()
        second()
    pairs = [(_seconds(first, device), _seconds(second, device)) for _ in range(rounds)]
    ratios = sorted(a / b for a, b in pairs)
    sides = list(zip(*pairs, strict=True))
    return {
        "ratio": statistics.median(ratios),
        "ratio_range": [ratios[0], ratios[-1]],
        "rounds": rounds,
        "seconds": [statistics.median(side) for side in sides],
        "disturbed": any(max(side) / min(side) > SPREAD for side in sides),
    }


def measure(ref: MethodRef, rounds: int, limits: Ceilings, **settings: Any) -> dict[str, Any]:
    """One method's figures: rate, parts, operations, share of the ceilings, memory."""
    device: torch.device = settings["device"]
    bed = Bed(ref, **settings)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(WARM_UP):
        bed.step()
    steps = STEPS_A_ROUND.get(device.type, 1)

    def one_round() -> None:
        for _ in range(steps):
            bed.step()

    times = [_seconds(one_round, device) / steps for _ in range(rounds)]
    seconds = statistics.median(times)
    flops = counted_flops_per_frame(ref, bed, settings) * settings["batch_size"] * bed.n_frames
    is_eager = not (settings.get("compile") or settings.get("cuda_graph"))  # nothing is seen of compiled code
    return {
        "method": str(ref),
        "step_seconds": seconds,
        "sequences_per_second": settings["batch_size"] / seconds,
        "parts": bed.parts(rounds),
        "flops_per_frame": flops / (settings["batch_size"] * bed.n_frames),
        "share_of_matmul": flops / seconds / limits.flops,
        "values_read_back": bed.values_read_back() if is_eager else None,
        "disturbed": max(times) / min(times) > SPREAD,
        "peak_memory_bytes": (
            torch.cuda.max_memory_allocated()
            if device.type == "cuda"
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        ),
        "parameters": sum(p.numel() for p in bed.trainer.method.parameters()),
    }


def counted_flops_per_frame(ref: MethodRef, bed: Bed, settings: dict[str, Any]) -> float:
    """Counted operations a frame; for a GPU they are counted on the CPU, where recurrent layers are counted too."""
    if bed.device.type != "cuda":
        return bed.flops_per_frame()
    plain = {
        **settings,
        "device": torch.device("cpu"),
        "batch_size": COUNTED,
        "precision": "float32",
        "compile": False,
        "cuda_graph": False,
    }
    return Bed(ref, **plain).flops_per_frame()


def against_plain(
    rounds: int, limits: Ceilings, *, plain_channels_last: bool = False, **settings: Any
) -> dict[str, Any]:
    """Our C-DSVAE step against the plain one, alternating, with the shares of the matrix-product rate of both.

    The plain step's weights lie as torch lays them out by default, unless `plain_channels_last`.
    """
    plain_settings = {
        key: value for key, value in settings.items() if key not in ("precision", "compile", "cuda_graph")
    }
    plain_settings["channels_last"] = plain_channels_last
    plain, ours = PlainBed(**plain_settings), Bed(MethodRef("cdsvae"), **settings)
    found = alternate(plain.step, ours.step, rounds, settings["device"])
    for name, bed, seconds in (("plain", plain, found["seconds"][0]), ("ours", ours, found["seconds"][1])):
        flops = bed.flops_per_frame()
        found[name] = {
            "flops_per_frame": flops,
            "step_seconds": seconds,
            "share_of_matmul": flops * settings["batch_size"] * bed.n_frames / seconds / limits.flops,
        }
    return found


def information_against_plain(rounds: int, device: torch.device, *, batch_size: int = 128) -> dict[str, Any]:
    """I(s; z) with its gradient at the released sizes: (T, B, B, D) tensors in float32 against float64 products."""
    generator = torch.Generator(device).manual_seed(0)
    leaves = [
        torch.randn(batch_size, *rest, generator=generator, device=device).requires_grad_()
        for rest in ((256,), (256,), (256,), (8, 32), (8, 32), (8, 32))
    ]
    s, static_mean, static_logvar, z, mean, logvar = leaves
    n_train = 9000

    def plain() -> None:
        plain_information(Gaussian(static_mean, static_logvar), Gaussian(mean, logvar), s, z, n_train).backward()

    def ours() -> None:
        z_t, mean_t, logvar_t = (value.transpose(0, 1) for value in (z, mean, logvar))
        estimators.mws_cross_information(
            estimators.pairwise_log_density(s, static_mean, static_logvar),
            estimators.pairwise_log_density(z_t, mean_t, logvar_t),
            n_train,
        ).backward()

    return {"batch_size": batch_size, **alternate(plain, ours, rounds, device)}


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    start = now(device)
    work()
    return now(device) - start


def now(device: torch.device) -> float:
    """The clock when all work given to the device so far is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def rows(found: list[dict[str, Any]]) -> Iterator[str]:
    """The figures as lines for people."""
    for one in found:
        parts = ", ".join(
            f"{name} {seconds / sum(one['parts'].values()):.0%}" for name, seconds in one["parts"].items()
        )
        yield (
            f"{one['method']:24s} {one['sequences_per_second']:8.1f} seq/s  {one['step_seconds'] * 1e3:8.1f} ms/step  "
            f"{one['flops_per_frame'] / 1e6:8.1f} MF/frame  {one['share_of_matmul']:5.0%} of the matrix-product rate  "
            f"{one['peak_memory_bytes'] / 2**20:6.0f} MiB  ({parts})"
            + (f"  reads {one['values_read_back']} values back" if one["values_read_back"] else "")
            + ("  disturbed" if one["disturbed"] else "")
        )
