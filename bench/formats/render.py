"""Any table in any format. The same table, the same bytes.

Every string comes from a record or a file that anyone may have written, so each format escapes all of them, drops
control characters and cuts what is too long.
"""

from __future__ import annotations

from seqdis.bench.core.errors import UserError
from seqdis.bench.formats import exports
from seqdis.bench.formats.latex import latex
from seqdis.bench.formats.markdown import markdown
from seqdis.bench.formats.text import terminal
from seqdis.bench.tables.layout import Document

FORMATS = ("terminal", "markdown", "latex", "csv", "json", "parquet")
SUFFIXES = {
    ".txt": "terminal",
    ".md": "markdown",
    ".tex": "latex",
    ".csv": "csv",
    ".json": "json",
    ".parquet": "parquet",
}


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
        return latex(document, everything=everything).encode()
    if kind in ("csv", "json", "parquet"):
        if kind == "parquet":
            return exports.parquet_bytes(document)
        text = exports.csv_text(document) if kind == "csv" else exports.json_text(document)
        return text.encode("utf-8", "backslashreplace")  # half a surrogate pair stays the escape that JSON has for it
    raise UserError(f"unknown format {kind!r}; it is one of {', '.join(FORMATS)}.")
