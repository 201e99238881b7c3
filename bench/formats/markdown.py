"""Tables as GitHub-flavoured Markdown."""

from __future__ import annotations

import re

from seqdis.bench.tables.layout import Column, Document, Row, clean, note, number, shown


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
