"""How long cells will take: from cells that ran in the same folder, else from counted operations. An estimate."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.records import NAME, read_record
from seqdis.bench.store import Store

OVERHEAD_SECONDS = 12.0
"""Start-up, evaluation and pictures of a small cell."""
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
    n = 4096 if device == "cuda" else 1024
    a = torch.randn(n, n, device=device)
    a @ a
    started = time.perf_counter()
    float((a @ a).sum())
    rate = 2.0 * n**3 / (time.perf_counter() - started)
    torch.set_num_threads(threads)
    return rate


def _operations(config: dict[str, Any]) -> float:
    """Operations of all training steps, counted on a batch of two and scaled; 0 for what trains nothing."""
    import torch
    from seqdis.bench import catalog
    from seqdis.bench.catalog import MethodRef
    from seqdis.methods.base import Batch, Context, NotForTheseData, Shape, SignalShape
    from torch.utils.flop_counter import FlopCounterMode

    cell = config["cell"]
    if cell["method"] == catalog.ORACLE:
        return 0.0
    method_class = catalog.load_method(MethodRef(cell["method"], cell["variant"], config["plugin"]))
    kinds = {field.name: field for field in dataclasses.fields(method_class.Config)}
    settings = {key: tuple(value) if isinstance(value, list) else value
                for key, value in config["method"].items() if key in kinds}
    method_config = method_class.Config(**settings)
    channels = 1 if "mnist" in cell["dataset"] else 3
    frame = (80,) if cell["dataset"] == "timit" else (channels, cell["size"], cell["size"])
    n_frames = {"sprites": 8, "timit": 20}.get(cell["dataset"], 15)
    shape = Shape(frame=frame, n_frames=n_frames, n_train=4000, n_sequences=2000, n_motions=9,
                  signal=SignalShape(dim=9, kind="multilabel"))
    try:
        method = method_class(method_config, shape)
    except NotForTheseData:
        return 0.0
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, n_frames, *frame, generator=generator)
    batch = Batch(x=x, index=torch.arange(2), sequence=torch.arange(2), n_segments=torch.full((2,), 2),
                  content_view=torch.arange(n_frames).expand(2, -1), motion_view=x,
                  signal=torch.zeros(2, n_frames, 9), motion_labels=torch.zeros(2, dtype=torch.long))
    ctx = Context(n_train=4000, step=0, epoch=0, n_steps=1, generator=generator)
    with FlopCounterMode(display=False) as counter:
        for player in method.players:
            method.loss(batch, player, ctx)["total"].backward(inputs=method.player_parameters(player))
    training = config["training"]
    steps = training["steps"] or training["epochs"] * (9000 // training["batch_size"])
    return float(counter.get_total_flops()) / 2 * training["batch_size"] * steps
