"""The ratios that a change of the code must not lower: all measured in one run, and set beside the committed ones.

A ratio is how many times as fast our way is as another that gives the same numbers, the two taking turns. It moves far
less from machine to machine than a time does; on another kind of processor it may still be another. So what is found is
shown beside what was committed (`suite.json`, written by `bench perf --suite --json`), and nothing fails.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import torch

from seqdis.bench.perf import throughput
from seqdis.bench.perf.plain import PlainBed, TorchsBed
from seqdis.bench.perf.testbed import Bed, Settings
from seqdis.bench.perf.throughput import Ratio
from seqdis.bench.plan.catalog import MethodRef

Form = Literal["full", "short"]

COMMITTED = Path(__file__).with_name("suite.json")
ROUNDS: dict[Form, int] = {"full": 15, "short": 5}
"""Pairs of steps of a ratio at the quick scale."""
ROUNDS_AT_FULL_SIZE = 4
METHODS = ("dsvae", "cdsvae", "s3vae", "rwae", "fhvae", "mocogan")
BATCH, LARGE_BATCH, FULL_SIZE_BATCH, INFORMATION_BATCH = 16, 64, 8, 128
NOTABLE = 0.9
"""A ratio below so much of the committed one is pointed at."""


@dataclasses.dataclass(frozen=True)
class Compared:
    """One ratio, and what was committed for it.

    Attributes:
        committed: the ratio and its least and largest; None for a new one.
        lower: whether it is notably below that.
    """

    name: str
    found: Ratio
    committed: tuple[float, float, float] | None
    lower: bool


def measured(device: torch.device, form: Form) -> Iterator[tuple[str, Ratio]]:
    """Each ratio by its name, as soon as it is there."""
    for name, work in works(device, form).items():
        yield name, work()


def works(device: torch.device, form: Form) -> dict[str, Callable[[], Ratio]]:
    """What the suite measures. The short form leaves out full-size nets."""
    rounds = ROUNDS[form]
    quick = Settings(preset="quick", dataset="sprites", batch_size=BATCH, device=device)
    full_size = dataclasses.replace(quick, preset="paper", batch_size=FULL_SIZE_BATCH)

    def layers(method: str, settings: Settings, rounds: int) -> Ratio:
        ref = MethodRef(method)
        return throughput.alternate(TorchsBed(ref, settings).step, Bed(ref, settings).step, rounds, device)

    def plain(settings: Settings, rounds: int) -> Ratio:
        ours = Bed(MethodRef("cdsvae"), settings)
        return throughput.alternate(PlainBed(settings).step, ours.step, rounds, device)

    def in_bfloat16() -> Ratio:
        other = Bed(MethodRef("cdsvae"), dataclasses.replace(quick, precision="bfloat16"))
        return throughput.alternate(Bed(MethodRef("cdsvae"), quick).step, other.step, rounds, device)

    found: dict[str, Callable[[], Ratio]] = {
        f"torch's layers / ours, {method}, quick": lambda method=method: layers(method, quick, rounds)  # type: ignore[misc]
        for method in METHODS
    }
    found["plain step / ours, cdsvae, quick"] = lambda: plain(quick, rounds)
    found["float32 / bfloat16, cdsvae, quick"] = in_bfloat16
    found[f"a clip in {BATCH} / in {LARGE_BATCH}, cdsvae, quick"] = lambda: batches(quick, rounds)
    found[f"plain I(s; z) / ours, batch {INFORMATION_BATCH}"] = lambda: throughput.information_against_plain(
        rounds, device, INFORMATION_BATCH
    )
    if form == "full":
        found["torch's layers / ours, cdsvae, full size"] = lambda: layers("cdsvae", full_size, ROUNDS_AT_FULL_SIZE)
        found["plain step / ours, cdsvae, full size"] = lambda: plain(full_size, ROUNDS_AT_FULL_SIZE)
    return found


def batches(settings: Settings, rounds: int) -> Ratio:
    """So many small batches against one large batch of as many clips."""
    small = Bed(MethodRef("cdsvae"), settings)
    large = Bed(MethodRef("cdsvae"), dataclasses.replace(settings, batch_size=LARGE_BATCH))

    def steps() -> None:
        for _ in range(LARGE_BATCH // settings.batch_size):
            small.step()

    return throughput.alternate(steps, large.step, rounds, settings.device)


def compared(name: str, found: Ratio) -> Compared:
    """A ratio beside the committed one."""
    entry = committed().get(name)
    return Compared(name, found, entry, entry is not None and found.ratio < NOTABLE * entry[0])


def committed() -> dict[str, tuple[float, float, float]]:
    """The committed ratios, each with its least and largest; none before the first was committed."""
    if not COMMITTED.exists():
        return {}
    ratios = json.loads(COMMITTED.read_text())["ratios"]
    return {name: (one["ratio"], *one["ratio_range"]) for name, one in ratios.items()}


def row(one: Compared) -> str:
    """A line for people."""
    low, high = one.found.ratio_range
    text = f"{one.name:44s} {one.found.ratio:6.2f}x ({low:.2f} to {high:.2f})"
    if one.committed is None:
        return f"{text}  new"
    ratio, low, high = one.committed
    return (
        f"{text}  committed {ratio:.2f}x ({low:.2f} to {high:.2f})"
        + ("  LOWER" if one.lower else "")
        + ("  disturbed" if one.found.disturbed else "")
    )
