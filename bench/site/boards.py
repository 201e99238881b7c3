"""Tables as the page shows them: the blocks of `layout`, with intervals, bars and the cells behind each row.

Nothing is computed here that `bench table` does not print: the page and the terminal show the same numbers.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from seqdis.bench.formats.render import render
from seqdis.bench.records.collection import Setting
from seqdis.bench.tables.layout import DASH, Cell, Column, Document, Row, Table, clean, number
from seqdis.bench.tables.metrics import PROTOCOL_MARKS

MOST_COPIED = 40_000
HIGHER = {"up": 1, "down": -1, "": 0}
Key = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Link:
    """A cell behind a row: its seed, and its page without folder and suffix."""

    seed: int
    slug: str


@dataclasses.dataclass(frozen=True)
class Shown:
    """One table cell: its text, interval and marks, and the value to sort by."""

    text: str
    interval: str = ""
    marks: str = ""
    bold: bool = False
    value: float | str = ""
    is_number: bool = False


@dataclasses.dataclass(frozen=True)
class BoardRow:
    """One row. `text` is what the filter searches, `kind` the title of its section if it is not the first; rows are
    first shown in the order of `order`."""

    id: str
    label: str
    marks: str
    kind: str
    text: str
    order: tuple[float, ...]
    cells: dict[str, Shown]
    links: tuple[Link, ...]

    @property
    def protocol_marks(self) -> str:
        """† or ‡: measured in another way than the other rows, so that its bar must not pass for one of theirs."""
        found = {mark for cell in self.cells.values() for mark in cell.marks.split(", ") if mark in PROTOCOL_MARKS}
        return ", ".join(sorted(found))

    @property
    def stands_apart(self) -> bool:
        """Whether its numbers are never ranked with the others'."""
        return bool(self.kind or self.protocol_marks)


@dataclasses.dataclass(frozen=True)
class Panel:
    """Columns that stand side by side, with a title if there is more than one panel."""

    title: str
    columns: tuple[Column, ...]


@dataclasses.dataclass(frozen=True)
class Axis:
    """A column that bars are drawn of: `direction` is 1 where higher is better, -1 where lower is."""

    key: str
    label: str
    direction: int
    top: float
    ticks: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Point:
    """A number in printed units, the ends of its interval, and both in words."""

    mean: float
    low: float | None
    high: float | None
    text: str
    between: str
    spoken: str


@dataclasses.dataclass(frozen=True)
class ChartRow:
    """A row of the chart: what it has of each axis."""

    id: str
    title: str
    values: dict[str, Point | None]


@dataclasses.dataclass(frozen=True)
class Chart:
    """What page.js draws bars from; `dataclasses.asdict` is its JSON."""

    columns: tuple[Axis, ...]
    rows: tuple[ChartRow, ...]


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar of the chart as it is first drawn; lengths are percentages of the axis."""

    row: BoardRow
    length: float
    low: float | None
    high: float | None
    text: str
    between: str
    spoken: str


@dataclasses.dataclass(frozen=True)
class Board:
    """A block of numbers that may be compared with each other."""

    slug: str
    title: str
    dataset: str
    source: str
    preset: str
    label: str
    panels: tuple[Panel, ...]
    rows: tuple[BoardRow, ...]
    footnotes: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    chart: dict[str, Any]
    bars: tuple[Bar, ...]
    latex: str
    csv: str

    @property
    def is_copied(self) -> bool:
        """Whether its texts stand in the page, to be copied; larger ones are files only."""
        return len(self.latex) + len(self.csv) <= MOST_COPIED

    @property
    def has_unranked_bars(self) -> bool:
        return any(bar.row.stands_apart for bar in self.bars)

    @property
    def is_synthetic(self) -> bool:
        return self.source == "synthetic"

    @property
    def has_links(self) -> bool:
        return any(row.links for row in self.rows)

    @property
    def front(self) -> Panel:
        """The columns of the front page: the first panel without what is rarely asked for. The literature's numbers
        stand there only beside numbers that may be compared with them."""
        comparable = self.source == "real" and self.preset.startswith("paper")
        return Panel(
            self.panels[0].title,
            tuple(
                column
                for column in self.panels[0].columns
                if column.optional < 2 and (comparable or not column.is_literature)
            ),
        )

    @property
    def front_footnotes(self) -> tuple[tuple[str, str], ...]:
        """Footnotes of what the front page shows."""
        used = {
            mark
            for row in self.rows
            for text in (row.marks, *(row.cells[column.key].marks for column in self.front.columns))
            for mark in text.split(", ")
        }
        return tuple(pair for pair in self.footnotes if pair[0] in used)


def boards(document: Document, links: Mapping[Key, Sequence[Link]]) -> list[Board]:
    """Every table of the document that holds a number.

    Args:
        document: from `bench table`'s builder.
        links: (every field of the setting, method, variant, config) -> the cells of that row.
    """
    made: list[Board] = []
    for table in document.tables:
        if any(cell.mean is not None for row in table.rows for cell in row.cells.values()):
            made.append(_board(table, document, links, {board.slug for board in made}))
    return made


def _board(table: Table, document: Document, links: Mapping[Key, Sequence[Link]], taken: set[str]) -> Board:
    about = {key: str(table.about.get(key, "")) for key in ("dataset", "source", "preset")}
    single = Document(name=document.name, tables=[table])
    panels = tuple(
        panel
        for panel in (
            Panel(clean(title, 200), tuple(_columns(table, index))) for index, title in enumerate(table.panels)
        )
        if panel.columns
    )
    rows = tuple(_rows(table, links))
    chart = _chart(panels[0].columns, table, rows)
    return Board(
        slug=unique(slug("-".join([document.name, *filter(None, about.values())])), taken),
        title=clean(table.title, 200),
        **about,
        label=table.label,
        panels=panels,
        rows=tuple(sorted(rows, key=lambda row: row.order)),
        footnotes=tuple((mark, clean(text, 800)) for mark, text in table.footnotes.items()),
        notes=tuple(clean(text, 800) for text in table.notes),
        chart=dataclasses.asdict(chart),
        bars=_bars(chart, rows),
        latex=render(single, "latex").decode(),
        csv=render(single, "csv").decode(),
    )


def _columns(table: Table, panel: int) -> list[Column]:
    return [column for column in table.columns if column.panel == panel and table.used(column.key)]


def _rows(table: Table, links: Mapping[Key, Sequence[Link]]) -> list[BoardRow]:
    made: list[BoardRow] = []
    columns = {column.key: column for column in table.columns}
    for position, section in enumerate(table.sections):
        for row in section.rows:
            method, variant = str(row.about.get("method", "")), str(row.about.get("variant", ""))
            key = (*(table.about.get(field) for field in Setting._fields), method, variant, row.about.get("config"))
            behind = tuple(link for link in links.get(key, ()) if str(link.seed) in str(row.about.get("seeds")).split())
            cells = {name: show(row.cell(name), column) for name, column in columns.items()}
            kind = clean(section.title) if position else ""
            made.append(
                BoardRow(
                    f"r{len(made)}",
                    clean(row.label),
                    _marks(row.marks),
                    kind,
                    f"{clean(row.label)} {method} {variant} {kind}".lower()[:300],
                    _order(row, position, len(made)),
                    cells,
                    behind,
                )
            )
    return made


def _order(row: Row, section: int, position: int) -> tuple[float, ...]:
    """By section; within it the ranked rows first, best first, then the others as the table has them."""
    found = re.match(r"(\d+)(?:–(\d+))?", row.cell("rank").text)
    if not found:
        return section, 1, 0, 0, position
    return section, 0, float(found[1]), float(found[2] or found[1]), position


def show(cell: Cell, column: Column) -> Shown:
    """A table cell as the page prints it."""
    text = clean(number(cell, column))
    interval = ""
    if cell.interval is not None and all(map(math.isfinite, cell.interval)):
        low, high = (f"{value * column.scale:.{column.digits}f}" for value in cell.interval)
        interval = f"{low} to {high}"
    value: float | str = cell.mean if cell.mean is not None else "" if text == DASH else _sortable(text)
    return Shown(text, interval, _marks(cell.marks), cell.bold, value, cell.mean is not None)


def _sortable(text: str) -> str:
    """What a text is sorted by: its first number, so that the rank '10–12' follows '2–3'; else itself."""
    found = re.match(r"\s*(\d+(?:\.\d+)?)", text)
    return found[1] if found else text


def _marks(marks: Sequence[str]) -> str:
    return ", ".join(clean(mark, 8) for mark in marks)


# Bars


def _chart(columns: Sequence[Column], table: Table, rows: Sequence[BoardRow]) -> Chart:
    """Columns with their axes, and values in printed units."""
    drawn: list[tuple[Column, Axis]] = []
    for column in columns:
        values = [
            value
            for row in table.rows
            for cell in [row.cell(column.key)]
            if cell.mean is not None
            for value in (cell.mean, *(cell.interval or ()))
        ]
        if not values or not column.better or column.optional > 1 or (min(values) < 0 and column.unit != "%"):
            continue  # bars begin at zero: a signed difference would need another drawing
        top = 100.0 if column.unit == "%" else _ceiling(max(values) * column.scale)
        label = f"{column.heading}{f' ({column.unit})' if column.unit else ''}"
        ticks = tuple(_tick(top * part / 4) for part in range(5))
        drawn.append((column, Axis(column.key, label, HIGHER[column.better], top, ticks)))
    return Chart(
        tuple(axis for _, axis in drawn),
        tuple(
            ChartRow(row.id, row.label, {column.key: _point(source.cell(column.key), column) for column, _ in drawn})
            for row, source in zip(rows, table.rows, strict=True)
        ),
    )


def _point(cell: Cell, column: Column) -> Point | None:
    if cell.mean is None:
        return None
    low, high = (value * column.scale for value in cell.interval) if cell.interval else (None, None)
    unit = "per cent" if column.unit == "%" else column.unit
    text, between = f"{cell.mean * column.scale:.{column.digits}f}", ""
    spoken = f"{column.title} {text} {unit}".strip()
    if low is not None and high is not None:
        spoken += f", 95 % interval {low:.{column.digits}f} to {high:.{column.digits}f}"
        between = f"{low:.{column.digits}f} to {high:.{column.digits}f}"
    return Point(cell.mean * column.scale, low, high, text, between, spoken)


def _ceiling(value: float) -> float:
    """The next of 1, 2, 2.5, 4, 5, 8, 10 times a power of ten that is not below `value`."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 4, 5, 8, 10) if step * power >= value * (1 - 1e-9))


def _tick(value: float) -> str:
    return f"{value:.4g}" if value < 10_000 else f"{value:.0e}"


def _bars(chart: Chart, rows: Sequence[BoardRow]) -> tuple[Bar, ...]:
    """The first column's bars, best first."""
    if not chart.columns:
        return ()
    axis = chart.columns[0]

    def share(value: float | None) -> float | None:
        return None if value is None else min(100.0, max(0.0, 100 * value / axis.top))

    bars: list[tuple[Point | None, Bar]] = []
    for row, data in zip(rows, chart.rows, strict=True):
        point = data.values[axis.key]
        if point is not None:
            ends = share(point.mean) or 0.0, share(point.low), share(point.high)
            bars.append((point, Bar(row, *ends, point.text, point.between, point.spoken)))
        elif any(data.values.values()):
            bars.append((None, Bar(row, 0.0, None, None, "n/a", "", "not available")))
    sign = -1 if axis.direction >= 0 else 1
    bars.sort(key=lambda pair: (pair[0] is None, sign * pair[0].mean if pair[0] else 0))
    return tuple(bar for _, bar in bars)


# Names


def slug(text: str) -> str:
    """A file name of lower-case letters, digits and dashes from any text."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:100] or "table"


def unique(name: str, taken: set[str]) -> str:
    """The name, with a number after it if it is taken."""
    if name not in taken:
        return name
    return next(candidate for count in range(2, len(taken) + 3) if (candidate := f"{name}-{count}") not in taken)
