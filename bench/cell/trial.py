"""A trial of a search: trained from rung to rung, scored on validation clips; no test clip is opened."""

from __future__ import annotations

import torch

from seqdis.bench.cell.build import NotApplicable
from seqdis.bench.cell.checkpoint import State
from seqdis.bench.cell.experiment import Experiment
from seqdis.bench.cell.progress import Update
from seqdis.bench.cell.report import cost_part, training_part, trial_record
from seqdis.bench.cell.trainer import Diverged
from seqdis.bench.records.record import Record
from seqdis.bench.records.tuning import STANDING, Assignment, Rung, Standing, read_standing, write


def run_trial(experiment: Experiment, assignment: Assignment) -> Record | None:
    """Trains the cell of an experiment to the step that it is assigned and writes its standing.

    Settings that cannot be trained (their loss is not finite, or the method refuses them) end the trial with the reason.

    Returns:
        Its record, once it has trained to the end; None before.

    Raises:
        Interrupted: asked to stop; the state is saved.
        UserError, MissingDataError: as `Experiment.record`.
    """
    experiment.report(Update("data"))
    dataset = experiment.open_data()
    dataset.test = dataset.test.subset(torch.zeros(0, dtype=torch.long))
    judge = experiment.open_judge(dataset)
    tuning, path = assignment.tuning, experiment.folder / STANDING
    try:
        trained = experiment.train(dataset, judge, until=assignment.until)
    except (Diverged, NotApplicable, ValueError) as error:
        write(path, Standing(rungs=read_standing(experiment.folder).rungs, reason=str(error)[:500]))
        return None
    write(path, Standing(rungs=reached(trained.state, tuning.rungs)))
    if not trained.state.finished:
        return None
    return trial_record(
        experiment.config,
        trained.method,
        dataset,
        judge,
        tuning=tuning,
        training=training_part(trained.state, planned_steps=trained.n_steps, batch_size=trained.batch_size),
        cost=cost_part(
            trained.method,
            trained.state,
            batch_size=trained.batch_size,
            evaluation_seconds=0.0,
            gpu_memory_bytes=torch.cuda.max_memory_allocated(experiment.device)
            if experiment.device.type == "cuda"
            else 0,
            energy_joules=trained.energy_joules,
            device=experiment.device,
        ),
        device=experiment.device,
        notes=experiment.notes,
        warnings=trained.warnings,
    )


def reached(state: State, rungs: tuple[int, ...]) -> tuple[Rung, ...]:
    """The rungs that training has reached, each with the best validation up to it.

    A method whose own rule ended training early stands at all of them.
    """
    found = []
    for step in rungs:
        rows = [row for row in state.validation if row["step"] <= step]
        if rows and (state.step >= step or state.finished):
            best = max(rows, key=lambda row: row["score"])
            found.append(Rung(step=step, score=best["score"], validation=dict(best)))
    return tuple(found)
