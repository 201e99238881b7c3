"""The local launcher: a pool of worker processes on this machine, in a time box if the user gives one."""

from __future__ import annotations

from collections.abc import Sequence

from seqdis.bench.launch.pool import Pool, Run
from seqdis.bench.launch.request import Planned, Request
from seqdis.bench.launch.slots import described, slots
from seqdis.bench.launch.timebox import TimeBox
from seqdis.bench.records.config import DataKey, RunConfig
from seqdis.bench.records.store import Store


def make_pool(store: Store, cells: Sequence[Planned], request: Request, started: float | None = None) -> Pool:
    """A pool that is ready to run: data and judges that the cells need are made first.

    Args:
        store: with the cells' folders.
        cells: in the order in which they are started.
        request: where and how they run.
        started: when its budget began to run, on the monotonic clock; now by default.

    Raises:
        MissingDataError: a real data set is not prepared.
    """
    from seqdis.bench.cell.prerequisites import make

    make([cell.config for cell in cells], request.root, request.device)
    places = slots(request.device, request.workers, request.per_device, request.threads)
    print(described(places, request.threads), flush=True)
    pool = Pool(store, [(cell.id, cell.title) for cell in cells], places, request.data_dir)
    if request.budget is not None:
        _give_box(pool, {cell.id: cell.config for cell in cells}, request, request.budget, started)
    return pool


def _give_box(
    pool: Pool, configs: dict[str, RunConfig], request: Request, seconds: float, started: float | None
) -> None:
    """Gives a pool its time box, with estimates that follow what is measured while it runs."""
    from seqdis.bench.cell.data import open_dataset
    from seqdis.bench.cell.device import device_name, pick_device
    from seqdis.bench.perf.estimate import Estimator
    from seqdis.bench.records.record import RECORD, read_record
    from seqdis.bench.records.store import CHECKPOINT

    counted: dict[DataKey, int] = {}

    def n_clips(config: RunConfig) -> int:
        if config.data_key not in counted:
            counted[config.data_key] = len(open_dataset(config, request.root).train)
        return counted[config.data_key]

    estimator = Estimator(pool.store, n_clips=n_clips, device=device_name(pick_device(request.device)))
    pool.box = TimeBox(
        seconds,
        lambda cell_id: estimator.seconds(configs[cell_id], cell_id),
        lambda cell_id: (pool.store.folder(cell_id) / CHECKPOINT).exists(),
        started=started,
    )

    def learn(run: Run) -> None:
        record = read_record(pool.store.folder(run.cell_id) / RECORD)
        estimator.refresh()
        if record.status == "done" and record.attempts == 1:
            spent = record.cost.train_seconds + record.cost.evaluation_seconds
            estimator.started(max(0.0, run.ended - run.started - spent))

    pool.on_done.append(learn)
