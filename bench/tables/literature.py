"""Tables of the literature alone: its numbers with their sources, and the audit of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from seqdis.bench.plan.catalog import data_facts
from seqdis.bench.tables import published
from seqdis.bench.tables.layout import Cell, Column, Document, Row, Section, Table
from seqdis.bench.tables.metrics import IN_LITERATURE
from seqdis.bench.tables.published import Number

_COLUMNS = tuple(replace(metric, digits=metric.paper.digits) for metric in IN_LITERATURE if metric.paper)


def _title(dataset: str) -> str:
    facts = data_facts(dataset)
    return facts.title if facts else dataset


def _label(method: str, variant: str) -> str:
    return published.TITLES.get(method, method) + (f" ({variant})" if variant else "")


def published_document(numbers: Sequence[Number]) -> Document:
    """Every given number, by data set and source."""
    tables = []
    for dataset in dict.fromkeys(number.dataset for number in numbers):
        rows: dict[tuple[str, ...], Row] = {}
        footnotes: dict[str, str] = {}
        marks: dict[str, str] = {}
        for number in (number for number in numbers if number.dataset == dataset):
            key = (number.table, number.source, number.method, number.variant)
            row = rows.setdefault(
                key,
                Row(
                    label=_label(number.method, number.variant),
                    cells={},
                    about={"method": number.method, "variant": number.variant, "verified": number.verified},
                ),
            )
            if not number.verified:
                row.marks = (_mark("not read in its source: do not quote", marks, footnotes),)
            row.cells[number.metric] = Cell(
                mean=number.value, n=1, marks=((_mark(number.note, marks, footnotes),) if number.note else ())
            )
            source = f"{number.table}, {number.source}" if number.table else number.source
            row.about["source_text"] = source
        sections: dict[str, Section] = {}
        for row in rows.values():
            source = str(row.about["source_text"])
            sections.setdefault(source, Section(rows=[], title=source)).rows.append(row)
        tables.append(
            Table(
                name="published",
                title=f"Published: {_title(dataset)}",
                columns=list(_COLUMNS),
                sections=list(sections.values()),
                footnotes=footnotes,
                about={"dataset": dataset},
            )
        )
    return Document(
        name="published",
        tables=tables,
        notes=[
            "As printed by their sources; judges, splits and protocols differ between sources, and most rows were "
            "carried from paper to paper. 'bench table audit' checks them."
        ],
    )


def _mark(text: str, marks: dict[str, str], footnotes: dict[str, str]) -> str:
    mark = marks.setdefault(text, str(len(marks) + 1))
    footnotes[mark] = text
    return mark


def audit_document(numbers: Sequence[Number]) -> Document:
    """The audit of every published row that has IS and both entropies."""
    findings = published.audit(numbers)
    columns = [
        Column(key="source_table", title="table"),
        Column(key="log_is", title="log IS", unit="nats", digits=3),
        Column(key="difference", title="H(y) - H(y|x)", unit="nats", digits=3),
        Column(key="deviation", title="deviation", unit="nats", digits=4),
        Column(key="rounding", title="rounding allows", unit="nats", digits=4, optional=1),
        Column(key="h_y", title="H(y)", unit="nats", digits=3, optional=1),
        Column(key="ceiling", title="ln K", unit="nats", digits=3, optional=1),
        Column(key="verdict", title="verdict"),
    ]
    tables = []
    for dataset in dict.fromkeys(finding.dataset for finding in findings):
        footnotes: dict[str, str] = {}
        marks: dict[str, str] = {}
        rows = [_audit_row(finding, marks, footnotes) for finding in findings if finding.dataset == dataset]
        tables.append(
            Table(
                name="audit",
                title=f"Audit of published rows: {_title(dataset)}",
                columns=columns,
                sections=[Section(rows=rows)],
                footnotes=footnotes,
                about={"dataset": dataset},
            )
        )
    counts = {
        kind: sum(finding.verdict.startswith(kind) for finding in findings)
        for kind in ("consistent", "off", "impossible")
    }
    return Document(
        name="audit",
        tables=tables,
        notes=[
            f"{len(findings)} published rows: {counts['consistent']} consistent, {counts['off']} off the identity by "
            f"more than rounding, {counts['impossible']} impossible.",
            published.WHY_OFF,
        ],
    )


def _audit_row(finding: published.Finding, marks: dict[str, str], footnotes: dict[str, str]) -> Row:
    verdict, _, reason = finding.verdict.partition(": ")
    cells = {
        key: Cell(mean=getattr(finding, key), n=1)
        for key in ("log_is", "difference", "deviation", "rounding", "h_y", "ceiling")
    }
    cells["source_table"] = Cell(text=finding.table)
    cells["verdict"] = Cell(text=verdict, marks=(_mark(reason, marks, footnotes),) if reason else ())
    return Row(
        label=_label(finding.method, finding.variant),
        cells=cells,
        about={"method": finding.method, "variant": finding.variant, "source_text": finding.source},
    )
