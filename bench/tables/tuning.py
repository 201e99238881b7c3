"""The page on how settings were found (docs/tuning.md), made from the studies of `bench tune`. No torch."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.rules import Curve
from seqdis.bench.plan import catalog
from seqdis.bench.records.tuning import Plan, Study, Trial, read_study
from seqdis.bench.tables.published import TITLES

NONE_YET = "No tuning runs yet."
FEW = 5
"""Trials below which no correlation is printed."""

INTRODUCTION = """# How settings were found

This page is made from the studies below `results/tuning` by `bench tune --report results/tuning`; each lies there with the
records of its trials. Every method is searched by the same command with the same budget: trials train for the same number of
optimiser steps, are compared at rungs, and the best train on from their checkpoints. The score is that of
`judges/selection.py`, on validation clips only: what each code keeps and leaks, both ways, 0.01 to 1. No test clip is
opened. The best trials, and the settings that were there before, train again from further seeds, since the seed that a
trial was chosen by flatters it; the chosen settings have the best mean over those.

*rho* is Spearman's rank correlation of a setting with the score at the first rung, over all trials, with its p-value: above
0, larger values scored better. It sees trends that go one way only, and nothing of settings that work together; and since
the search goes where scores are high, trials are not spread evenly: a hint where to look, not an effect.
"""


def studies_below(folder: Path) -> list[Study]:
    """The studies in a folder or in the folders in it, by name.

    Raises:
        UserError: the folder does not exist, or a study is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist; name the folder that 'bench tune --pack-to' wrote.")
    found = (read_study(place) for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())))
    return [study for study in found if study is not None]


def page(studies: Sequence[Study]) -> str:
    """The page in Markdown: a section for each study, and for each of our methods that has none."""
    lines = [INTRODUCTION]
    known = {study.plan.method for study in studies}
    for method in (*catalog.ALL_METHODS, *sorted(known - set(catalog.ALL_METHODS))):
        for study in (one for one in studies if one.plan.method == method):
            lines += _study(study)
        if method not in known:
            lines += [f"## {TITLES.get(method, method)}", "", NONE_YET, ""]
    return "\n".join(lines).rstrip() + "\n"


def section(study: Study) -> str:
    """What the page says of one study."""
    return "\n".join(_study(study)).rstrip() + "\n"


def _study(study: Study) -> Iterator[str]:
    plan = study.plan
    yield f"## {plan.title} on {plan.dataset} ({plan.source}), {plan.preset}"
    yield ""
    yield from _budget(study)
    yield ""
    yield from _table(("setting", "searched", "before", "rho", "p"), _settings(study))
    chosen, finalists = study.chosen(), study.finalists()
    if not finalists:
        yield "The search has not come to its end."
        yield ""
        return
    yield from _table(
        ("trial", "its seed 0", f"mean of {plan.seeds} further seeds", "SD", "each", "settings"),
        (_finalist(trial, plan) for trial in chosen or finalists),
    )
    if not chosen:
        yield "The further seeds have not all come to their end."
    elif chosen[0].number == 0:
        yield "Chosen: the settings that were there before; nothing that was searched has a better mean."
    else:
        yield "Chosen: " + " ".join(f"`{_set(key, value)}`" for key, value in chosen[0].settings.items())
    yield ""


def _budget(study: Study) -> Iterator[str]:
    plan, failed = study.plan, [trial for trial in study.trials if trial.standing.reason is not None]
    reached = ", ".join(f"{count} to step {step}" for count, step in zip(plan.counts(), plan.rungs, strict=True))
    yield (
        f"`{study.name}`: {plan.trials} trials ({reached}), then {plan.seeds} further seeds of the best {plan.finalists} "
        f"and of the settings before: {plan.total_steps():,} steps in all. {plan.sampler}, seed {plan.seed}."
    )
    if plan.fixed:
        yield "The same in all trials: " + " ".join(f"`{_set(key, value)}`" for key, value in plan.fixed.items()) + "."
    if failed:
        reasons = sorted({str(trial.standing.reason) for trial in failed})
        yield f"{len(failed)} trials could not be trained, and count as 0: {'; '.join(reasons)}."


def _settings(study: Study) -> Iterator[Sequence[str]]:
    plan, step = study.plan, study.plan.rungs[0]
    ended = [trial for trial in study.trials if trial.standing.at(step) or trial.standing.reason]
    drawn = [trial for trial in ended if trial.places.keys() == plan.space.keys()]
    for key, searched in plan.space.items():
        is_ordered = isinstance(searched, dict) or all(_is_number(value) for value in searched)
        places = [float(trial.places[key]) for trial in drawn] if is_ordered else []
        rho, p = _correlation(places, [trial.score(step) for trial in drawn])
        start = plan.start.get(key)
        yield f"`{key}`", _range(searched), "none" if start is None else _text(start), rho, p


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _correlation(values: Sequence[float], scores: Sequence[float]) -> tuple[str, str]:
    """Spearman's rank correlation and its p-value as texts; dashes where there is none."""
    from scipy.stats import spearmanr

    if len(values) < FEW or len(set(values)) < 2 or len(set(scores)) < 2:
        return "-", "-"
    found = spearmanr(values, scores)
    return f"{found.statistic:+.2f}", f"{found.pvalue:.2f}" if found.pvalue >= 0.005 else "<0.01"


def _finalist(trial: Trial, plan: Plan) -> Sequence[str]:
    rung, scores = trial.standing.at(plan.steps), trial.final_scores(plan.steps)
    settings = " ".join(f"`{key.rpartition('.')[2]}={_text(value)}`" for key, value in trial.settings.items())
    return (
        str(trial.number),
        f"{rung.score:.3f}" if rung else "stopped before",
        f"{statistics.fmean(scores):.3f}" if scores else "-",
        f"{statistics.stdev(scores):.3f}" if len(scores) > 1 else "-",
        ", ".join(f"{score:.3f}" for score in scores) or "-",
        settings or "as before",
    )


def _range(searched: Any) -> str:
    if isinstance(searched, dict):
        return f"{searched['low']:g} to {searched['high']:g}{', by factors' if searched['scale'] == 'log' else ''}"
    return ", ".join(_text(value) for value in searched)


def _text(value: Any) -> str:
    """A value as it is typed; a list of pairs is a schedule."""
    if isinstance(value, list) and value and all(isinstance(point, list) and len(point) == 2 for point in value):
        return f'"{Curve.text(value)}"'
    return f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _set(key: str, value: Any) -> str:
    return f"--set {key}={_text(value)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"
    yield ""
