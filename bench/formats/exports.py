"""Tables for machines: CSV, JSON and parquet, with numbers in the record's units and at full precision."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from seqdis.bench.tables.layout import Cell, Document, Identity, Row, Section, Table, note


def _about(table: Table, row: Row, section: Section) -> Identity:
    marks = {*row.marks, *(mark for cell in row.cells.values() for mark in cell.marks)}
    return {
        "table": table.name,
        **table.about,
        **row.about,
        "label": row.label,
        "section": section.title,
        "remarks": " ".join(
            f"{text}." if not text.endswith(".") else text for mark, text in table.footnotes.items() if mark in marks
        ),
    }


def csv_text(document: Document) -> str:
    """One line a row, all tables below each other. Numbers in the record's units, at full precision."""
    lines: list[Identity] = []
    for table in document.tables:
        for section in table.sections:
            for row in section.rows:
                line = _about(table, row, section)
                for column in table.columns:
                    cell = row.cell(column.key)
                    line[column.key] = cell.text if cell.mean is None else repr(cell.mean)
                    if cell.n > 1 and cell.std is not None:
                        line[f"{column.key}_std"] = repr(cell.std)
                lines.append(line)
    # What identifies a row comes first, then numbers in the order of the columns.
    fields = list(dict.fromkeys(key for line in lines for key in line))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fields, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _harmless(value) for key, value in line.items()} for line in lines)
    return buffer.getvalue()


def _harmless(value: str | int) -> str | int:
    """A text that a spreadsheet does not take for a formula."""
    if not isinstance(value, str):
        return value
    text = note(value)
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    return text


def json_text(document: Document) -> str:
    """Everything that the table knows: means, deviations, intervals, values by seed, marks and notes."""

    def cell(value: Cell) -> dict[str, Any]:
        if value.mean is None:
            return {"text": value.text} if value.text else {}
        return {
            "mean": value.mean,
            "std": value.std,
            "n": value.n,
            "values": list(value.values),
            "interval": None if value.interval is None else list(value.interval),
            "bold": value.bold,
            "marks": list(value.marks),
        }

    content = {
        "table": document.name,
        "notes": document.notes,
        "excluded": document.excluded,
        "blocks": [
            {
                "title": table.title,
                "about": table.about,
                "notes": table.notes,
                "footnotes": table.footnotes,
                "columns": [
                    {
                        "key": column.key,
                        "title": column.title,
                        "better": column.better,
                        "unit_shown": column.unit,
                        "scale_shown": column.scale,
                    }
                    for column in table.columns
                ],
                "rows": [
                    {
                        "label": row.label,
                        "section": section.title,
                        "marks": list(row.marks),
                        **row.about,
                        "cells": {key: cell(value) for key, value in row.cells.items() if cell(value)},
                    }
                    for section in table.sections
                    for row in section.rows
                ],
            }
            for table in document.tables
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def numbers(document: Document) -> list[dict[str, Any]]:
    """Each number of each table as a line: what identifies its row, `metric`, `mean`, `std`, `n`, `low`, `high`."""
    lines = []
    for table in document.tables:
        for section in table.sections:
            for row in section.rows:
                about = _about(table, row, section)
                for column in table.columns:
                    value = row.cell(column.key)
                    if value.mean is not None:
                        low, high = value.interval or (None, None)
                        lines.append(
                            {
                                **about,
                                "metric": column.key,
                                "mean": value.mean,
                                "std": value.std,
                                "n": value.n,
                                "low": low,
                                "high": high,
                            }
                        )
    return lines


def parquet_bytes(document: Document) -> bytes:
    """`numbers` as the rows of a file."""
    import pyarrow
    import pyarrow.parquet

    measured: list[Any] = [
        ("mean", pyarrow.float64()),
        ("std", pyarrow.float64()),
        ("n", pyarrow.int64()),
        ("low", pyarrow.float64()),
        ("high", pyarrow.float64()),
    ]
    lines, after = numbers(document), {"metric", *(name for name, _ in measured)}
    keys = dict.fromkeys(
        key
        for table in document.tables
        for section in table.sections
        for row in section.rows
        for key in _about(table, row, section)
        if key not in after
    )
    schema = pyarrow.schema(
        [*((key, _arrow_type(lines, key)) for key in keys), ("metric", pyarrow.string()), *measured]
    )
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(lines, schema), sink)
    return bytes(sink.getvalue().to_pybytes())


def _arrow_type(lines: list[dict[str, Any]], key: str) -> Any:
    import pyarrow

    values = [line[key] for line in lines if line.get(key) is not None]
    if values and all(isinstance(value, bool) for value in values):
        return pyarrow.bool_()
    return pyarrow.int64() if values and all(isinstance(value, int) for value in values) else pyarrow.string()
