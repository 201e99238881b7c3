"""Tables as LaTeX, for any document that uses booktabs, sized for a one-column paper."""

from __future__ import annotations

import re
from typing import NamedTuple

from seqdis.bench.tables.layout import Column, Document, Table, clean, heading_lines, note, number, shown

_LATEX = {
    "[": "{[}",  # else it would be an argument of the row end before it
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "{''}",
    "`": "{`}",
    "'": "'",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "°": r"$^{\circ}$",
    "·": r"$\cdot$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "Δ": r"$\Delta$",
    "−": "$-$",
    "γ": r"$\gamma$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "“": "``",
    "”": "''",
    "’": "'",
    "‘": "`",
    "§": r"\S{}",
    "*": r"$\ast$",
}


def escape_latex(text: str) -> str:
    """Text that LaTeX prints and never runs; what its usual fonts lack is written as a code point."""
    return "".join(_LATEX.get(char) or (char if " " <= char <= "~" else _accented(char)) for char in text)


def _accented(char: str) -> str:
    return char if "À" <= char <= "ÿ" and char not in "×÷ÐÞðþ" else f"[U+{ord(char):04X}]"


class Size(NamedTuple):
    """Points of a digit, points on each side of a column, and what sets both."""

    digit: float
    space: float
    command: str = ""


TEXT_WIDTH = 397.0
"""Points: the text of a one-column paper."""
LABEL_WIDTH = 160.0
"""Points that labels may take before they are folded."""
SIZES = (Size(4.25, 3.0), Size(3.99, 2.0, r"\scriptsize\setlength{\tabcolsep}{2pt}"))
"""Largest first; `latex` itself sets the first. There is no third: digits in \\tiny are still 3.4 points wide, for a
height of five that no journal takes."""
_BOLD, _RAISED = 1.15, 0.87  # digits in bold and in superscripts, in digits of the text
_DIGITS = {
    **dict.fromkeys("ijl.,:;'!|[] ", 0.65),
    **dict.fromkeys("frst()-I", 0.8),
    **dict.fromkeys("mw%±×−Δ", 1.7),
    **dict.fromkeys("MW…", 2.1),
}


def latex(document: Document, *, everything: bool = False) -> str:
    """One floating table a block. What would be wider than TEXT_WIDTH is set smaller, then in parts below each other."""
    lines = [r"% \usepackage{booktabs}"]
    for table in document.tables:
        lines += [
            r"\begin{table}[t]",
            r"\centering",
            r"\footnotesize",
            r"\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{escape_latex(clean(table.title, 200))}}}",
            rf"\label{{tab:{re.sub('[^a-z0-9]+', '-', _identity(table).lower()).strip('-')}}}",
        ]
        for panel, title in enumerate(table.panels):
            columns = shown(table, panel, everything=everything)
            if columns:
                lines += _panel(table, columns, title)
        foot = [
            rf"\textsuperscript{{{escape_latex(mark)}}}~{escape_latex(note(text))}"
            for mark, text in table.footnotes.items()
        ] + [escape_latex(note(text)) for text in table.notes]
        if foot:
            lines += [
                r"\par\smallskip",
                r"\begin{minipage}{\linewidth}\scriptsize",
                "\\par\n".join(foot),
                r"\end{minipage}",
            ]
        lines += [r"\end{table}", ""]
    lines += [f"% {escape_latex(note(text))}" for text in document.sentences(everything=everything)]
    return "\n".join(lines).rstrip() + "\n"


def _identity(table: Table) -> str:
    return "-".join([table.name, *(str(table.about.get(key, "")) for key in ("dataset", "source", "preset", "block"))])


def _panel(table: Table, columns: list[Column], title: str) -> list[str]:
    label = max([_digits(table.label), *(_digits(row.label) + _raised_digits(row.marks) for row in table.rows)])
    size, parts = _arranged(columns, [_column_digits(table, column) for column in columns], label)
    lines = [rf"\par\smallskip\textit{{{escape_latex(clean(title, 200))}}}\par\smallskip"] if title else []
    for position, part in enumerate(parts):
        lines += [r"\par\smallskip"] * bool(position)
        lines += _tabular(table, part, is_folded=size.digit * label > LABEL_WIDTH)
    return [f"{{{size.command}", *lines, "}"] if size.command else lines


def _arranged(columns: list[Column], widths: list[float], label: float) -> tuple[Size, list[list[Column]]]:
    """The fewest parts in which every part fits the text, and the largest size that allows so few.

    Widths are in digits, estimated from above for Computer Modern, the widest of the usual fonts.
    """
    blocks: list[list[int]] = []
    for index, column in enumerate(columns):
        if column.follows and blocks:
            blocks[-1].append(index)
        else:
            blocks.append([index])
    found = []
    for size in SIZES:
        room = TEXT_WIDTH - min(size.digit * label, LABEL_WIDTH) - 2 * size.space
        points = [sum(size.digit * widths[index] + 2 * size.space for index in block) for block in blocks]
        parts = _balanced(points, room)
        found.append((size, [[columns[index] for block in part for index in blocks[block]] for part in parts]))
    return min(found, key=lambda pair: len(pair[1]))


def _balanced(widths: list[float], room: float) -> list[list[int]]:
    """Indices in as few parts as the room allows, whose widest is as narrow as it can be."""
    parts: list[list[int]] = []
    closer = _filled(widths, room)
    while parts != closer and (not parts or len(closer) == len(parts)):
        parts = closer
        closer = _filled(widths, max(sum(widths[index] for index in part) for part in parts) - 0.01)
    return parts


def _filled(widths: list[float], room: float) -> list[list[int]]:
    parts: list[list[int]] = [[]]
    for index, width in enumerate(widths):
        if parts[-1] and sum(widths[other] for other in parts[-1]) + width > room:
            parts.append([])
        parts[-1].append(index)
    return parts


def _column_digits(table: Table, column: Column) -> float:
    cells = [row.cell(column.key) for row in table.rows]
    texts = [_digits(number(cell, column, plus_minus="±")) * (_BOLD if cell.bold else 1) for cell in cells]
    bodies = [text + _raised_digits(cell.marks) for text, cell in zip(texts, cells, strict=True)]
    return max([*bodies, *map(_digits, heading_lines(column))])


def _raised_digits(marks: tuple[str, ...]) -> float:
    return _RAISED * _digits(",".join(marks))


def _digits(text: str) -> float:
    """Width of a text in digits, rounded up."""
    printed = "".join(char if char in _LATEX else _accented(char) if char > "~" else char for char in clean(text))
    return sum(_DIGITS.get(char) or (1.6 if char.isupper() else 1.1 if char.isalpha() else 1.0) for char in printed)


def _tabular(table: Table, columns: list[Column], *, is_folded: bool) -> list[str]:
    labels = f"p{{{LABEL_WIDTH:g}pt}}" if is_folded else "l"
    lines = [rf"\begin{{tabular}}{{{labels}{'r' * len(columns)}}}", r"\toprule"]
    # Words of a heading stand below each other: side by side they would be wider than the numbers, and the page.
    heads = [_stacked([escape_latex(line) for line in heading_lines(column)]) for column in columns]
    lines += [" & ".join([escape_latex(table.label), *heads]) + r" \\", r"\midrule"]
    for position, section in enumerate(table.sections):
        if position:
            lines.append(r"\midrule")
        if section.title:
            lines.append(
                rf"\multicolumn{{{len(columns) + 1}}}{{l}}{{\textit{{{escape_latex(clean(section.title))}}}}} \\"
            )
        for row in section.rows:
            cells = [escape_latex(clean(row.label)) + _raised(row.marks)]
            for column in columns:
                cell = row.cell(column.key)
                text = escape_latex(clean(number(cell, column, plus_minus="±")))
                cells.append((rf"\textbf{{{text}}}" if cell.bold else text) + _raised(cell.marks))
            lines.append(" & ".join(cells) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _stacked(lines: list[str]) -> str:
    return lines[0] if len(lines) == 1 else r"\shortstack[r]{" + r" \\ ".join(lines) + "}"


def _raised(marks: tuple[str, ...]) -> str:
    return rf"\textsuperscript{{{','.join(map(escape_latex, marks))}}}" if marks else ""
