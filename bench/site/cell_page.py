"""A record as its page shows it: scores, measures, curves and provenance, every text cut to a sane length.

A record may come from another lab: nothing in it is trusted to be there, to be short, or to be of the right type.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from seqdis.bench.core.schema import unchecked
from seqdis.bench.figures.curves import (
    INFORMATION,
    TERMS,
    Points,
    information_points,
    loss_points,
    validation_points,
)
from seqdis.bench.plan.catalog import is_outside
from seqdis.bench.plan.outdated import REMEDY, code_words, other_code
from seqdis.bench.records.record import Config, Json, Training
from seqdis.bench.site.render import json_text
from seqdis.bench.tables import metrics
from seqdis.bench.tables.layout import Column, clean
from seqdis.bench.tables.metrics import Metric

LONG = 600
MAX_CONFIG = 20_000
MAX_FACTORS = 40
DIRECTIONS = {
    "fix_dynamic": (
        "Dynamic code kept, static code drawn",
        "dynamic",
        "z is the test clip's posterior mean, s is drawn "
        "from its prior. What was kept should be right, what was drawn anew should be at chance.",
    ),
    "fix_static": (
        "Static code kept, dynamic code drawn",
        "static",
        "s is the test clip's posterior mean, z is drawn "
        "from its prior. What was kept should be right, what was drawn anew should be at chance.",
    ),
}


@dataclasses.dataclass(frozen=True)
class ScoreRow:
    """A factor's scores as text: (mean, range over prior draws) for each."""

    factor: str
    role: str
    values: tuple[tuple[str, str], ...]
    chance: str


@dataclasses.dataclass(frozen=True)
class ScoreBlock:
    """Scores that belong together."""

    title: str
    text: str
    rows: tuple[ScoreRow, ...]


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line in a picture of 560 x 220: its points, ticks (y, text), and the step that was selected (x)."""

    title: str
    spoken: str
    points: str
    ticks: tuple[tuple[float, str], ...]
    first: str
    last: str
    mark: float | None


@dataclasses.dataclass(frozen=True)
class CellView:
    """All that a cell's page prints."""

    id: str
    title: str
    paper: str
    seed: str
    source: str
    preset: str
    status: str
    reason: str
    batch: str
    overrides: tuple[str, ...]
    data_title: str
    notes: tuple[str, ...]
    blocks: tuple[ScoreBlock, ...]
    numbers: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    config: str


def cell_view(record: Json) -> CellView:
    """A record as texts."""
    cell, data = mapping(record, "cell"), mapping(record, "data")
    return CellView(
        id=text(cell.get("id")),
        title=text(record.get("title")) or text(cell.get("method")),
        paper=text(record.get("paper")),
        seed=text(cell.get("seed")),
        source=text(cell.get("source")),
        preset=text(cell.get("preset")),
        status=text(record.get("status")),
        reason=text(mapping(record, "error").get("reason"), LONG),
        batch=text(mapping(mapping(record, "config"), "training").get("batch_size")),
        overrides=tuple(
            f"{text(key, 60)}={text(value, 60)}" for key, value in list(mapping(cell, "overrides").items())[:20]
        ),
        data_title=text(data.get("title")) or text(cell.get("dataset")),
        notes=(*(text(note, LONG) for note in listed(record.get("notes"))[:20]), *warned(record)),
        blocks=tuple(score_blocks(record)),
        numbers=tuple(numbers(mapping(record, "metrics"))),
        facts=tuple(facts(record)),
        config=config_text(record.get("config")),
    )


# Reading what anyone may have written


def mapping(value: Any, key: str) -> Mapping[str, Any]:
    """A member that should be an object; {} if it is not."""
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def listed(value: Any) -> Sequence[Any]:
    """A value that should be a list; [] if it is not."""
    return value if isinstance(value, list) else []


def text(value: Any, longest: int = 160) -> str:
    """A value as one short line."""
    if value is None or value == "" or isinstance(value, dict | list):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return clean(str(value)[: 8 * longest], longest)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value can be printed as a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def warned(record: Json) -> Iterable[str]:
    """What went wrong while it trained, and from when to when."""
    for one in listed(record.get("warnings"))[:20]:
        said = text(mapping({"one": one}, "one").get("text"), LONG)
        if said:
            yield f"steps {text(one.get('step'))} to {text(one.get('until'))}: {said}"


# Scores


def score_blocks(record: Json) -> Iterable[ScoreBlock]:
    """Tables of judged scores: the two directions, generated clips, reconstructions, real clips."""
    scores = mapping(record, "metrics")
    factors = {
        text(factor.get("name")): factor
        for factor in listed(mapping(record, "data").get("factors"))
        if isinstance(factor, dict)
    }
    for name, (title, kept, explanation) in DIRECTIONS.items():
        part = mapping(mapping(scores, "directions"), name)
        rows = score_rows(listed(part.get("draws")), factors, kept)
        if rows:
            yield ScoreBlock(title, f"{explanation} {counted(part)}", rows)
    for kind, words in (("matched", "categories matched to the judge's classes"), ("labels", "generated by label")):
        part = mapping(mapping(scores, "generator"), kind)
        rows = score_rows(listed(part.get("draws")), factors, "")
        if rows:
            yield ScoreBlock(f"Generated clips: {words}", f"The method has no encoder. {counted(part)}", rows)
    for name, title, words in (
        ("reconstruction", "Reconstruction", "Test clips decoded from their own codes."),
        ("real", "The judge on real test clips", "The ceiling of every score on this page."),
    ):
        rows = score_rows([mapping(mapping(scores, name), "factors")], factors, "")
        if rows:
            yield ScoreBlock(title, words, rows)


def counted(part: Mapping[str, Any]) -> str:
    """How many clips and draws stand behind a table."""
    draws = len(listed(part.get("draws")))
    clips = text(part.get("n_clips"))
    return f"{clips or 'Unknown number of'} clips; mean of {draws} prior draws, lowest to highest below."


def score_rows(draws: Sequence[Any], factors: Mapping[str, Mapping[str, Any]], kept: str) -> tuple[ScoreRow, ...]:
    """One row a factor: mean over the draws and its range."""
    draws = [draw for draw in draws if isinstance(draw, Mapping)]
    names = list(dict.fromkeys(name for draw in draws for name in draw))[:MAX_FACTORS]
    rows = []
    for name in names:
        factor = factors.get(name, {})
        role = text(factor.get("role"))
        found = [draw[name] for draw in draws if isinstance(draw.get(name), Mapping)]
        values = tuple(spread([scores.get(metric.key) for scores in found], metric) for metric in metrics.SCORES)
        rows.append(
            ScoreRow(
                text(name),
                (("kept" if role == kept else "drawn anew") if kept and role else role) or "–",
                values,
                chance(factor),
            )
        )
    return tuple(rows)


def spread(values: Sequence[Any], column: Column) -> tuple[str, str]:
    """Mean and range of numbers as text; a dash if there is none."""
    found = [float(value) * column.scale for value in values if is_number(value)]
    if not found:
        return "–", ""
    between = f"{min(found):.{column.digits}f} to {max(found):.{column.digits}f}" if len(found) > 1 else ""
    return f"{sum(found) / len(found):.{column.digits}f}", between


def chance(factor: Mapping[str, Any]) -> str:
    """The accuracy of guessing, in per cent."""
    classes = factor.get("classes")
    count = len(classes) if isinstance(classes, list) else classes
    return f"{100 / count:.1f}" if is_number(count) and count > 0 else "–"


def printed(value: Any, metric: Metric) -> tuple[str, str]:
    """A number in the page's words; an empty text for what is none."""
    page = metric.page
    if page is None:
        return "", ""
    exists = is_number(value) and (value > 0 or not page.is_positive)
    return page.words, page.form.format(value * page.scale) if exists else ""


def numbers(found: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Measures that are single numbers, by name."""
    rebuilt = mapping(found, "reconstruction")
    alone = ((metrics.REC_MSE, rebuilt.get("mse")), (metrics.REC_SSE, rebuilt.get("sse")))
    for metric, value in (*alone, (metrics.SHUFFLE, found.get("shuffle"))):
        if is_number(value):
            yield printed(value, metric)
    verification = mapping(found, "verification")
    for level in verification:
        part = mapping(verification, level)
        for metric in metrics.ERRORS:
            words, value = printed(part.get(metric.key), metric)
            if value:
                bounds = listed(part.get(f"{metric.key}_ci"))
                interval = (
                    f" ({100 * bounds[0]:.1f} to {100 * bounds[1]:.1f} over speakers)"
                    if len(bounds) == 2 and all(map(is_number, bounds))
                    else ""
                )
                yield f"{text(level, 20).capitalize()}: {words}", f"{value}{interval}"
    probes = mapping(found, "probes")
    for factor in list(probes)[:MAX_FACTORS]:
        codes = [
            f"{text(code, 20)} {100 * value:.1f} %"
            for code, value in mapping(probes, factor).items()
            if is_number(value)
        ]
        if codes:
            yield f"Probe of {text(factor, 40)}", ", ".join(codes[:8])


# Provenance


def _is_outside(record: Json) -> bool:
    """Whether the method is none of this suite, whatever it is called."""
    return is_outside(text(mapping(record, "cell").get("method")), text(mapping(record, "config").get("plugin_digest")))


def facts(record: Json) -> Iterable[tuple[str, tuple[tuple[str, str], ...]]]:
    """Where the numbers come from, in groups of (name, text)."""
    data, cell, training = mapping(record, "data"), mapping(record, "cell"), mapping(record, "training")
    splits = ", ".join(f"{text(count)} {text(name)}" for name, count in list(mapping(data, "splits").items())[:6])
    judge, cost, code = mapping(record, "judge"), mapping(record, "cost"), mapping(record, "code")
    accuracy = ", ".join(
        f"{text(name)} {100 * value:.1f} %" for name, value in mapping(judge, "accuracy").items() if is_number(value)
    )
    digests, outside = mapping(code, "digests"), mapping(record, "config").get("plugin_digest")
    codes = ("" if outside else text(digests.get("method")), text(digests.get("suite")))
    other = code_words(other_code(text(cell.get("method")), text(cell.get("dataset")), codes))
    yield (
        "Data",
        pairs(
            ("Source", cell.get("source")),
            ("Revision", data.get("revision")),
            ("Digest", text(data.get("digest"))[:16]),
            ("Frame", _shape(data.get("frame"))),
            ("Frames", data.get("n_frames")),
            ("Clips", splits),
            ("Split", data.get("split_rule")),
            ("Licence", data.get("licence")),
        ),
    )
    yield (
        "Judge and protocol",
        pairs(
            ("Judge", judge.get("name")),
            ("Weights", text(judge.get("sha256"))[:16]),
            ("Right on held-out clips", accuracy),
            *((name.capitalize(), value) for name, value in list(mapping(record, "protocol").items())[:8]),
        ),
    )
    yield (
        "Training",
        pairs(
            ("Steps", training.get("steps")),
            ("Planned", training.get("planned_steps")),
            ("Whole schedule", training.get("complete")),
            ("Epochs", training.get("epochs")),
            ("Selected step", training.get("selected_step")),
            ("Selected by", training.get("selection")),
            ("Supervision", record.get("supervision")),
            ("Signal", record.get("signal")),
            ("Ranked", record.get("ranked")),
            ("Attempts", record.get("attempts")),
        ),
    )
    yield (
        "Cost",
        pairs(
            *(printed(cost.get(metric.key), metric) for metric in metrics.COSTS_OF_CELL),
        ),
    )
    yield (
        "Machine",
        pairs(*((name.capitalize(), value) for name, value in list(mapping(record, "environment").items())[:10])),
    )
    yield (
        "Code",
        pairs(
            ("Outside of the suite", _is_outside(record) or ""),
            ("Version", code.get("version")),
            ("Commit", text(code.get("commit"))[:12]),
            ("Uncommitted changes", code.get("dirty")),
            ("Method's code", text(digests.get("method"))[:16]),
            ("Suite's code", text(digests.get("suite"))[:16]),
            ("Against this suite", f"{other}; {REMEDY}" if other else ""),
            ("Finished", record.get("finished")),
            ("Cell", cell.get("id")),
            *((f"Override {text(name, 40)}", value) for name, value in list(mapping(cell, "overrides").items())[:20]),
        ),
    )


def pairs(*items: tuple[str, Any]) -> tuple[tuple[str, str], ...]:
    """Those that have a value, as text."""
    return tuple((text(name, 60), text(value, 240)) for name, value in items if text(value))


def _shape(value: Any) -> str:
    return " × ".join(text(each) for each in listed(value)[:4])


def config_text(config: Any) -> str:
    """The resolved config as indented JSON, cut if it is very long."""
    whole = json_text(config, indent=2, sort_keys=True)
    return whole if len(whole) <= MAX_CONFIG else whole[:MAX_CONFIG] + "\n… (the record has all of it)"


# Curves


def record_curves(record: Json) -> list[Curve]:
    """The validation score and the losses that were logged."""
    training, config = unchecked(Training, record["training"]), unchecked(Config, record["config"])
    selected, n_frames = training.selected_step, record["data"]["n_frames"]
    wanted = [("Validation score", validation_points(training))]
    wanted += [(TERMS[term].capitalize(), loss_points(training, term)) for term in ("total", "recon")]
    for term, title in INFORMATION.items():
        name, comma, how = title.partition(", ")
        wanted.append((f"{name}, nats{comma}{how}", information_points(training, config, n_frames, term)))
    mark = selected if is_number(selected) else None
    return [curve(title, points, mark) for title, points in wanted if len(points) > 1]


def tick(value: float) -> str:
    """A number in at most seven characters, which is what stands left of a curve."""
    if 1000 <= abs(value) < 99_999.5:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.1e}".replace("e+0", "e")


def curve(title: str, points: Points, selected: float | None) -> Curve:
    """A line scaled to the picture."""
    steps, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    width = (steps[-1] - steps[0]) or 1.0

    def x(step: float) -> float:
        return round(56 + 492 * (step - steps[0]) / width, 1)

    def y(value: float) -> float:
        return round(186 - 172 * (value - low) / span, 1)

    ticks = tuple((y(low + span * part / 4), tick(low + span * part / 4)) for part in range(5))
    mark = x(selected) if selected is not None and steps[0] <= selected <= steps[-1] else None
    spoken = f"{title} from {values[0]:.3g} at step {steps[0]:.0f} to {values[-1]:.3g} at step {steps[-1]:.0f}"
    return Curve(
        title,
        spoken,
        " ".join(f"{x(step)},{y(value)}" for step, value in points),
        ticks,
        f"{steps[0]:.0f}",
        f"{steps[-1]:.0f}",
        mark,
    )
