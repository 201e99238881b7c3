"""A table before it has a format: columns, rows, marks and notes, with full-precision numbers. No drawing here."""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from typing import Literal

DASH = "–"
MOST_EXCLUDED = 12
LONGEST = 80
"""Characters of a label; notes may have ten times as many."""
Identity = dict[str, str | int]
"""What tells a table or a row from others in the machine formats, by the name of its field; truth is an int."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        key: its name in CSV, JSON and parquet, where numbers keep the record's unit (fractions, nats, bytes).
        title: as printed; `unit` beside it.
        better: which direction is better, as an arrow; empty where neither is.
        scale: what numbers are multiplied by for printing (100 for a fraction printed in per cent).
        digits: after the decimal point, as printed.
        panel: columns of one panel are printed side by side, panels below each other.
        optional: printed only where it fits, or where everything is asked for. Higher numbers go first.
        deviation: whether the standard deviation is printed beside the mean.
        limits: the least and the largest value that the quantity can have, in the record's unit.
        follows: whether it says something of the column before it, and is never parted from it.
        is_literature: whether it is a published number, or the difference from one.
    """

    key: str
    title: str
    unit: str = ""
    better: Literal["up", "down", ""] = ""
    scale: float = 1.0
    digits: int = 1
    panel: int = 0
    optional: int = 0
    deviation: bool = True
    limits: tuple[float, float] = (-math.inf, math.inf)
    follows: bool = False
    is_literature: bool = False

    @property
    def heading(self) -> str:
        """Title and arrow."""
        return self.title + {"up": " ↑", "down": " ↓", "": ""}[self.better]


@dataclasses.dataclass(kw_only=True)
class Cell:
    """One cell: a number over seeds (`mean`, `std`, `n`, `values`), or `text`. Neither is a dash.

    `interval` is the 95 % one of the mean within the column's limits, or whatever interval the column says.
    """

    mean: float | None = None
    std: float | None = None
    n: int = 0
    values: tuple[float, ...] = ()
    interval: tuple[float, float] | None = None
    text: str = ""
    bold: bool = False
    marks: tuple[str, ...] = ()


@dataclasses.dataclass(kw_only=True)
class Row:
    """One row. `about` identifies it in the machine formats; `marks` go with its label."""

    label: str
    cells: dict[str, Cell]
    marks: tuple[str, ...] = ()
    about: Identity = dataclasses.field(default_factory=dict)

    def cell(self, key: str) -> Cell:
        return self.cells.get(key) or Cell()


@dataclasses.dataclass(kw_only=True)
class Section:
    """Rows above the next rule. A title says why they stand apart."""

    rows: list[Row]
    title: str = ""


@dataclasses.dataclass(kw_only=True)
class Table:
    """One block of numbers that may be compared with each other.

    `panels` are the titles of the panels; `footnotes` maps marks to texts; `about` identifies the block.
    """

    name: str
    title: str
    columns: list[Column]
    sections: list[Section]
    panels: tuple[str, ...] = ("",)
    footnotes: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    about: Identity = dataclasses.field(default_factory=dict)
    label: str = "Method"

    @property
    def rows(self) -> list[Row]:
        return [row for section in self.sections for row in section.rows]

    def used(self, key: str) -> bool:
        """Whether any row has something to print in the column."""
        return any(row.cell(key).mean is not None or row.cell(key).text for row in self.rows)


@dataclasses.dataclass(kw_only=True)
class Document:
    """What one `bench table` prints: tables, sentences about all of them, and about records that stand in none."""

    name: str
    tables: list[Table]
    notes: list[str] = dataclasses.field(default_factory=list)
    excluded: list[str] = dataclasses.field(default_factory=list)

    def sentences(self, *, everything: bool) -> list[str]:
        """Notes and records left out; not more than a dozen of the latter unless everything is asked for."""
        more = len(self.excluded) - MOST_EXCLUDED
        if everything or more <= 0:
            return [*self.notes, *self.excluded]
        rest = f"{more} more records are not in the table (--wide or --format json names all)."
        return [*self.notes, *self.excluded[:MOST_EXCLUDED], rest]


def clean(text: str, longest: int = LONGEST) -> str:
    """Text on one line without control, format or private characters, cut to `longest` characters."""
    kept = "".join(
        " " if char.isspace() else char
        for char in text[: longest * 4]
        if char.isspace() or unicodedata.category(char)[0] != "C"
    )
    kept = " ".join(kept.split())
    return kept if len(kept) <= longest else kept[: longest - 1] + "…"


def note(text: str) -> str:
    """A sentence, cleaned and cut."""
    return clean(text, LONGEST * 10)


def number(cell: Cell, column: Column, *, plus_minus: str = " ± ") -> str:
    """A cell's text without marks: '66.3 ± 5.2', or a dash."""
    if cell.text:
        return cell.text
    if cell.mean is None:
        return DASH
    text = f"{cell.mean * column.scale:.{column.digits}f}"
    if cell.std is not None and column.deviation:
        text += f"{plus_minus}{cell.std * column.scale:.{column.digits}f}"
    return text


def heading_lines(column: Column) -> list[str]:
    """A heading's lines: one a word, the arrow beside the last, the unit below."""
    words = column.title.split(" ")
    arrow = column.heading[len(column.title) :]
    return [*words[:-1], words[-1] + arrow, *([column.unit] if column.unit else [])]


def shown(table: Table, panel: int, *, everything: bool) -> list[Column]:
    """The columns of a panel that have anything to print; the optional ones only where everything is asked for."""
    return [
        column
        for column in table.columns
        if column.panel == panel and table.used(column.key) and (everything or column.optional < 2)
    ]
