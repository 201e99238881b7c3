"""Tables as terminal text."""

from __future__ import annotations

import dataclasses
import io
import itertools
from typing import Any

from seqdis.bench.tables.layout import Cell, Column, Document, Table, clean, heading_lines, note, number, shown

_LABEL = 26  # columns of the terminal that labels may claim before they are folded


def terminal(document: Document, *, width: int = 80, everything: bool = False, color: bool = False) -> str:
    """Plain or coloured text. Columns that do not fit are left out by priority and named, unless all are asked for; what
    none may leave out is printed in parts, one below the other."""
    from rich.console import Console
    from rich.text import Text

    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=10_000 if everything else width,
        force_terminal=color,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        color_system="standard" if color else None,
    )
    for table in document.tables:
        console.print(Text(clean(table.title, 200), style="bold"))
        hidden: list[str] = []
        for panel, title in enumerate(table.panels):
            columns, gap = shown(table, panel, everything=True), 2
            if not columns:
                continue
            parts = [columns]
            if not everything:
                columns, gap, dropped = _fitting(table, columns, width)
                hidden += [text for text in dropped if text not in hidden]
                parts = _parts(table, columns, gap, width)
            if title:
                console.print(Text(clean(title, 200), style="italic"))
            for part in parts:
                console.print(_rich(table, part, gap, color))
        for mark, text in table.footnotes.items():
            console.print(Text(f"{mark} {note(text)}"))
        for text in table.notes:
            console.print(Text(note(text), style="dim"))
        if hidden:
            console.print(Text(f"Not shown at this width: {'; '.join(hidden)} (--wide shows all).", style="dim"))
        console.print()
    for text in document.sentences(everything=everything):
        console.print(Text(note(text)))
    return "\n".join(line.rstrip() for line in buffer.getvalue().split("\n"))


def _marked(text: str, marks: tuple[str, ...]) -> str:
    return text + "".join(f"[{mark}]" if mark.isalnum() else mark for mark in marks)


def _plain(cell: Cell, column: Column, color: bool = True) -> str:
    text = clean(number(cell, column, plus_minus="±"))
    return _marked(text + "*" if cell.bold and not color else text, cell.marks)


def _fitting(table: Table, columns: list[Column], width: int) -> tuple[list[Column], int, list[str]]:
    """The columns that fit, the blanks between them, and what is left out.

    First go the extra columns, then deviations of all but the first score, then one blank, then the other optional
    columns.
    """
    kept, gap = list(columns), 2

    def too_wide() -> bool:
        return _width(table, kept, gap) > width

    def drop(least: int) -> None:
        while too_wide() and any(column.optional >= least for column in kept):
            worst = max(column.optional for column in kept)
            kept.remove([column for column in kept if column.optional == worst][-1])

    hidden = []
    drop(2)
    brief = [column for column in kept if column.better][1:]
    if too_wide() and any(row.cell(column.key).std is not None for row in table.rows for column in brief):
        kept[:] = [dataclasses.replace(column, deviation=False) if column in brief else column for column in kept]
        hidden.append("deviations but of the first score")
    gap = 1 if too_wide() else 2
    drop(1)
    keys = {column.key for column in kept}
    return kept, gap, [column.title for column in columns if column.key not in keys] + hidden


def _width(table: Table, columns: list[Column], gap: int) -> int:
    """Columns of the terminal that labels and some columns of a table take."""
    from rich.cells import cell_len

    label = max([cell_len(_marked(clean(row.label), row.marks)) for row in table.rows] + [len(table.label)])
    sizes = [
        max(
            [
                *(cell_len(_plain(row.cell(column.key), column, color=False)) for row in table.rows),
                *map(cell_len, heading_lines(column)),
            ]
        )
        for column in columns
    ]
    return sum(sizes) + len(sizes) * gap + min(label, _LABEL)


def _parts(table: Table, columns: list[Column], gap: int, width: int) -> list[list[Column]]:
    """The columns in as few parts as fit the width; a column stays with the one that it follows."""
    parts: list[list[Column]] = []
    for position, column in enumerate(columns):
        if column.follows and position:
            continue
        after = list(itertools.takewhile(lambda other: other.follows, columns[position + 1 :]))
        if parts and _width(table, [*parts[-1], column, *after], gap) <= width:
            parts[-1] += [column, *after]
        else:
            parts.append([column, *after])
    return parts


def _rich(table: Table, columns: list[Column], gap: int, color: bool) -> Any:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    # The box itself puts one blank between columns.
    grid = RichTable(box=box.SIMPLE_HEAD, padding=(0, gap - 1, 0, 0), pad_edge=False, show_edge=False)
    widths = [len(_marked(clean(row.label), row.marks)) for row in table.rows]
    grid.add_column(
        Text(table.label), overflow="fold", vertical="bottom", min_width=min(max(widths, default=1), _LABEL)
    )
    for column in columns:
        grid.add_column(Text("\n".join(heading_lines(column))), justify="right", no_wrap=True, vertical="bottom")
    for position, section in enumerate(table.sections):
        if position:
            grid.add_section()
        if section.title:
            grid.add_row(Text(clean(section.title), style="italic"))
        for row in section.rows:
            grid.add_row(
                Text(_marked(clean(row.label), row.marks)),
                *(
                    Text(_plain(row.cell(column.key), column, color), style="bold" if row.cell(column.key).bold else "")
                    for column in columns
                ),
            )
    return grid
