"""A built table for a notebook: shown as HTML, taken on as a pandas frame or as LaTeX."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from seqdis.bench.formats import exports
from seqdis.bench.formats.render import render
from seqdis.bench.tables.layout import Document, Row, clean, note, number, shown
from seqdis.bench.tables.layout import Table as Block

if TYPE_CHECKING:
    import pandas


class Table:
    """What `bench table` prints, as an object.

    Attributes:
        document: the table before it has a format: blocks, rows, marks, notes and full-precision numbers.
    """

    def __init__(self, document: Document) -> None:
        self.document = document

    def to_pandas(self) -> pandas.DataFrame:
        """One line a number: what identifies its row, `metric`, and its `mean`, `std`, `n` and 95 % interval over seeds.

        Numbers are in the record's units (fractions, nats, bytes), at full precision.
        """
        import pandas

        return pandas.DataFrame(exports.numbers(self.document))

    def to_latex(self, *, everything: bool = False) -> str:
        """As `bench table --format latex` writes it."""
        return render(self.document, "latex", everything=everything).decode()

    def to_markdown(self, *, everything: bool = False) -> str:
        """As `bench table --format markdown` writes it."""
        return render(self.document, "markdown", everything=everything).decode()

    def __str__(self) -> str:
        return render(self.document, "terminal", width=120).decode()

    def _repr_html_(self) -> str:
        parts = [_block(block) for block in self.document.tables]
        parts += [f"<p>{_text(note(text))}</p>" for text in self.document.sentences(everything=False)]
        return "\n".join(parts)


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _block(block: Block) -> str:
    lines = [f"<h4>{_text(clean(block.title, 200))}</h4>"]
    for panel, title in enumerate(block.panels):
        columns = shown(block, panel, everything=False)
        if not columns:
            continue
        heads = [f"{column.heading} ({column.unit})" if column.unit else column.heading for column in columns]
        lines += [f"<p>{_text(clean(title, 200))}</p>"] * bool(title)
        cells = "".join(f"<th>{_text(head)}</th>" for head in [block.label, *heads])
        lines.append(f"<table><thead><tr>{cells}</tr></thead><tbody>")
        for section in block.sections:
            if section.title:
                lines.append(f'<tr><th colspan="{len(columns) + 1}">{_text(clean(section.title))}</th></tr>')
            lines += [_row(row, columns) for row in section.rows]
        lines.append("</tbody></table>")
    lines += [f"<p><sup>{_text(mark)}</sup> {_text(note(text))}</p>" for mark, text in block.footnotes.items()]
    lines += [f"<p>{_text(note(text))}</p>" for text in block.notes]
    return "\n".join(lines)


def _row(row: Row, columns: list[Any]) -> str:
    cells = [f"<th>{_text(clean(row.label))}{_marks(row.marks)}</th>"]
    for column in columns:
        cell = row.cell(column.key)
        text = _text(clean(number(cell, column)))
        cells.append(f"<td>{f'<b>{text}</b>' if cell.bold else text}{_marks(cell.marks)}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _marks(marks: tuple[str, ...]) -> str:
    return "".join(f"<sup>{_text(mark)}</sup>" for mark in marks)
