"""The places for worker processes on this machine: one a GPU, or as many on the CPU as its cores have threads for."""

from __future__ import annotations

import dataclasses
import itertools
import os

from seqdis.bench.core.cores import cell_threads, cores, granted
from seqdis.bench.core.environment import worker_environment


@dataclasses.dataclass
class Slot:
    """A place for one worker: a GPU (by index) or a share of the cores."""

    environment: dict[str, str]
    device: str


def slots(device: str, workers: int | None, per_device: int = 1, threads: int | None = None) -> list[Slot]:
    """The places for workers on this machine.

    Args:
        device: auto, cpu, cuda or cuda:N.
        workers: how many at once; None is `per_device` a GPU, or as many as the cores have threads for.
        per_device: cells side by side on each GPU, where `workers` does not say.
        threads: of each on the CPU; None is OMP_NUM_THREADS, else one, or its share of the cores beside a GPU.
    """
    gpus = _gpus() if device in ("auto", "cuda") else []
    if gpus:
        count = workers or len(gpus) * per_device
        chosen = [gpus[i % len(gpus)] for i in range(count)]
        beside = _beside(count, len(gpus), threads)
        return [Slot({**beside, "CUDA_VISIBLE_DEVICES": gpu}, "cuda") for gpu in chosen]
    if device.startswith("cuda"):
        count = workers or per_device
        return [Slot(_beside(count, 1, threads), device) for _ in range(count)]
    each = cell_threads(threads).count
    return [Slot(worker_environment(each), "cpu") for _ in range(workers or max(1, cores() // each))]


def described(places: list[Slot], threads: int | None) -> str:
    """The places in one line: how many workers, how many threads each, and who decided."""
    each, there = int(places[0].environment["SEQDIS_THREADS"]), granted()
    return (
        f"{_many(len(places), 'worker')} with {_many(each, 'thread')} each ({cell_threads(threads).says}) on "
        f"{_many(there.count, 'core')} ({there.says})"
    )


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}"


def _beside(count: int, n_gpus: int, threads: int | None) -> dict[str, str]:
    """The environment of each of `count` workers on so many GPUs: its share of the cores, and how many share its GPU."""
    each = cell_threads(threads, default=max(1, cores() // count)).count
    return {**worker_environment(each), "SEQDIS_BESIDE": str(-(-count // n_gpus))}


def _gpus() -> list[str]:
    """The GPUs that workers may use, as CUDA_VISIBLE_DEVICES names them: numbers, UUIDs or MIG names.

    CUDA reads that list as far as each entry is a GPU, so -1 or any other word hides those after it. Of several MIG
    names a process sees the first only; each worker gets one of its own.
    """
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not count:
        return [str(index) for index in range(count)]
    names = [name.strip() for name in visible.split(",")]
    slices = list(itertools.takewhile(lambda name: name.startswith("MIG-"), names))
    return slices or names[:count]
