"""The places for worker processes on this machine: one a GPU, or one a CPU core with one thread each."""

from __future__ import annotations

import dataclasses
import itertools
import os

from seqdis.bench.core.environment import cores, worker_environment


@dataclasses.dataclass
class Slot:
    """A place for one worker: a GPU (by index) or a share of the cores."""

    environment: dict[str, str]
    device: str


def slots(device: str, workers: int | None, per_device: int = 1) -> list[Slot]:
    """The places for workers on this machine.

    Args:
        device: auto, cpu, cuda or cuda:N.
        workers: how many at once; None is `per_device` a GPU, or one a CPU core.
        per_device: cells side by side on each GPU, where `workers` does not say.
    """
    n_cores = cores()
    gpus = _gpus() if device in ("auto", "cuda") else []
    if gpus:
        count = workers or len(gpus) * per_device
        chosen = [gpus[i % len(gpus)] for i in range(count)]
        return [Slot({**_beside(count, len(gpus), n_cores), "CUDA_VISIBLE_DEVICES": gpu}, "cuda") for gpu in chosen]
    if device.startswith("cuda"):
        count = workers or per_device
        return [Slot(_beside(count, 1, n_cores), device) for _ in range(count)]
    count = workers or n_cores
    return [Slot(worker_environment(max(1, n_cores // count)), "cpu") for _ in range(count)]


def _beside(count: int, n_gpus: int, n_cores: int) -> dict[str, str]:
    """The environment of each of `count` workers on so many GPUs: its share of the cores, and how many share its GPU."""
    return {**worker_environment(max(1, n_cores // count)), "SEQDIS_BESIDE": str(-(-count // n_gpus))}


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
