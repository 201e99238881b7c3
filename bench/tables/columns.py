"""Which columns a block has, and how each is read from a record: video by judge, speech by verification, costs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from seqdis.bench.records.collection import Entry
from seqdis.bench.tables.grouping import Block, Group
from seqdis.bench.tables.layout import Column

Source = Callable[[Entry], float | None]
_OTHER = {"fix_dynamic": "fix_static", "fix_static": "fix_dynamic"}
_KEPT = {"fix_dynamic": "dynamic", "fix_static": "static"}
_WORD = {"dynamic": "motion", "static": "static"}
_NOT_NEGATIVE = (0.0, math.inf)


@dataclasses.dataclass
class View:
    """The columns of a block.

    Attributes:
        sources: how each measured column is read; columns without one are filled in otherwise.
        headlines: keys of the main metrics; rows are ranked by the first.
        published: keys that the literature has numbers for.
        intervals: column -> name of the interval that a record brings for it.
        heads: factors behind the entropies of the headline; `classes` of each; `joint` where they are scored together.
    """

    columns: list[Column]
    sources: dict[str, Source]
    headlines: tuple[str, ...]
    published: tuple[str, ...]
    panels: tuple[str, ...]
    higher_is_better: bool = True
    intervals: dict[str, str] = dataclasses.field(default_factory=dict)
    direction: str = ""
    factor: str = ""
    heads: tuple[str, ...] = ()
    classes: int = 0
    chance: float = 0.0
    leak_chance: float = 0.0
    drawn: tuple[str, ...] = ()

    def headline_source(self, group: Group) -> Source | None:
        """How the headline is read."""
        return self.sources.get(self.headlines[0])


def n_classes(factor: dict[str, Any]) -> int:
    """Classes of a recorded factor: their names, or their number."""
    classes = factor["classes"]
    return classes if isinstance(classes, int) else len(classes)


def view(block: Block) -> View:
    """The columns that suit the block's data."""
    data = block.about.get("data") or {}
    direction, factor = (data.get("headline") or ["", ""])[:2]
    if direction in _OTHER and data.get("factors"):
        return _judged(data, direction, factor)
    return _verified(block)


def _generator_kind(entry: Entry, factor: str) -> str:
    return next((kind for kind in ("matched", "labels") if entry.get(f"generator/{kind}/{factor}/acc") is not None), "")


def _headline(direction: str, factor: str) -> Source:
    def source(entry: Entry) -> float | None:
        if entry.protocol != "generator":
            return entry.get(f"{direction}/{factor}/acc")
        kind = _generator_kind(entry, factor)
        return (
            entry.get(f"generator/{kind}/{factor}/acc")
            if kind
            else entry.get(f"consistency/{direction}/{factor}/acc_consistency")
        )

    return source


def _head_mean(prefix: str, heads: tuple[str, ...], score: str, *, is_headline: bool = False) -> Source:
    def source(entry: Entry) -> float | None:
        where = prefix
        if entry.protocol == "generator":
            if not is_headline:
                return None
            kind = _generator_kind(entry, heads[0])
            where = f"generator/{kind}" if kind else f"consistency/{prefix}"
        values = [entry.get(f"{where}/{head}/{score}") for head in heads]
        found = [value for value in values if value is not None]
        return sum(found) / len(found) if found and len(found) == len(values) else None

    return source


def _read(name: str) -> Source:
    return lambda entry: entry.get(name)


def _share(**options: Any) -> Column:
    """A column of fractions, printed in per cent."""
    return Column(unit="%", scale=100, limits=(0.0, 1.0), **options)


def _nats(**options: Any) -> Column:
    """A column of entropies."""
    return Column(unit="nats", limits=_NOT_NEGATIVE, **options)


def _judged(data: dict[str, Any], direction: str, factor: str) -> View:
    factors = {item["name"]: item for item in data["factors"]}
    kept = tuple(name for name, item in factors.items() if item["role"] == _KEPT[direction])
    drawn = tuple(name for name in factors if name not in kept)
    heads = (factor,) if factor in factors else kept
    classes = n_classes(factors[heads[0]])
    other = _OTHER[direction]
    leak_chance = sum(1 / n_classes(factors[name]) for name in drawn) / len(drawn) if drawn else 0.0
    columns = [
        Column(key="n", title="n", digits=0),
        Column(key="rank", title="rank"),
        _share(key="acc", title="Acc", better="up"),
        Column(key="acc_published", title="paper Acc", unit="%", scale=100, digits=2, optional=1, follows=True),
        Column(key="acc_difference", title="Acc diff.", unit="points", scale=100, optional=1, follows=True),
        Column(key="is", title="IS", better="up", digits=3, limits=(1.0, classes)),
        Column(key="is_published", title="paper IS", digits=3, optional=3, follows=True),
        Column(key="is_difference", title="IS diff.", digits=3, optional=4, follows=True),
        _nats(key="h_y_given_x", title="H(y|x)", better="down", digits=3),
        Column(key="h_y_given_x_published", title="paper H(y|x)", unit="nats", digits=3, optional=3, follows=True),
        Column(key="h_y_given_x_difference", title="H(y|x) diff.", unit="nats", digits=3, optional=4, follows=True),
        _nats(key="h_y", title="H(y)", better="up", digits=3),
        Column(key="h_y_published", title="paper H(y)", unit="nats", digits=3, optional=3, follows=True),
        Column(key="h_y_difference", title="H(y) diff.", unit="nats", digits=3, optional=4, follows=True),
    ]
    sources: dict[str, Source] = {
        "acc": _headline(direction, factor),
        **{score: _head_mean(direction, heads, score, is_headline=True) for score in ("is", "h_y_given_x", "h_y")},
    }
    if factor not in factors:
        columns.append(
            Column(key="joint_is", title="joint IS", better="up", digits=2, optional=2, limits=(1.0, math.inf))
        )
        columns.append(_nats(key="joint_h_y", title="joint H(y)", better="up", digits=3, optional=2))
        sources["joint_is"] = _read(f"{direction}/{factor}/is")
        sources["joint_h_y"] = _read(f"{direction}/{factor}/h_y")
    # The second panel: what must not survive, what else must, and what the judge can see at all.
    if drawn:
        columns.append(_share(key="leak", title="leak", better="down", panel=1))
        columns.append(_nats(key="sampled_entropy", title="entropy", better="up", digits=2, panel=1))
        sources["leak"] = _head_mean(direction, drawn, "acc")
        sources["sampled_entropy"] = _head_mean(direction, drawn, "label_entropy")
        for position, name in enumerate(drawn):
            columns.append(
                _share(key=f"other_{name}", title=name, better="up", panel=1, optional=1 if position < 4 else 2)
            )
            sources[f"other_{name}"] = _read(f"{other}/{name}/acc")
        columns.append(_share(key="other_leak", title=f"{_WORD[_KEPT[direction]]} leak", better="down", panel=1))
        sources["other_leak"] = _head_mean(other, kept, "acc")
    columns += [
        _share(key="consistency", title="consistency", better="up", panel=1, optional=2),
        _share(key="rec_acc", title="rec. Acc", better="up", panel=1),
        Column(key="rec_mse", title="rec. MSE", better="down", panel=1, digits=4, optional=1, limits=_NOT_NEGATIVE),
        Column(key="shuffle", title="shuffle", better="down", panel=1, digits=3, optional=2, limits=_NOT_NEGATIVE),
    ]
    sources["consistency"] = _read(f"consistency/{direction}/{factor}/acc_consistency")
    sources |= {"rec_acc": _read(f"rec/{factor}/acc"), "rec_mse": _read("rec/mse"), "shuffle": _read("shuffle")}
    kept_word, drawn_word = _WORD[_KEPT[direction]], _WORD[_KEPT[other]]
    panels = (
        f"{kept_word} code kept, {drawn_word} code drawn anew; Acc on {factor}",
        f"checks: leak = Acc on what was drawn anew (chance {100 * leak_chance:.1f} %), entropy = that of its labels; "
        f"Acc on {_list(drawn)} with the {drawn_word} code kept instead"
        if drawn
        else "checks",
    )
    return View(
        columns,
        sources,
        ("acc",),
        ("acc", "is", "h_y_given_x", "h_y"),
        panels,
        direction=direction,
        factor=factor,
        heads=heads,
        classes=classes,
        chance=1 / classes,
        leak_chance=leak_chance,
        drawn=drawn,
    )


def _list(names: tuple[str, ...]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def _verified(block: Block) -> View:
    level = "utterance" if any(entry.get("utterance/gap") is not None for entry in block.entries) else "segment"
    columns = [
        Column(key="n", title="n", digits=0),
        Column(key="rank", title="rank"),
        _share(key="eer_static", title="content EER", better="down", digits=2),
        Column(key="eer_static_published", title="paper", unit="%", scale=100, digits=2, optional=1, follows=True),
        Column(
            key="eer_static_difference", title="diff.", unit="points", scale=100, digits=2, optional=3, follows=True
        ),
        _share(key="eer_dynamic", title="motion EER", better="up", digits=2),
        Column(key="eer_dynamic_published", title="paper", unit="%", scale=100, digits=2, optional=1, follows=True),
        Column(
            key="eer_dynamic_difference", title="diff.", unit="points", scale=100, digits=2, optional=3, follows=True
        ),
        Column(key="gap", title="gap", better="up", unit="points", scale=100, digits=2, limits=(-1.0, 1.0)),
        Column(key="gap_ci", title="gap 95%-CI", unit="over speakers", optional=2),
        Column(key="eer_static_ci", title="content 95%-CI", unit="over speakers", panel=1, optional=2),
        Column(key="eer_dynamic_ci", title="motion 95%-CI", unit="over speakers", panel=1, optional=2),
    ]
    sources: dict[str, Source] = {key: _read(f"{level}/{key}") for key in ("eer_static", "eer_dynamic", "gap")}
    probes = sorted(
        {name.split("/")[1] for entry in block.entries for name in entry.names if name.startswith("probes/")}
    )
    for probe in probes:
        for code, word in (("dynamic", "motion"), ("static", "content")):
            columns.append(
                _share(
                    key=f"probe_{probe}_{code}",
                    title=f"{probe} from {word}",
                    panel=1,
                    better="up" if code == "dynamic" else "down",
                )
            )
            sources[f"probe_{probe}_{code}"] = _read(f"probes/{probe}/{code}")
        columns.append(_share(key=f"probe_{probe}_chance", title="chance", panel=1, optional=1, follows=True))
        sources[f"probe_{probe}_chance"] = _read(f"probes/{probe}/chance")
    others = {name.partition("/")[0] for entry in block.entries for name in entry.names if name.endswith("/eer_static")}
    for other in sorted(others - {level}):
        for key, word in (("eer_static", "content"), ("eer_dynamic", "motion")):
            columns.append(
                _share(
                    key=f"{other}_{key}",
                    title=f"{other} {word} EER",
                    panel=1,
                    digits=2,
                    better="down" if key == "eer_static" else "up",
                    optional=2 if other == "segment" else 3,
                )
            )
            sources[f"{other}_{key}"] = _read(f"{other}/{key}")
    columns += [
        Column(key="rec_mse", title="rec. MSE", better="down", panel=1, digits=4, optional=1, limits=_NOT_NEGATIVE),
        Column(key="shuffle", title="shuffle", better="down", panel=1, digits=3, optional=2, limits=_NOT_NEGATIVE),
    ]
    sources |= {"rec_mse": _read("rec/mse"), "shuffle": _read("shuffle")}
    panels = (
        f"speaker verification by cosine, one vector {'an utterance' if level == 'utterance' else 'a segment'}: "
        "gap = motion EER - content EER",
        "checks: does the motion code still carry the words, and the content code not?",
    )
    return View(
        columns,
        sources,
        ("gap", "eer_static", "eer_dynamic"),
        ("eer_static", "eer_dynamic"),
        panels,
        intervals={
            "gap": f"{level}/gap_ci",
            "eer_static": f"{level}/eer_static_ci",
            "eer_dynamic": f"{level}/eer_dynamic_ci",
        },
        direction="verification",
        factor=level,
    )


COST = (
    Column(key="n", title="n", digits=0),
    Column(key="device", title="device"),
    Column(key="parameters", title="params", better="down", unit="M", scale=1e-6, digits=2, deviation=False),
    Column(key="batch_size", title="batch", digits=0, optional=1, deviation=False),
    Column(key="steps", title="steps", digits=0, deviation=False),
    Column(key="train_seconds", title="training", better="down", unit="s", digits=0),
    Column(key="sequences_per_second", title="sequences", better="up", unit="1/s", digits=0),
    Column(key="evaluation_seconds", title="evaluation", better="down", unit="s", digits=0, optional=1),
    Column(key="peak_memory_bytes", title="memory", better="down", unit="MiB", scale=1 / (1 << 20), digits=0),
    Column(key="gpu_memory_bytes", title="GPU memory", better="down", unit="MiB", scale=1 / (1 << 20), digits=0),
    Column(key="energy_joules", title="energy", better="down", unit="kJ", scale=1e-3, digits=1),
)


def _positive(name: str) -> Source:
    """A cost that is zero where it does not exist, such as GPU memory on a CPU, is no number."""
    return lambda entry: entry.get(name) or None


COST_SOURCES: dict[str, Source] = {
    **{
        column.key: _positive(f"cost/{column.key}")
        for column in COST
        if column.key not in ("n", "device", "steps", "batch_size")
    },
    "steps": lambda entry: float(entry.steps) or None,
    "batch_size": lambda entry: float(entry.batch_size) or None,
}


def ceiling(classes: int) -> float:
    """ln K, the largest entropy of K classes, in nats."""
    return math.log(classes) if classes > 0 else 0.0
