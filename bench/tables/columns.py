"""Which columns a block has, and how each is read from a record: video by judge, speech by verification, costs.

`metrics` declares the numbers; here they are put beside each other and their names filled in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from seqdis.bench.records.collection import Entry
from seqdis.bench.records.record import Data
from seqdis.bench.tables import metrics
from seqdis.bench.tables.grouping import Block
from seqdis.bench.tables.layout import Column, clean
from seqdis.bench.tables.metrics import Metric, Way

Source = Callable[[Entry], float | None]
Places = dict[str, tuple[str, ...]]
_OTHER = {"fix_dynamic": "fix_static", "fix_static": "fix_dynamic"}
_KEPT = {"fix_dynamic": "dynamic", "fix_static": "static"}
_WORD = {"dynamic": "motion", "static": "static"}
_LEVELS = ("utterance", "segment")
"""Of verification: rows are ranked by the first that their records have."""


@dataclasses.dataclass(kw_only=True)
class View:
    """The columns of a block.

    Attributes:
        headlines: keys of the main metrics; rows are ranked by the first.
        heads: factors behind the entropies of the headline; `classes` of each.
        places: what stands for the words in braces of a metric's name.
        sources: how each measured column is read; columns without one are filled in otherwise.
    """

    headlines: tuple[str, ...]
    panels: tuple[str, ...]
    direction: str
    factor: str
    heads: tuple[str, ...] = ()
    classes: int = 0
    places: Places
    columns: list[Column] = dataclasses.field(default_factory=lambda: [metrics.SEEDS, metrics.RANK])
    sources: dict[str, Source] = dataclasses.field(default_factory=dict)

    @property
    def headline(self) -> Column:
        """What rows are ranked by."""
        return next(column for column in self.columns if column.key == self.headlines[0])

    @property
    def headline_source(self) -> Source:
        """How the headline is read."""
        return self.sources[self.headlines[0]]

    @property
    def published(self) -> list[str]:
        """Keys that the literature has numbers for."""
        return [column.key for column in self.columns if isinstance(column, Metric) and column.paper]

    def add(self, metric: Metric, places: Places | None = None, *, word: str = "", **changes: Any) -> None:
        """A measured column, with the literature's number and the difference from it where there may be one.

        Args:
            places: of this column alone.
            word: in its title.
            changes: what is otherwise than in the declaration.
        """
        filled = {**self.places, **(places or {})}
        (one,) = filled.get("one", ("",))
        named = {"key": metric.key.format(one=one), "title": metric.title.format(one=one, word=word)}
        made = dataclasses.replace(metric, **{**named, **changes})
        self.columns.append(made)
        self.sources[made.key] = source(made, filled)
        self.columns += _of_literature(made)


def _of_literature(metric: Metric) -> list[Column]:
    """The literature's number, and the difference from it."""
    paper, title = metric.paper, metric.title
    if paper is None:
        return []
    shared: dict[str, Any] = {"scale": metric.scale, "follows": True, "is_literature": True}
    return [
        Column(
            key=f"{metric.key}_published",
            title=f"paper {title}" if paper.is_named else "paper",
            unit=metric.unit,
            digits=paper.digits,
            optional=paper.optional,
            **shared,
        ),
        Column(
            key=f"{metric.key}_difference",
            title=f"{title} diff." if paper.is_named else "diff.",
            unit="points" if metric.unit == "%" else metric.unit,
            digits=metric.digits,
            optional=paper.difference,
            **shared,
        ),
    ]


def way_of(entry: Entry, factor: str) -> Way:
    """How the headline of a record was measured."""
    if entry.protocol != "generator":
        return metrics.ENCODED
    found = (way for way in metrics.GENERATED if entry.get(f"{way.place}/{factor}/{way.acc}") is not None)
    return next(found, metrics.AGREED)


def source(metric: Metric, places: Mapping[str, tuple[str, ...]]) -> Source:
    """How a metric is read: the mean of all its names, None unless a record has every one."""
    if "{way}" not in metric.name:
        fixed = metric.names(places)
        return lambda entry: _mean(entry, fixed)
    (direction,), (factor,) = places["direction"], places["factor"]
    names = {
        each: metric.names({**places, "way": (each.place.format(direction=direction),), "acc": (each.acc,)})
        for each in (metrics.ENCODED, *metrics.GENERATED, metrics.AGREED)
    }
    return lambda entry: _mean(entry, names[way_of(entry, factor)])


def _mean(entry: Entry, names: tuple[str, ...]) -> float | None:
    values = [value for name in names if (value := entry.get(name)) is not None]
    return sum(values) / len(values) if values and len(values) == len(names) else None


def headline(entry: Entry, data: Data | None) -> tuple[str, float | None]:
    """What one record is ranked by, in words, and its value; nothing and None where it has none."""
    for level in _LEVELS:
        gap = entry.get(f"{level}/{metrics.GAP.key}")
        if gap is not None:
            return "EER gap", gap
    direction, factor = data.headline[:2] if data is not None else ("", "")
    measured = way_of(entry, factor)
    value = entry.get(f"{measured.place.format(direction=direction)}/{factor}/{measured.acc}")
    return ("", None) if value is None else (measured.words.format(factor=clean(factor, 30)), value)


def view_of(block: Block) -> View:
    """The columns that suit the block's data."""
    data = block.about.data
    if data is not None and data.headline[0] in _OTHER and data.factors:
        return _judged(data)
    return _verified(block)


def _judged(data: Data) -> View:
    direction, factor = data.headline[:2]
    factors = {item.name: item for item in data.factors}
    kept = tuple(name for name, item in factors.items() if item.role == _KEPT[direction])
    drawn = tuple(name for name in factors if name not in kept)
    heads = (factor,) if factor in factors else kept
    classes = len(factors[heads[0]].classes)
    other = _OTHER[direction]
    kept_word, drawn_word = _WORD[_KEPT[direction]], _WORD[_KEPT[other]]
    leak_chance = sum(1 / len(factors[name].classes) for name in drawn) / len(drawn) if drawn else 0.0
    panels = (
        f"{kept_word} code kept, {drawn_word} code drawn anew; Acc on {factor}",
        f"checks: leak = Acc on what was drawn anew (chance {100 * leak_chance:.1f} %), entropy = that of its labels; "
        f"Acc on {_list(drawn)} with the {drawn_word} code kept instead"
        if drawn
        else "checks",
    )
    view = View(
        headlines=(metrics.ACC.key,),
        panels=panels,
        direction=direction,
        factor=factor,
        heads=heads,
        classes=classes,
        places={
            "direction": (direction,),
            "other": (other,),
            "factor": (factor,),
            "head": heads,
            "kept": kept,
            "drawn": drawn,
        },
    )
    for metric in metrics.SCORES:
        view.add(metric, limits=(1.0, classes) if metric is metrics.IS else metric.limits)
    if factor not in factors:
        for metric in metrics.JOINT:
            view.add(metric)
    # The second panel: what must not survive, what else must, and what the judge can see at all.
    if drawn:
        view.add(metrics.LEAK)
        view.add(metrics.ENTROPY)
        for position, name in enumerate(drawn):
            view.add(metrics.OTHER, {"one": (name,)}, optional=1 if position < 4 else 2)
        view.add(metrics.OTHER_LEAK, word=kept_word)
    for metric in (metrics.CONSISTENCY, metrics.REC_ACC):
        view.add(metric)
    for name in drawn:
        view.add(metrics.REC_OTHER, {"one": (name,)})
    for metric in (metrics.REC_MSE, metrics.SHUFFLE):
        view.add(metric)
    return view


def _list(names: tuple[str, ...]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def _verified(block: Block) -> View:
    levels = [level for level in _LEVELS if any(entry.get(f"{level}/gap") is not None for entry in block.entries)]
    level = levels[0] if levels else _LEVELS[-1]
    view = View(
        headlines=tuple(metric.key for metric in (metrics.GAP, metrics.EER_STATIC, metrics.EER_DYNAMIC)),
        panels=(
            f"speaker verification by cosine, one vector {'an utterance' if level == 'utterance' else 'a segment'}: "
            "gap = motion EER - content EER",
            "checks: does the motion code still carry the words, and the content code not?",
        ),
        direction="verification",
        factor=level,
        places={"level": (level,)},
    )
    for metric in metrics.ERRORS:
        view.add(metric)
    for key, word in zip(view.headlines, ("gap", "content", "motion"), strict=True):
        view.columns.append(
            Column(
                key=f"{key}_ci",
                title=f"{word} 95%-CI",
                unit="over speakers",
                panel=0 if word == "gap" else 1,
                optional=2,
            )
        )
    probes = {name.split("/")[1] for entry in block.entries for name in entry.names if name.startswith("probes/")}
    for probe in sorted(probes):
        for metric in metrics.PROBES:
            view.add(metric, {"one": (probe,)})
    others = {name.partition("/")[0] for entry in block.entries for name in entry.names if name.endswith("/eer_static")}
    for other in sorted(others - {level}):
        for metric in (metrics.EER_STATIC, metrics.EER_DYNAMIC):
            view.add(
                metric,
                {"level": (other,)},
                key=f"{other}_{metric.key}",
                title=f"{other} {metric.title}",
                panel=1,
                optional=2 if other == "segment" else 3,
                paper=None,
            )
    for metric in (metrics.REC_MSE, metrics.SHUFFLE):
        view.add(metric)
    return view


def _cost(metric: Metric) -> Source:
    """A cost that is zero where it does not exist, such as GPU memory on a CPU, is no number."""
    return lambda entry: entry.get(metric.name) or None


COST_SOURCES: dict[str, Source] = {
    **{metric.key: _cost(metric) for metric in metrics.COSTS},
    "steps": lambda entry: float(entry.steps) or None,
    "batch_size": lambda entry: float(entry.batch_size) or None,
}
