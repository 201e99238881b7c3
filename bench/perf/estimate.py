"""How long cells will take on this machine: from cells that ran here, else from counted operations. An estimate.

What is known best comes first: how far the cell itself has come and how fast, then finished cells of the same row,
then the operations of its steps at the rate that other cells reached here, and last at a share of the rate of a large
matrix product.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable

from seqdis.bench.cell.progress import Progress, read_progress
from seqdis.bench.core.errors import UserError
from seqdis.bench.records.config import RunConfig, Source, config_of
from seqdis.bench.records.record import RECORD, Json, read_raw
from seqdis.bench.records.store import CHECKPOINT, Store

EVALUATION_SECONDS = 8.0
"""Evaluation and pictures of a small cell, until one was measured."""
START_SECONDS = 5.0
"""From a worker's start to its first step, and from its record to its end, until it was measured."""
TYPICAL_CLIPS = 9000
"""Training clips behind an epoch of an unopened data set: those of Sprites."""
EFFICIENCY = {"cpu": 0.35, "cuda": 0.2}
"""Share of the matrix-product rate that training steps reach: seen on CPUs, on GPUs a guess until a cell was measured."""


def seconds_of_cells(configs: list[RunConfig], store: Store) -> list[float]:
    """Seconds of each cell on one worker of this machine."""
    estimator = Estimator(store)
    return [estimator.seconds(config) for config in configs]


@dataclasses.dataclass(frozen=True)
class Speed:
    """What was measured of a cell: steps, the seconds that they took, and those of its evaluation (0 if not yet)."""

    steps: int
    seconds: float
    evaluation: float = 0.0


class Estimator:
    """Estimates from what lies in a store, looked at again with `refresh`.

    Args:
        store: whose cells count as measured.
        n_clips: training clips of a config's data set; without, Sprites' number.
        device: the name of this device, as records have it; what other devices recorded does not count. Empty: all do.
    """

    def __init__(self, store: Store, *, n_clips: Callable[[RunConfig], int] | None = None, device: str = "") -> None:
        self.store, self.n_clips, self.device = store, n_clips, device
        self.start_seconds = START_SECONDS
        self._starts: list[float] = []
        self._read: set[str] = set()
        self._rows: dict[str, Speed] = {}
        self._configs: dict[str, RunConfig] = {}
        self._counted: dict[str, tuple[float, int]] = {}
        self._matmul: dict[str, float] = {}
        self.refresh()

    def refresh(self) -> None:
        """Reads the records that have come since."""
        for cell_id in self.store.ids():
            path = self.store.folder(cell_id) / RECORD
            if cell_id in self._read or not path.exists():
                continue
            self._read.add(cell_id)
            with contextlib.suppress(UserError, KeyError, TypeError, ValueError):
                self._take(read_raw(path))

    def _take(self, record: Json) -> None:
        if record["status"] != "done" or (self.device and record["environment"]["device"] != self.device):
            return
        config = config_of(record)
        row, cost = _row(config), record["cost"]
        self._rows[row] = Speed(record["training"]["steps"], cost["train_seconds"], cost["evaluation_seconds"])
        self._configs[row] = config

    def started(self, seconds: float) -> None:
        """Notes what a whole run took beside training and evaluation."""
        self._starts.append(seconds)
        self.start_seconds = statistics.median(self._starts)

    def seconds(self, config: RunConfig, cell_id: str = "") -> float:
        """Seconds until the cell's record is there, its start included; what its checkpoint holds is not counted.

        Args:
            config: resolved.
            cell_id: to see how far it has come; empty for a cell that has not begun.
        """
        row, at = _row(config), self._progress(cell_id)
        finished = self._rows.get(row)
        rest = self.start_seconds + (finished.evaluation if finished else self._evaluation(config))
        if at is not None:
            return rest + max(0, at.steps - at.step) * at.seconds / at.step
        if finished is not None:
            planned = self._steps(config) if config.training.steps else finished.steps
            return rest + finished.seconds * (planned / max(finished.steps, 1) if finished.steps else 1.0)
        operations, steps = self._operations(config)
        return rest + operations * steps / self._rate(config.training.precision) if operations else rest

    def rest(self, config: RunConfig, cell_id: str, since: float) -> float | None:
        """Seconds that a running cell still takes; None before it trains.

        Args:
            since: when it was started, in seconds of the clock.
        """
        at = read_progress(self.store.folder(cell_id), since=since - 1)
        finished = self._rows.get(_row(config))
        evaluation = finished.evaluation if finished else self._evaluation(config)
        if at.phase == "judge":
            return evaluation
        return evaluation + at.seconds_left if at.phase == "train" and at.seconds_left is not None else None

    def _progress(self, cell_id: str) -> Progress | None:
        """How far a cell's checkpoint has come, if it has one."""
        folder = self.store.folder(cell_id) if cell_id else None
        if folder is None or not (folder / CHECKPOINT).exists():
            return None
        at = read_progress(folder)
        with contextlib.suppress(TypeError):  # numbers that are none, of a damaged file
            return at if min(at.step, at.steps, at.seconds) > 0 else None
        return None

    def _evaluation(self, config: RunConfig) -> float:
        """Evaluation seconds of cells of the same data and preset, else a small cell's."""
        same = [speed.evaluation for row, speed in self._rows.items() if _scale(self._configs[row]) == _scale(config)]
        return statistics.median(same) if same else EVALUATION_SECONDS

    def _rate(self, precision: str) -> float:
        """Operations a second: what measured cells of this precision reached, else a share of the matrix-product rate."""
        reached = []
        for row, speed in self._rows.items():
            if speed.steps and speed.seconds > 0 and self._configs[row].training.precision == precision:
                with contextlib.suppress(UserError):
                    operations, _ = self._operations(self._configs[row])
                    reached += [operations * speed.steps / speed.seconds] if operations else []
        if reached:
            return statistics.median(reached)
        if precision not in self._matmul:
            self._matmul[precision] = _matmul_rate(precision)
        return self._matmul[precision]

    def _operations(self, config: RunConfig) -> tuple[float, int]:
        row = _row(config)
        if row not in self._counted:
            self._counted[row] = operations(config, self._clips(config))
        return self._counted[row]

    def _clips(self, config: RunConfig) -> int:
        return TYPICAL_CLIPS if self.n_clips is None else self.n_clips(config)

    def _steps(self, config: RunConfig) -> int:
        return int(config.training.steps) or self._operations(config)[1]


def _row(config: RunConfig) -> str:
    # Batch and steps come from the training settings, which overrides may change.
    cell, training = config.cell, config.training
    return "|".join(
        [
            *(str(one) for one in (cell.dataset, cell.source, cell.method, cell.variant, cell.preset, cell.size)),
            str(training.batch_size),
            training.precision,
            str(config.method),
        ]
    )


def _scale(config: RunConfig) -> tuple[str, Source, str, int]:
    return config.cell.dataset, config.cell.source, config.cell.preset, config.cell.size


def _matmul_rate(precision: str) -> float:
    """Operations a second that training may reach on one CPU thread, or on the GPU: a share of a matrix product's."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads, before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    if device == "cuda":
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    n = 4096 if device == "cuda" else 512
    dtype = torch.bfloat16 if precision == "bfloat16" and device == "cuda" else torch.float32
    a = torch.randn(n, n, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(20):  # the best of many short ones: other work on the machine only ever adds time
        started = time.perf_counter()
        float((a @ a)[0, 0])
        best = min(best, time.perf_counter() - started)
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(before)
    return 2.0 * n**3 / best * EFFICIENCY[device]


def operations(config: RunConfig, n_clips: int) -> tuple[float, int]:
    """Operations of a training step, counted on a small batch and scaled, and the number of steps.

    Args:
        config: resolved.
        n_clips: training clips of its data set.

    Returns:
        Both are 0 for what trains nothing.
    """
    import torch

    from seqdis.bench.cell.build import NotApplicable, check_applicable
    from seqdis.bench.perf.testbed import COUNTED, Bed, Settings
    from seqdis.bench.plan import catalog
    from seqdis.bench.plan.catalog import MethodRef

    cell, training = config.cell, config.training
    if cell.method == catalog.ORACLE:
        return 0.0, 0
    settings = Settings(
        preset=cell.preset,
        dataset=cell.dataset,
        source=cell.source,
        size=cell.size,
        data=config.data,
        batch_size=COUNTED,
        device=torch.device("cpu"),
        overrides=config.method,
    )
    try:
        bed = Bed(MethodRef(cell.method, cell.variant, config.plugin), settings)
        check_applicable(type(bed.trainer.method), bed.trainer.method.config, bed.spec)
    except NotApplicable:
        return 0.0, 0
    # A method that trains on windows sees each clip once a window.
    clips = n_clips * max(1, bed.spec.n_frames // bed.n_frames)
    steps = training.steps or training.epochs * max(1, clips // training.batch_size)
    return bed.flops_per_frame() * bed.n_frames * training.batch_size, steps
