"""A time-boxed pool: whole cells first, and everything saved and ended in time.

    started ......................... stop_at ........ kill_at .. end
      whole cells, then what is left     save, exit      tables

A cell is started only if it is estimated to end before `stop_at`. If none of those that wait fits and a place is free,
the first one that has a checkpoint (else the first) trains on, unless the time left is not worth a start. At `stop_at`
running cells are told to save and end; one that is being judged may use the time until `kill_at`, when whatever still
runs is killed: the checkpoint of its last minute stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Waiting(Protocol):
    """A cell in the queue."""

    @property
    def cell_id(self) -> str: ...


WaitingT = TypeVar("WaitingT", bound=Waiting)


class TimeBox:
    """When a pool starts, saves and ends.

    Args:
        seconds: the budget.
        left: estimated seconds until a cell's record is there, by id.
        has_begun: whether a cell has a checkpoint, by id.
        started: when the budget began to run, on the monotonic clock; now by default.
        clock: the monotonic clock.
    """

    def __init__(
        self,
        seconds: float,
        left: Callable[[str], float],
        has_begun: Callable[[str], bool],
        *,
        started: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds, self.left, self.has_begun, self.clock = seconds, left, has_begun, clock
        started = clock() if started is None else started
        self.kill_at = started + seconds - min(8.0, 0.1 * seconds)
        # A step, a validation and the checkpoint must fit between the two.
        self.stop_at = self.kill_at - min(20.0, 0.1 * seconds)
        self.worth = min(30.0, 0.1 * seconds)

    @property
    def is_over(self) -> bool:
        """Whether running cells are to save now."""
        return self.clock() >= self.stop_at

    @property
    def must_kill(self) -> bool:
        """Whether what still runs has had its time."""
        return self.clock() >= self.kill_at

    def choose(self, waiting: Sequence[WaitingT]) -> WaitingT | None:
        """Which cell to start now; None starts none.

        Args:
            waiting: in order of priority.
        """
        room = self.stop_at - self.clock()
        if room <= 0 or not waiting:
            return None
        for one in waiting:
            if self.left(one.cell_id) <= room:
                return one
        if room < self.worth:
            return None
        return next((one for one in waiting if self.has_begun(one.cell_id)), waiting[0])
