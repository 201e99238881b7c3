"""The local launcher: a pool of worker processes on this machine, in a time box if the user gives one."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from seqdis.bench.launch.pool import Pool, Run
from seqdis.bench.launch.timebox import TimeBox


def give_box(
    pool: Pool, configs: dict[str, dict[str, Any]], root: Path, device: str, seconds: float, started: float
) -> None:
    """Gives a pool its time box, with estimates that follow what is measured while it runs.

    Args:
        pool: not yet started.
        configs: resolved, of all its cells, by id.
        root: the data root; data are opened to count their clips.
        device: auto, cpu, cuda or cuda:N.
        seconds: the budget.
        started: when it began to run, on the monotonic clock.
    """
    from seqdis.bench.cell.data import open_dataset
    from seqdis.bench.cell.device import device_name, pick_device
    from seqdis.bench.perf.estimate import Estimator
    from seqdis.bench.records.record import NAME, read_record
    from seqdis.bench.records.store import CHECKPOINT

    @functools.cache
    def opened(key: str) -> int:
        cell, data = json.loads(key)
        return len(open_dataset(cell, root, data).train)

    def n_clips(config: dict[str, Any]) -> int:
        cell = {key: config["cell"][key] for key in ("dataset", "source", "size")}
        return opened(json.dumps([cell, config["data"]]))

    estimator = Estimator(pool.store, n_clips=n_clips, device=device_name(pick_device(device)))
    pool.box = TimeBox(
        seconds,
        lambda cell_id: estimator.seconds(configs[cell_id], cell_id),
        lambda cell_id: (pool.store.folder(cell_id) / CHECKPOINT).exists(),
        started=started,
    )

    def learn(run: Run) -> None:
        record = read_record(pool.store.folder(run.cell_id) / NAME)
        estimator.refresh()
        if record.status == "done" and record.attempts == 1:
            spent = record.cost.train_seconds + record.cost.evaluation_seconds
            estimator.started(max(0.0, run.ended - run.started - spent))

    pool.on_done.append(learn)
