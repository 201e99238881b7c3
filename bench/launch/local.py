"""The local launcher: a pool of worker processes on this machine, in a time box if the user gives one."""

from __future__ import annotations

from collections.abc import Sequence

from seqdis.bench.launch.forecast import Forecast
from seqdis.bench.launch.pool import Pool
from seqdis.bench.launch.request import Planned, Request
from seqdis.bench.launch.slots import described, slots
from seqdis.bench.launch.timebox import TimeBox
from seqdis.bench.records.store import CHECKPOINT, Store


def make_pool(store: Store, cells: Sequence[Planned], request: Request, started: float | None = None) -> Pool:
    """A pool that is ready to run: data and judges that the cells need are made first.

    Args:
        store: with the cells' folders.
        cells: the first of them are started in this order, in a time box all.
        request: where and how they run.
        started: when its budget began to run, on the monotonic clock; now by default.

    Raises:
        MissingDataError: a real data set is not prepared.
    """
    from seqdis.bench.cell.prerequisites import make

    make([cell.config for cell in cells], request.root, request.device)
    places = slots(request.device, request.workers, request.per_device, request.threads)
    print(described(places, request.threads), flush=True)
    forecast = Forecast(store, {cell.id: cell.config for cell in cells}, request)
    pool = Pool(store, [(cell.id, cell.title) for cell in cells], places, request.data_dir, forecast=forecast)
    if request.budget is not None:
        pool.box = TimeBox(
            request.budget,
            forecast.seconds,
            lambda cell_id: (store.folder(cell_id) / CHECKPOINT).exists(),
            started=started,
        )
    return pool
