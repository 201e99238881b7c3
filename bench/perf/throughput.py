"""Throughput, operations and memory of training steps, as ratios measured in one run.

A bare time on a shared machine says little: its load moves a step by a factor of two. So two steps are compared by
alternating them (A B A B ...) in one process, with the same threads and allocator, and the median and spread of the
per-round ratios is what counts; rates are given as shares of the matrix-product and copy rates measured in the same run.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from seqdis.bench.perf.plain import PlainBed, plain_information
from seqdis.bench.perf.testbed import COUNTED, WARM_UP, Bed, Settings, now, peak_memory_bytes
from seqdis.bench.plan.catalog import MethodRef
from seqdis.methods import estimators
from seqdis.methods.nets.sequence import Gaussian

STEPS_A_ROUND = {"cuda": 10, "cpu": 1}
"""Steps that are timed together: a GPU that is waited for after each step is idle for a part of the next."""
SPREAD = 1.3
"""Rounds of one side that differ by more than this factor are called disturbed."""


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """What this machine does at best, measured now: floating-point operations and bytes a second."""

    flops: float
    bytes: float


@dataclasses.dataclass(frozen=True)
class Measured:
    """One method's steps.

    Attributes:
        parts: median seconds of batch, forward, backward and update, each timed alone.
        share_of_matmul: of the rate of a large matrix product.
        values_read_back: how often a step copies a value to the host; None where it is compiled, and not seen.
    """

    method: str
    step_seconds: float
    sequences_per_second: float
    parts: dict[str, float]
    flops_per_frame: float
    share_of_matmul: float
    values_read_back: int | None
    disturbed: bool
    peak_memory_bytes: int
    parameters: int


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Two steps timed in turns.

    Attributes:
        ratio: the median over rounds of first's seconds over second's; `ratio_range` the least and the largest.
        seconds: the median of each side.
    """

    ratio: float
    ratio_range: tuple[float, float]
    rounds: int
    seconds: tuple[float, float]
    disturbed: bool


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two."""

    flops_per_frame: float
    step_seconds: float
    share_of_matmul: float


@dataclasses.dataclass(frozen=True)
class AgainstPlain(Ratio):
    """The plain step's seconds over ours."""

    plain: Side
    ours: Side


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


def alternate(first: Callable[[], None], second: Callable[[], None], rounds: int, device: torch.device) -> Ratio:
    """Times two steps in turns.

    One thread of a CPU is timed by its own clock, which stands while others have the core.
    """
    for _ in range(WARM_UP):
        first()
        second()
    clock = time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else None
    pairs = [(_seconds(first, device, clock), _seconds(second, device, clock)) for _ in range(rounds)]
    ratios = [a / b for a, b in pairs]
    sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    return Ratio(
        ratio=statistics.median(ratios),
        ratio_range=(min(ratios), max(ratios)),
        rounds=rounds,
        seconds=(statistics.median(sides[0]), statistics.median(sides[1])),
        disturbed=any(max(side) / min(side) > SPREAD for side in sides),
    )


def measure(ref: MethodRef, rounds: int, limits: Ceilings, settings: Settings) -> Measured:
    """One method's figures: rate, parts, operations, share of the ceilings, memory."""
    device, batch_size = settings.device, settings.batch_size
    bed = Bed(ref, settings)
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
    flops_per_frame = counted_flops_per_frame(ref, bed, settings)
    return Measured(
        method=str(ref),
        step_seconds=seconds,
        sequences_per_second=batch_size / seconds,
        parts=bed.parts(rounds),
        flops_per_frame=flops_per_frame,
        share_of_matmul=flops_per_frame * batch_size * bed.n_frames / seconds / limits.flops,
        values_read_back=None if settings.compile or settings.cuda_graph else bed.values_read_back(),
        disturbed=max(times) / min(times) > SPREAD,
        peak_memory_bytes=peak_memory_bytes(device),
        parameters=sum(p.numel() for p in bed.trainer.method.parameters()),
    )


def counted_flops_per_frame(ref: MethodRef, bed: Bed, settings: Settings) -> float:
    """Counted operations a frame; for a GPU they are counted on the CPU, where recurrent layers are counted too."""
    if bed.device.type != "cuda":
        return bed.flops_per_frame()
    counted = dataclasses.replace(_plainly(settings), device=torch.device("cpu"), batch_size=COUNTED)
    return Bed(ref, counted).flops_per_frame()


def _plainly(settings: Settings) -> Settings:
    return dataclasses.replace(settings, precision="float32", compile=False, cuda_graph=False)


def against_plain(
    rounds: int, limits: Ceilings, settings: Settings, *, plain_channels_last: bool = False
) -> AgainstPlain:
    """Our C-DSVAE step against the plain one, alternating, with the shares of the matrix-product rate of both.

    The plain step's weights lie as torch lays them out by default, unless `plain_channels_last`.
    """
    plain = PlainBed(dataclasses.replace(_plainly(settings), channels_last=plain_channels_last))
    ours = Bed(MethodRef("cdsvae"), settings)
    found = alternate(plain.step, ours.step, rounds, settings.device)

    def side(bed: Bed, seconds: float) -> Side:
        flops = bed.flops_per_frame()
        return Side(flops, seconds, flops * settings.batch_size * bed.n_frames / seconds / limits.flops)

    return AgainstPlain(**vars(found), plain=side(plain, found.seconds[0]), ours=side(ours, found.seconds[1]))


def information_against_plain(rounds: int, device: torch.device, batch_size: int) -> Ratio:
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

    return alternate(plain, ours, rounds, device)


def _seconds(work: Callable[[], Any], device: torch.device, clock: Callable[[], float] | None = None) -> float:
    clock = clock or functools.partial(now, device)
    start = clock()
    work()
    return clock() - start


def rows(found: list[Measured]) -> Iterator[str]:
    """The figures as lines for people."""
    for one in found:
        parts = ", ".join(f"{name} {seconds / sum(one.parts.values()):.0%}" for name, seconds in one.parts.items())
        yield (
            f"{one.method:24s} {one.sequences_per_second:8.1f} seq/s  {one.step_seconds * 1e3:8.1f} ms/step  "
            f"{one.flops_per_frame / 1e6:8.1f} MF/frame  {one.share_of_matmul:5.0%} of the matrix-product rate  "
            f"{one.peak_memory_bytes / 2**20:6.0f} MiB  ({parts})"
            + (f"  reads {one.values_read_back} values back" if one.values_read_back else "")
            + ("  disturbed" if one.disturbed else "")
        )
