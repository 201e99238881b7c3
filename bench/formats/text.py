"""Tables as terminal text and Markdown (`latex` and `exports` have the other formats). The same table, the same bytes.

Every string comes from a record or a file that anyone may have written, so each format escapes all of them, drops
control characters and cuts what is too long.
"""

from __future__ import annotations

import dataclasses
import io
import re
import unicodedata
from typing import Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.tables.layout import DASH, Cell, Column, Document, Row, Table, number, shown

FORMATS = ("terminal", "markdown", "latex", "csv", "json", "parquet")
SUFFIXES = {
    ".txt": "terminal",
    ".md": "markdown",
    ".tex": "latex",
    ".csv": "csv",
    ".json": "json",
    ".parquet": "parquet",
}
_LABEL = 26  # columns of the terminal that labels may claim before they are folded
LONGEST = 80
"""Characters of a label; notes may have ten times as many."""


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


def terminal(document: Document, *, width: int = 80, everything: bool = False, color: bool = False) -> str:
    """Plain or coloured text. Columns that do not fit are left out by priority and named, unless all are asked for."""
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
            if not everything:
                columns, gap, dropped = _fitting(table, columns, width)
                hidden += [text for text in dropped if text not in hidden]
            if title:
                console.print(Text(clean(title, 200), style="italic"))
            console.print(_rich(table, columns, gap, color))
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
    from rich.cells import cell_len

    label = max([cell_len(_marked(clean(row.label), row.marks)) for row in table.rows] + [len(table.label)])
    kept, gap = list(columns), 2

    def too_wide() -> bool:
        sizes = [
            max(
                [
                    *(cell_len(_plain(row.cell(column.key), column, color=False)) for row in table.rows),
                    *map(cell_len, heading_lines(column)),
                ]
            )
            for column in kept
        ]
        return sum(sizes) + len(sizes) * gap + min(label, _LABEL) > width

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


def heading_lines(column: Column) -> list[str]:
    """A heading's lines: one a word, the arrow beside the last, the unit below."""
    words = column.title.split(" ")
    arrow = column.heading[len(column.title) :]
    return [*words[:-1], words[-1] + arrow, *([column.unit] if column.unit else [])]


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


def escape_markdown(text: str) -> str:
    """Text that no Markdown renderer reads as markup, a link, a cell border or HTML."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A bare address or handle would become a link by itself.
    text = re.sub(r"(?i)\b(https?|ftp)://", r"\1&#58;//", text).replace("www.", "www&#46;").replace("@", "&#64;")
    return re.sub(r"([\\`*_{}\[\]#!|~$])", r"\\\1", text)


def markdown(document: Document, *, everything: bool = False) -> str:
    """GitHub-flavoured Markdown."""
    lines: list[str] = []
    for table in document.tables:
        lines += [f"### {escape_markdown(clean(table.title, 200))}", ""]
        for panel, title in enumerate(table.panels):
            columns = shown(table, panel, everything=everything)
            if not columns:
                continue
            if title:
                lines += [f"*{escape_markdown(clean(title, 200))}*", ""]
            heads = [f"{column.heading} ({column.unit})" if column.unit else column.heading for column in columns]
            lines.append("| " + " | ".join([table.label, *map(escape_markdown, heads)]) + " |")
            lines.append("| --- |" + " ---: |" * len(columns))
            for section in table.sections:
                if section.title:
                    lines.append(f"| *{escape_markdown(clean(section.title))}* |" + " |" * len(columns))
                lines += [_markdown_row(row, columns) for row in section.rows]
            lines.append("")
        lines += [f"{_superscript(mark)} {escape_markdown(note(text))}  " for mark, text in table.footnotes.items()]
        lines += [""] * bool(table.footnotes)
        lines += [line for text in table.notes for line in (escape_markdown(note(text)), "")]
    lines += [line for text in document.sentences(everything=everything) for line in (escape_markdown(note(text)), "")]
    return "\n".join(lines).rstrip() + "\n"


def _superscript(mark: str) -> str:
    return f"<sup>{mark}</sup>"


def _markdown_row(row: Row, columns: list[Column]) -> str:
    cells = [escape_markdown(clean(row.label)) + "".join(map(_superscript, row.marks))]
    for column in columns:
        cell = row.cell(column.key)
        text = escape_markdown(clean(number(cell, column)))
        cells.append((f"**{text}**" if cell.bold else text) + "".join(map(_superscript, cell.marks)))
    return "| " + " | ".join(cells) + " |"


def render(document: Document, kind: str, *, width: int = 80, everything: bool = False, color: bool = False) -> bytes:
    """The document in one of FORMATS, as bytes (UTF-8 where it is text).

    Raises:
        UserError: an unknown format.
    """
    if kind == "terminal":
        return terminal(document, width=width, everything=everything, color=color).encode()
    if kind == "markdown":
        return markdown(document, everything=everything).encode()
    if kind == "latex":
        from seqdis.bench.formats.latex import latex

        return latex(document, everything=everything).encode()
    if kind in ("csv", "json", "parquet"):
        from seqdis.bench.formats import exports

        if kind == "parquet":
            return exports.parquet_bytes(document)
        text = exports.csv_text(document) if kind == "csv" else exports.json_text(document)
        return text.encode("utf-8", "backslashreplace")  # half a surrogate pair stays the escape that JSON has for it
    raise UserError(f"unknown format {kind!r}; it is one of {', '.join(FORMATS)}.")


__all__ = ["DASH", "FORMATS", "SUFFIXES", "clean", "escape_markdown", "heading_lines", "note", "render"]
