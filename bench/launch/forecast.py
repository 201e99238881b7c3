"""How long the cells of a pool will take: from what is measured while they run, and which of them to start next."""

from __future__ import annotations

import functools
import heapq
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from seqdis.bench.core.errors import UserError
from seqdis.bench.launch.request import Request
from seqdis.bench.records.config import DataKey, RunConfig
from seqdis.bench.records.record import RECORD, read_record
from seqdis.bench.records.store import Store

if TYPE_CHECKING:
    from seqdis.bench.perf.estimate import Estimator


class Started(Protocol):
    """A cell of a pool; what matters of `started` and `ended` are seconds of the clock, 0 before."""

    @property
    def cell_id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def started(self) -> float: ...
    @property
    def ended(self) -> float: ...


StartedT = TypeVar("StartedT", bound=Started)


class Forecast:
    """Estimates of a pool's cells.

    Args:
        store: with their folders.
        configs: resolved, by cell id.
        request: where they run.
    """

    def __init__(self, store: Store, configs: Mapping[str, RunConfig], request: Request) -> None:
        self.store, self.configs, self.request = store, configs, request
        self._clips: dict[DataKey, int] = {}

    @functools.cached_property
    def estimator(self) -> Estimator:
        """Made when it is first asked: it reads all records of the store, and the first cells need not wait for that."""
        from seqdis.bench.cell.device import device_name, pick_device
        from seqdis.bench.perf.estimate import Estimator

        return Estimator(self.store, n_clips=self._n_clips, device=device_name(pick_device(self.request.device)))

    def _n_clips(self, config: RunConfig) -> int:
        from seqdis.bench.cell.data import open_dataset

        if config.data_key not in self._clips:
            self._clips[config.data_key] = len(open_dataset(config, self.request.root).train)
        return self._clips[config.data_key]

    def learn(self, run: Started) -> None:
        """Takes what a cell that is done says of its speed."""
        try:
            record = read_record(self.store.folder(run.cell_id) / RECORD)
        except UserError:  # one that a method of the user's has written over
            return
        self.estimator.refresh()
        if record.status == "done" and record.attempts == 1:
            spent = record.cost.train_seconds + record.cost.evaluation_seconds
            self.estimator.started(max(0.0, run.ended - run.started - spent))

    def seconds(self, cell_id: str) -> float:
        """Of a cell that is not running, until its record is there.

        Raises:
            UserError: its method or data cannot be loaded.
        """
        return self.estimator.seconds(self.configs[cell_id], cell_id)

    def next(self, waiting: Sequence[StartedT]) -> StartedT:
        """Of the first seed that waits the longest cell: what is long and last keeps one core busy and the others idle.

        A plug-in's cell is not built here to be estimated, and keeps its place before the others.
        """
        first = min(self.configs[run.cell_id].cell.seed for run in waiting)
        return max((run for run in waiting if self.configs[run.cell_id].cell.seed == first), key=self._length)

    def _length(self, run: Started) -> float:
        if self.configs[run.cell_id].plugin:
            return math.inf
        try:
            return self.seconds(run.cell_id)
        except UserError:  # its own process will say so
            return math.inf

    def left(self, runs: Sequence[Started], n_places: int) -> float | None:
        """Seconds until all have ended, longest first; None where a plug-in's cell, not yet measured, is among them."""
        places = [self._rest(run) for run in runs if run.state == "running"]
        lengths = sorted((self._length(run) for run in runs if run.state == "queued"), reverse=True)
        places += [0.0] * (n_places - len(places))
        heapq.heapify(places)
        for length in lengths:
            heapq.heappush(places, heapq.heappop(places) + length)
        return max(places) if math.isfinite(max(places)) else None

    def _rest(self, run: Started) -> float:
        rest = self.estimator.rest(self.configs[run.cell_id], run.cell_id, run.started)
        return max(0.0, self._length(run) - (time.time() - run.started)) if rest is None else rest
