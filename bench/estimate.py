"""How long cells will take: from cells that ran in the same folder, else from counted operations. An estimate."""

from __future__ import annotations

import time
from typing import Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.records import NAME, read_record
from seqdis.bench.store import Store

OVERHEAD_SECONDS = 12.0
"""Start-up, evaluation and pictures of a small cell."""
COUNTED = 4
"""Clips of the batch that operations are counted on."""
TYPICAL_CLIPS = 9000
"""Training clips behind an epoch of an unopened data set: those of Sprites."""
EFFICIENCY = 0.35
"""Share of the machine's matrix-product rate that small training steps were seen to reach."""


def seconds_of_cells(configs: list[dict[str, Any]], store: Store) -> list[float]:
    """Seconds of each cell on one worker of this machine."""
    measured = _measured(store)
    rates: dict[str, float] = {}
    counted: dict[str, float] = {}
    seconds = []
    for config in configs:
        row = _row(config)
        if row in measured:
            seconds.append(measured[row])
            continue
        if row not in counted:
            if not rates:
                rates["cpu"] = _matmul_rate()
            counted[row] = _operations(config) / (rates["cpu"] * EFFICIENCY) + OVERHEAD_SECONDS
        seconds.append(counted[row])
    return seconds


def _row(config: dict[str, Any]) -> str:
    cell = config["cell"]
    return "|".join(str(cell[key]) for key in ("dataset", "source", "method", "variant", "preset", "size", "batch"))


def _measured(store: Store) -> dict[str, float]:
    found: dict[str, float] = {}
    for cell_id in store.ids():
        path = store.folder(cell_id) / NAME
        if path.exists():
            try:
                record = read_record(path)
            except UserError:
                continue
            if record["status"] == "done":
                cost = record["cost"]
                found[_row({"cell": record["cell"]})] = cost["train_seconds"] + cost["evaluation_seconds"] + 5
    return found


def _matmul_rate() -> float:
    """Floating-point operations a second of one CPU thread, or of the GPU, in a float32 matrix product."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    n = 4096 if device == "cuda" else 512
    a = torch.randn(n, n, device=device)
    best = float("inf")
    for _ in range(20):  # the best of many short ones: other work on the machine only ever adds time
        started = time.perf_counter()
        float((a @ a)[0, 0])
        best = min(best, time.perf_counter() - started)
    torch.set_num_threads(threads)
    return 2.0 * n**3 / best


def _operations(config: dict[str, Any]) -> float:
    """Operations of all training steps, counted on a batch of four and scaled; 0 for what trains nothing."""
    import torch

    from seqdis.bench import catalog, perf
    from seqdis.bench.catalog import MethodRef
    from seqdis.methods.base import NotForTheseData

    cell, training = config["cell"], config["training"]
    if cell["method"] == catalog.ORACLE:
        return 0.0
    ref = MethodRef(cell["method"], cell["variant"], config["plugin"])
    try:
        bed = perf.Bed(ref, preset=cell["preset"], dataset=cell["dataset"], batch_size=COUNTED,
                       device=torch.device("cpu"), overrides=config["method"])
    except NotForTheseData:
        return 0.0
    steps = training["steps"] or training["epochs"] * (TYPICAL_CLIPS // training["batch_size"])
    return bed.flops_per_frame() * bed.n_frames * training["batch_size"] * steps
