"""The same small search for every method: seeded trials of a preset's settings, judged on validation clips only.

Trial 0 is the preset as it stands; the others draw each setting of the method's space independently. The test clips are
never read. What is found goes into the method's file by hand, with the command that found it.
"""

from __future__ import annotations

import dataclasses
import math
import random
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import read_json, write_json
from seqdis.bench.core.seeds import derive
from seqdis.bench.plan import catalog, cells
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.records.config import RunConfig, Settings, Source
from seqdis.bench.records.store import CHECKPOINT


@dataclasses.dataclass(frozen=True)
class Trial:
    """One trial: its settings and, once it ran, the best validation score."""

    number: int
    overrides: Settings
    score: float | None = None
    scores: dict[str, float] = dataclasses.field(default_factory=dict)


def trials(ref: MethodRef, count: int) -> list[Trial]:
    """The settings of at most `count` trials of a method, drawn from its class's space; the same on every machine.

    Raises:
        UserError: it declares none.
    """
    space = catalog.load_method(ref).space
    if not space:
        raise UserError(
            f"{ref.name} declares no settings to search; give its class a `space`, such as "
            'space = {"method.lr": (1e-3, 3e-3)} (see docs/add-a-method.md).'
        )
    # As many as there are: a small space is searched whole.
    different = (sum(value not in values[:place] for place, value in enumerate(values)) for values in space.values())
    count = min(count, 1 + math.prod(different))
    drawn = [Trial(0, {})]
    generator = random.Random(derive("tune", ref.name))
    while len(drawn) < count:
        overrides = {key: generator.choice(values) for key, values in space.items()}
        if all(overrides != trial.overrides for trial in drawn):
            drawn.append(Trial(len(drawn), overrides))
    return drawn


def search(
    ref: MethodRef,
    dataset: str,
    *,
    source: Source,
    preset: str,
    count: int,
    out: Path,
    root: Path,
    device: str,
    workers: int,
    fixed: Settings,
) -> list[Trial]:
    """Runs the trials that have no result yet; returns all, best first. Killed ones start again next time.

    Args:
        fixed: settings of every trial, unless it draws them itself.
    """
    jobs = []
    for trial in trials(ref, count):
        cell = cells.plan(
            cells.grid(
                [ref], [dataset], source=source, preset=preset, seeds=[0], overrides={**fixed, **trial.overrides}
            )
        )[0]
        folder = out / "tune" / cell.id
        jobs.append((trial, cell.config, folder))
    waiting = [
        (str(folder), config, str(root), device) for _, config, folder in jobs if not (folder / "trial.json").exists()
    ]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(_run, waiting))
    done = [dataclasses.replace(trial, **read_json(folder / "trial.json")) for trial, _, folder in jobs]
    return sorted(done, key=lambda trial: -(trial.score or 0.0))


def _run(job: tuple[str, RunConfig, str, str]) -> None:
    """One trial in a worker process: trains, writes its best validation score, reads no test clip."""
    import torch

    from seqdis.bench.cell.device import pick_device
    from seqdis.bench.cell.experiment import Experiment

    folder, config, root, device = Path(job[0]), job[1], Path(job[2]), pick_device(job[3])
    torch.set_num_threads(1)
    experiment = Experiment(config, folder=folder, device=device, root=root, report=lambda update: None)
    dataset = experiment.open_data()
    trained = experiment.train(dataset, experiment.open_judge(dataset))
    best = max(trained.state.validation, key=lambda scores: scores["score"])
    write_json(folder / "trial.json", {"score": best["score"], "scores": best})
    (folder / CHECKPOINT).unlink(missing_ok=True)
