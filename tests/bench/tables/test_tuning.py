"""The page on how settings were found: from studies, and honest where there are none."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from seqdis.bench.core.errors import UserError
from seqdis.bench.plan import catalog
from seqdis.bench.records.tuning import STUDY, Final, Plan, Rung, Standing, Study, Trial, read_study, write
from seqdis.bench.tables.tuning import NONE_YET, page, section, studies_below

ROOT = Path(__file__).resolve().parents[3]
PLAN = Plan(
    method="dsvae",
    variant="",
    dataset="sprites",
    source="real",
    preset="quick",
    title="DSVAE",
    plugin_digest="",
    base="cell-0",
    space={"method.lr": {"low": 1e-3, "high": 1e-2, "scale": "log"}, "method.units": ["sum", "mean"]},
    start={"method.lr": 5e-3, "method.units": "sum"},
    fixed={"training.steps": 400},
    rungs=(100, 200, 400),
    trials=8,
    keep=0.5,
    finalists=2,
    seeds=2,
    sampler="chance",
    seed=0,
)


def standing(*scores: float) -> Standing:
    rungs = (Rung(step=step, score=score, validation={}) for step, score in zip(PLAN.rungs, scores, strict=False))
    return Standing(rungs=tuple(rungs))


def trial(number: int, lr: float, *scores: float, finals: tuple[float, ...] = ()) -> Trial:
    seeds = tuple(
        Final(
            seed=seed,
            cell=f"cell-{number}-{seed}",
            standing=Standing(rungs=(Rung(step=400, score=score, validation={}),)),
        )
        for seed, score in enumerate(finals, start=1)
    )
    settings = {} if number == 0 else {"method.lr": lr, "method.units": "mean"}
    return Trial(
        number=number,
        cell=f"cell-{number}",
        settings=settings,
        places={"method.lr": lr, "method.units": 0 if number == 0 else 1},
        standing=standing(*scores),
        finals=seeds,
    )


TRIALS = (
    trial(0, 5e-3, 0.2, finals=(0.3, 0.4)),
    trial(1, 1e-3, 0.1),
    trial(2, 2e-3, 0.11),
    dataclasses.replace(trial(3, 1e-2), standing=Standing(reason="recon of model is not finite")),
    trial(4, 6e-3, 0.4, 0.5),
    trial(5, 7e-3, 0.5, 0.6),
    trial(6, 8e-3, 0.6, 0.7, 0.8, finals=(0.5, 0.9)),
    trial(7, 9e-3, 0.7, 0.8, 0.9, finals=(0.6, 0.6)),
)
STUDY_OF_EIGHT = Study(name="a-study", plan=PLAN, trials=TRIALS)


def numbers(trials: list[Trial]) -> list[int]:
    return [one.number for one in trials]


def test_halving_keeps_the_best_and_the_mean_of_further_seeds_decides() -> None:
    study = STUDY_OF_EIGHT
    assert PLAN.counts() == [8, 4, 2]
    assert PLAN.total_steps() == 8 * 100 + 4 * 100 + 2 * 200 + 3 * 2 * 400
    assert numbers(study.at(1)) == [7, 6, 5, 4]
    assert numbers(study.at(2)) == [7, 6]
    assert numbers(study.finalists()) == [7, 6, 0]
    assert numbers(study.chosen()) == [6, 7, 0]  # 0.7 over further seeds, though 7 was better on its own


@pytest.mark.parametrize("missing", range(8))
def test_nothing_is_decided_before_all_have_come_to_the_rung(missing: int) -> None:
    waiting = tuple(dataclasses.replace(one, standing=Standing()) if one.number == missing else one for one in TRIALS)
    study = Study(name="a-study", plan=PLAN, trials=waiting)
    assert study.at(1) == study.at(2) == study.finalists() == study.chosen() == []


def test_a_section_has_budget_space_finalists_and_what_was_chosen() -> None:
    text = section(STUDY_OF_EIGHT)
    assert "8 trials (8 to step 100, 4 to step 200, 2 to step 400), then 2 further seeds of the best 2" in text
    assert "4,000 steps in all" in text
    assert "1 trials could not be trained, and count as 0: recon of model is not finite." in text
    assert re.search(r"\| `method.lr` \| 0.001 to 0.01, by factors \| 0.005 \| \+0\.\d\d \| 0\.\d\d \|", text)
    assert "| `method.units` | sum, mean | sum | - | - |" in text
    assert "| 6 | 0.800 | 0.700 | 0.283 | 0.500, 0.900 | `lr=0.008` `units=mean` |" in text
    assert "| 0 | stopped before | 0.350 | 0.071 | 0.300, 0.400 | as before |" in text
    assert text.endswith("Chosen: `--set method.lr=0.008` `--set method.units=mean`\n")


def test_the_correlation_is_of_ranks() -> None:
    """Scores that rise with the rate, but for the one that cannot be trained: of eight ranks, one moves from last to first."""
    whole = Study(name="s", plan=PLAN, trials=tuple(one for one in TRIALS if one.number not in (0, 3)))
    assert "| +1.00 | <0.01 |" in section(whole)


def test_methods_without_a_study_say_so(tmp_path: Path) -> None:
    assert page([]).count(NONE_YET) == len(catalog.ALL_METHODS)
    write(tmp_path / "one" / STUDY, STUDY_OF_EIGHT)
    found = studies_below(tmp_path)
    assert found == [STUDY_OF_EIGHT] == [read_study(tmp_path / "one")]
    assert page(found).count(NONE_YET) == len(catalog.ALL_METHODS) - 1
    assert "The search has not come to its end." in page([dataclasses.replace(found[0], trials=TRIALS[:3])])


def test_a_damaged_study_is_named(tmp_path: Path) -> None:
    (tmp_path / STUDY).write_text('{"schema": 1, "name": "x", "plan": 3}')
    with pytest.raises(UserError, match=r"study.json cannot be used \(plan: must be an object, not 3\)"):
        studies_below(tmp_path)


def test_the_documentation_is_what_the_studies_say() -> None:
    assert (ROOT / "docs" / "tuning.md").read_text() == page(studies_below(ROOT / "results" / "tuning"))
