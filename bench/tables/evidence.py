"""What the seeds say about a block, in full: intervals of each row, and every pair of rows with its test."""

from __future__ import annotations

from seqdis.bench.tables import columns, footers, identities, statistics
from seqdis.bench.tables.grouping import Block, Group
from seqdis.bench.tables.layout import Cell, Column, Row, Section, Table, clean


def tables(block: Block, number: int) -> list[Table]:
    """The intervals of a block's headline metric, and its pairs where there are any to test."""
    view = columns.view_of(block)
    headline = view.headline
    values = {id(group): group.values(view.headline_source) for group in block.groups}
    groups = [group for group in block.groups if values[id(group)]]
    judged = {group.label: group.entries for group in groups if group.protocol == "encoder"}
    crossed = identities.crossed(judged, f"{view.direction}/{view.factor}/{headline.key}")
    found = [_intervals(block, number, headline, groups, values, crossed)]
    for protocol in sorted({group.protocol for group in groups}):
        rows = {
            group.label: values[id(group)]
            for group in groups
            if group.is_ranked and group.protocol == protocol and len(values[id(group)]) >= statistics.MIN_SEEDS
        }
        if len(rows) > 1:
            found.append(_pairs(block, number, headline, rows, protocol, crossed))
    return found


def _intervals(
    block: Block,
    number: int,
    headline: Column,
    groups: list[Group],
    values: dict[int, tuple[float, ...]],
    crossed: identities.Crossed | None,
) -> Table:
    scale, unit, digits = headline.scale, headline.unit, max(headline.digits, 2)

    def column(key: str, title: str) -> Column:
        return Column(key=key, title=title, unit=unit, scale=scale, digits=digits, follows=key.endswith("_high"))

    footnotes = footers.Footnotes(block)
    rows = []
    for group in groups:
        numbers = values[id(group)]
        summary = statistics.summarise(numbers)
        cells = {
            "n": Cell(mean=float(summary.n), n=1, marks=("°",) if footnotes.provisional(group) else ()),
            headline.key: Cell(mean=summary.mean, std=summary.std, n=summary.n, values=numbers),
            "smallest": Cell(mean=min(numbers), n=1),
            "largest": Cell(mean=max(numbers), n=1),
        }
        for name, interval in (
            ("t", statistics.t_interval(numbers, limits=headline.limits)),
            ("bootstrap", statistics.bootstrap_interval(numbers)),
            ("identities", crossed.rows.get(group.label) if crossed else None),
        ):
            if interval is not None:
                cells[f"{name}_low"], cells[f"{name}_high"] = (Cell(mean=end, n=1) for end in interval)
        if "identities_low" in cells and summary.n == 1:
            mark = footnotes.number("one seed: this interval is over test identities only")
            cells["identities_low"].marks = (mark,)
        rows.append(Row(label=group.label, cells=cells, about={"method": group.method, "variant": group.variant}))
    return Table(
        name="seeds",
        title=footers.title("seeds", block),
        columns=[
            Column(key="n", title="n", digits=0),
            Column(
                key=headline.key, title=headline.title, unit=unit, scale=scale, digits=digits, better=headline.better
            ),
            column("t_low", "t 95% from"),
            column("t_high", "to"),
            column("bootstrap_low", "bootstrap 95% from"),
            column("bootstrap_high", "to"),
            column("identities_low", f"seeds and {_units(crossed)} 95% from"),
            column("identities_high", "to"),
            column("smallest", "least"),
            column("largest", "most"),
        ],
        sections=[Section(rows=rows)],
        footnotes=footnotes.ordered,
        notes=[
            "t and bootstrap: over training seeds. The bootstrap is too narrow with few seeds (three have ten distinct "
            "resamples): go by the t interval, which is cut at the limits of the metric (the cut costs no coverage).",
            *_about_identities(block, crossed),
        ],
        about={"block": number, **block.setting._asdict()},
    )


def _units(crossed: identities.Crossed | None) -> str:
    return f"{clean(crossed.unit, 20)}s" if crossed else "identities"


def _about_identities(block: Block, crossed: identities.Crossed | None) -> list[str]:
    if crossed:
        return [
            f"Seeds and {_units(crossed)}: a bootstrap that draws the seeds and the {crossed.n_identities} test "
            f"{_units(crossed)} anew, each with replacement, with the same {_units(crossed)} for all rows. It holds for "
            "other test data of this kind, which intervals over seeds do not."
        ]
    if any(group.protocol == "verification" for group in block.groups):
        return ["Intervals over test speakers stand in the comparison of speech data."]
    return ["These records hold no counts by test identity: only seeds are drawn anew."]


def _pairs(
    block: Block,
    number: int,
    headline: Column,
    rows: dict[str, tuple[float, ...]],
    protocol: str,
    crossed: identities.Crossed | None,
) -> Table:
    def drawn(pair: statistics.Pair) -> dict[str, Cell]:
        ends = crossed.difference(pair.first, pair.second) if crossed else None
        return {
            f"identities_{name}": Cell(mean=end, n=1) for name, end in zip(("low", "high"), ends or (), strict=False)
        }

    lines = [
        Row(
            label=f"{pair.first} - {pair.second}",
            about={"first": pair.first, "second": pair.second},
            cells={
                "difference": Cell(mean=pair.difference, n=1, interval=pair.interval),
                "low": Cell(mean=pair.interval[0], n=1),
                "high": Cell(mean=pair.interval[1], n=1),
                "p": Cell(mean=pair.p_value, n=1),
                "p_holm": Cell(mean=pair.corrected, n=1),
                "separable": Cell(text="yes" if pair.is_separable else "no"),
                **drawn(pair),
            },
        )
        for pair in statistics.compare(rows, limits=headline.limits)
    ]
    unit = "points" if headline.unit == "%" else headline.unit
    return Table(
        name="pairs",
        title=f"Pairs ({protocol}), {headline.title}: {footers.title('seeds', block).partition(': ')[2]}",
        label="Rows",
        columns=[
            Column(key="difference", title="difference", scale=headline.scale, digits=2, unit=unit),
            Column(key="low", title="95% from", scale=headline.scale, digits=2, unit=unit),
            Column(key="high", title="to", scale=headline.scale, digits=2, unit=unit, follows=True),
            Column(key="p", title="p", digits=4),
            Column(key="p_holm", title="p (Holm)", digits=4),
            Column(key="separable", title="separable"),
            *(
                Column(
                    key=f"identities_{name}",
                    title=title,
                    scale=headline.scale,
                    digits=2,
                    unit=unit,
                    follows=name == "high",
                )
                for name, title in (("low", f"seeds and {_units(crossed)} 95% from"), ("high", "to"))
            ),
        ],
        sections=[Section(rows=lines)],
        notes=[
            "Welch's tests over seeds; Holm's correction over the pairs of this table. Intervals are not corrected, "
            "and cut at what a difference of the metric can be.",
            *_about_identities(block, crossed),
        ],
        about={"block": number, **block.setting._asdict()},
    )
