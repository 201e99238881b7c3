"""The same search for every method: trials of equal cost, halved from rung to rung, the best with further seeds.

Every trial trains to the first rung. The best of them, half by default, go on from their checkpoints to the next, and so
on to the whole length; the best five and the settings as they were before then train anew from further seeds, since the
seed that a trial was chosen by flatters it. The schedules of training (the rate, the capacity of codes) are those of the
whole length from the start: a rung must not lie where they have only begun, and the first is half of the length.

What comes next follows from what lies in the study's folder, so that a search goes on after any end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from seqdis.bench.core import schema
from seqdis.bench.core.environment import worker_environment
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.lease import is_gone, process_identity, read_lease
from seqdis.bench.core.seeds import derive
from seqdis.bench.launch import sampler
from seqdis.bench.launch.pool import Pool, Run
from seqdis.bench.launch.slots import slots
from seqdis.bench.plan import catalog, cells, space
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.plan.cells import Planned
from seqdis.bench.records.config import Settings, Source
from seqdis.bench.records.store import CHECKPOINT, Store
from seqdis.bench.records.tuning import (
    STUDY,
    TRIAL,
    Assignment,
    Final,
    Plan,
    Study,
    Trial,
    Tuning,
    has_ended,
    read_standing,
    read_study,
    write,
)

FOLDER = "tuning"
RUNGS = (0.5, 0.75, 1.0)
"""Of the whole length, where no steps are given."""
REDRAWS = 30
"""How often a draw that was tried before, or that the configuration refuses, is drawn again."""
STEPS = "training.steps"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a search is to be, as the user says it.

    Attributes:
        trials: how many, the settings as they are among them.
        rungs: steps; empty for halves and quarters of the preset's.
        keep: share of the trials of a rung that goes on.
        finalists: trials that are trained from further seeds.
        seeds: of those.
        seed: of the sampler; the seed of every trial but the further ones is 0.
        fixed: settings of every trial, which are not searched then.
    """

    trials: int = 40
    rungs: tuple[int, ...] = ()
    keep: float = 0.5
    finalists: int = 5
    seeds: int = 3
    seed: int = 0
    fixed: Settings = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Job:
    """A trial that is to train to a step."""

    planned: Planned
    title: str
    assignment: Assignment


class Search:
    """The search of one method on one data set at one scale.

    Args:
        ref: the method, its own space.
        out: the output folder; the study lies below it.
        name: of the study; empty for one that says what is searched.

    Raises:
        UserError: nothing to search, a wrong wish, or another search of that name.
    """

    def __init__(
        self, ref: MethodRef, dataset: str, *, source: Source, preset: str, wishes: Wishes, out: Path, name: str = ""
    ) -> None:
        self.ref, self.dataset, self.source, self.preset = ref, dataset, source, preset
        self.searched = space.dimensions(catalog.load_method(ref))
        self.fixed = dict(wishes.fixed)
        self.base = self._planned({}, 0)
        given = {key.rpartition(".")[2] for key in self.fixed}
        self.searched = [one for one in self.searched if one.key.rpartition(".")[2] not in given]
        if not self.searched:
            raise UserError("every setting of the space is given with --set, so that nothing is left to search.")
        steps = wishes.rungs[-1] if wishes.rungs else self.base.config.training.steps
        if not steps:
            raise UserError(
                f"the {preset} preset counts epochs of this method: say the steps at which trials are compared, such as "
                "--rungs 1000,1500,2000."
            )
        if steps != self.base.config.training.steps:
            self.fixed[STEPS] = steps
            self.base = self._planned({}, 0)
        if any(one.key in (STEPS, "training.epochs") for one in self.searched):
            raise UserError("the space has the number of steps, but all trials are to cost the same; take it out.")
        cell = self.base.config.cell
        self.plan = Plan(
            method=cell.method,
            variant=cell.variant,
            dataset=dataset,
            source=source,
            preset=preset,
            title=catalog.load_method(ref).variant_title(ref.variant),
            plugin_digest=self.base.config.plugin_digest,
            base=self.base.id,
            space={one.key: one.to_json() for one in self.searched},
            start=space.present(self.searched, self.base.config),
            fixed=self.fixed,
            rungs=_rungs(wishes.rungs, steps),
            trials=self._count(wishes.trials),
            keep=wishes.keep,
            finalists=wishes.finalists,
            seeds=wishes.seeds,
            sampler=sampler.NAME,
            seed=wishes.seed,
        )
        self.name = name or "-".join(filter(None, (dataset, source[:5], cell.method, cell.variant, preset)))
        self.folder = out / FOLDER / self.name
        self.store = Store(self.folder)
        self._assigned: dict[str, int] = {}
        self.study = self._found()

    def _found(self) -> Study:
        """The study as it lies in the folder, or a new one.

        Raises:
            UserError: it is of another plan.
        """
        found = read_study(self.folder)
        if found is not None and found.plan != self.plan:
            raise UserError(f"{self.folder} is another search ({_difference(found.plan, self.plan)}); choose a --name.")
        return found or Study(name=self.name, plan=self.plan)

    def _count(self, wished: int) -> int:
        """As many trials as there are settings: a small space is searched whole."""
        size = space.size(self.searched)
        return wished if size is None else min(wished, size + (self._present() is None))

    def _planned(self, settings: Settings, seed: int) -> Planned:
        overrides = {**self.fixed, **settings}
        return cells.plan(
            cells.grid(
                [self.ref], [self.dataset], source=self.source, preset=self.preset, seeds=[seed], overrides=overrides
            )
        )[0]

    def _present(self) -> sampler.Places | None:
        """Where the settings as they are lie in the space; None where some lie outside."""
        values = space.present(self.searched, self.base.config)
        found = {one.key: one.place(values[one.key]) for one in self.searched}
        places = {key: place for key, place in found.items() if place is not None}
        return places if len(places) == len(found) else None

    def refresh(self) -> None:
        """Reads how far the trials have come, and writes the study where that is new; only for who holds its lease."""
        trials = tuple(
            dataclasses.replace(
                trial,
                standing=read_standing(self.store.folder(trial.cell)),
                finals=tuple(
                    dataclasses.replace(final, standing=read_standing(self.store.folder(final.cell)))
                    for final in trial.finals
                ),
            )
            for trial in self.study.trials
        )
        if trials != self.study.trials:
            self._keep(trials)
            self._sweep()

    def _keep(self, trials: Iterable[Trial]) -> None:
        self.study = dataclasses.replace(self.study, trials=tuple(trials))
        write(self.folder / STUDY, self.study)

    def is_done(self, cell: str) -> bool:
        """Whether a trial has come to where it was sent."""
        until = self._assigned.get(cell, self.plan.steps)
        return has_ended(read_standing(self.store.folder(cell)), until)

    def pool(self, *, device: str, workers: int | None, data_dir: Path | None) -> Pool:
        """A pool that runs the search to its end; no further trials begin once one has failed."""
        places = slots(device, workers)
        for place in places:
            if place.device == "cpu":
                place.environment = worker_environment(1)  # however many at once, the same numbers
        pool = Pool(self.store, [], places, data_dir, self.is_done)

        def feed(run: Run | None = None) -> None:
            self.refresh()
            while sum(run.state in ("queued", "running") for run in pool.runs) < len(places) and not any(
                run.state in ("failed", "waiting") for run in pool.runs
            ):
                busy = {run.cell_id for run in pool.runs if run.state in ("queued", "running")}
                job = self.next_job(busy)
                if job is None:
                    return
                self.send(job)
                pool.runs.append(Run(job.planned.id, job.title))

        pool.on_done.append(feed)
        feed()
        return pool

    def send(self, job: Job) -> None:
        """Makes the folder of a job, and says there how far it is to train."""
        folder = self.store.add(job.planned.id, job.planned.config)
        write(folder / TRIAL, job.assignment)
        self._assigned[job.planned.id] = job.assignment.until

    def next_job(self, busy: set[str]) -> Job | None:
        """What can begin now; None while all that comes next waits for what is running, or nothing is left.

        Args:
            busy: cells that are queued or running.
        """
        for rung, step in enumerate(self.plan.rungs):
            for trial in self.study.at(rung):
                if not has_ended(trial.standing, step) and trial.cell not in busy:
                    title = f"trial {trial.number} to step {step}"
                    return Job(self._planned(trial.settings, 0), title, self._assignment(trial, step, "search"))
            if rung == 0 and len(self.study.trials) < self.plan.trials:
                trial = self._next_trial()
                self._keep((*self.study.trials, trial))
                return self.next_job(busy)
        for trial, final in self._finals():
            if not has_ended(final.standing, self.plan.steps) and final.cell not in busy:
                title = f"trial {trial.number}, seed {final.seed}"
                assignment = self._assignment(trial, self.plan.steps, "final")
                return Job(self._planned(trial.settings, final.seed), title, assignment)
        return None

    def _assignment(self, trial: Trial, until: int, stage: str) -> Assignment:
        tuning = Tuning(
            study=self.name,
            trial=trial.number,
            stage="final" if stage == "final" else "search",
            rungs=self.plan.rungs,
            sampler=self.plan.sampler,
            seed=self.plan.seed,
        )
        return Assignment(tuning=tuning, until=until)

    def _finals(self) -> Iterator[tuple[Trial, Final]]:
        """Each finalist's further seeds, all of the first seed before the next."""
        chosen = [trial.number for trial in self.study.finalists()]
        seeds = range(1, self.plan.seeds + 1)
        if any(not trial.finals for trial in self.study.trials if trial.number in chosen) and self.plan.seeds:
            self._keep(
                dataclasses.replace(
                    trial,
                    finals=tuple(Final(seed=seed, cell=self._planned(trial.settings, seed).id) for seed in seeds),
                )
                if trial.number in chosen
                else trial
                for trial in self.study.trials
            )
        for place in range(self.plan.seeds):
            yield from ((trial, trial.finals[place]) for trial in self.study.trials if trial.number in chosen)

    def _next_trial(self) -> Trial:
        """The next trial: the first has the settings as they are, the others those that the sampler draws.

        Raises:
            UserError: the configuration refuses nearly all that the space holds.
        """
        number = len(self.study.trials)
        if number == 0:
            return Trial(number=0, cell=self.base.id, settings={}, places=dict(self._present() or {}))
        tried, refused = {trial.cell for trial in self.study.trials}, ""
        present = self._present()
        for places in self._candidates(number):
            if places == present:
                continue
            settings = space.settings(self.searched, places)
            try:
                planned = self._planned(settings, 0)
            except UserError as error:  # settings that do not go together
                refused = str(error)
                continue
            if planned.id not in tried:
                return Trial(number=number, cell=planned.id, settings=settings, places=dict(places))
        raise UserError(f"no further settings of the space can be drawn{refused and f': {refused}'}")

    def _candidates(self, number: int) -> Iterator[sampler.Places]:
        """Draws for a trial; of a space without ranges at last all that there is, in order."""
        first = self.plan.rungs[0]
        known = [(t.places, t.score(first)) for t in self.study.trials if t.places and has_ended(t.standing, first)]
        running = [t.places for t in self.study.trials if t.places and not has_ended(t.standing, first)]
        for attempt in range(REDRAWS):
            seed = derive("tune", self.plan.seed, number, attempt) % 2**32
            yield sampler.draw(self.searched, known, running, seed)
        if space.size(self.searched) is not None:
            keys = [one.key for one in self.searched]
            whole = (range(len(one.values)) or range(int(one.low), int(one.high) + 1) for one in self.searched)
            yield from (dict(zip(keys, places, strict=True)) for places in itertools.product(*whole))

    def _sweep(self) -> None:
        """Takes away the checkpoints of trials that will not go on."""
        for rung, step in enumerate(self.plan.rungs[:-1]):
            onward = {trial.number for trial in self.study.at(rung + 1)}
            for trial in self.study.at(rung) if onward else ():
                if trial.number not in onward and has_ended(trial.standing, step):
                    (self.store.folder(trial.cell) / CHECKPOINT).unlink(missing_ok=True)

    def take_over(self, say: Callable[[str], None], seconds: float = 1.0) -> None:
        """Reads the study anew, for who has just got its lease.

        Waits for trials that a search which was killed has left running here: they end at their rung.
        """
        self.study, told = self._found(), False
        cells = [cell for trial in self.study.trials for cell in (trial.cell, *(one.cell for one in trial.finals))]
        while count := sum(_is_running_here(self.store.folder(cell)) for cell in cells):
            if not told:
                say(f"{count} trials of an earlier run are still training: waiting for their rung")
            told = True
            time.sleep(seconds)
        self.refresh()


def _is_running_here(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        seen = read_lease(folder)
        if seen is not None and not is_gone(seen[0]):
            ours, theirs = process_identity(os.getpid()) or [], seen[0].get("process") or []
            return ours[:2] == theirs[:2]
    return False


def _rungs(wished: tuple[int, ...], steps: int) -> tuple[int, ...]:
    """The steps of the rungs.

    Raises:
        UserError: they do not rise.
    """
    rungs = wished or tuple(dict.fromkeys(max(1, round(share * steps)) for share in RUNGS))
    if rungs[0] < 1 or any(later <= earlier for earlier, later in itertools.pairwise(rungs)):
        raise UserError(f"--rungs {','.join(map(str, rungs))} must rise, from 1 or more, such as 500,1000,2000.")
    return rungs


def _difference(found: Plan, wished: Plan) -> str:
    """What two plans differ in, in words."""
    one, other = schema.to_json(found), schema.to_json(wished)
    names = [key for key in one if one[key] != other[key]]
    return f"its {', '.join(names)} {'differs' if len(names) == 1 else 'differ'}"
