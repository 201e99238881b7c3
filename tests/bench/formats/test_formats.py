"""Formats: golden files for a table made by hand, and strings that would like to be code.

After a wanted change of a format: run with SEQDIS_UPDATE_GOLDEN=1, then read the difference.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from seqdis.bench.core.errors import UserError
from seqdis.bench.formats import latex
from seqdis.bench.formats.markdown import escape_markdown
from seqdis.bench.formats.render import render
from seqdis.bench.records.collection import Collection, load
from seqdis.bench.tables.build import TABLES
from seqdis.bench.tables.build import build as build_table
from seqdis.bench.tables.layout import Cell, Column, Document, Row, Section, Table, clean

GOLDEN = Path(__file__).parent / "golden"
HOSTILE = (
    "\\input{/etc/passwd} $x$ %c #1 ~ ^ _a_ {b} & | <script>alert(1)</script> `c` [l](javascript:x) **b** "
    "\x1b[31mred\x07"
)


@pytest.fixture(name="document")
def _document():
    columns = [
        Column(key="n", title="n", digits=0),
        Column(key="rank", title="rank"),
        Column(key="acc", title="Acc", unit="%", scale=100, better="up"),
        Column(key="acc_published", title="paper Acc", unit="%", scale=100, digits=2, optional=1),
        Column(key="h_y_given_x", title="H(y|x)", unit="nats", better="down", digits=3),
        Column(key="leak", title="leak", unit="%", scale=100, better="down", panel=1),
        Column(key="extra", title="extra", panel=1, optional=2),
    ]
    rows = [
        Row(
            label="C-DSVAE",
            about={"method": "cdsvae", "seeds": "0 1 2", "ranked": True},
            cells={
                "n": Cell(mean=3.0, n=1),
                "rank": Cell(text="1–2 ab"),
                "acc_published": Cell(mean=0.9999, n=1),
                "acc": Cell(
                    mean=0.875, std=0.0125, n=3, values=(0.8625, 0.875, 0.8875), interval=(0.75, 1.0), bold=True
                ),
                "h_y_given_x": Cell(mean=0.125, std=0.5, n=3, values=(0.0, 0.125, 0.25)),
                "leak": Cell(mean=0.25, n=1),
                "extra": Cell(text="x"),
            },
        ),
        Row(
            label="MoCoGAN",
            marks=("1",),
            about={"method": "mocogan", "seeds": "0", "ranked": True},
            cells={"n": Cell(mean=1.0, n=1, marks=("°",)), "acc": Cell(mean=0.5, n=1, values=(0.5,), marks=("†",))},
        ),
    ]
    control = Row(
        label="Autoencoder",
        about={"method": "autoencoder", "seeds": "0", "ranked": False},
        cells={"acc": Cell(mean=1.0, n=1, values=(1.0,)), "leak": Cell(mean=0.5, n=1)},
    )
    table = Table(
        name="comparison",
        title="Comparison: Sprites (synthetic), preset quick",
        columns=columns,
        sections=[Section(rows=rows), Section(rows=[control], title="not ranked")],
        panels=("kept", "checks"),
        footnotes={"°": "provisional", "†": "another protocol", "1": "50 % of it & more"},
        notes=["Data: made up, for a test."],
        about={"dataset": "sprites", "source": "synthetic", "preset": "quick", "block": 0},
    )
    return Document(
        name="comparison",
        tables=[table],
        notes=["One sentence."],
        excluded=[f"record {number} is not in the table." for number in range(14)],
    )


def _golden(name, content):
    path = GOLDEN / name
    if os.environ.get("SEQDIS_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    assert content == path.read_bytes()


@pytest.mark.parametrize(
    ("kind", "suffix"), [("terminal", "txt"), ("markdown", "md"), ("latex", "tex"), ("csv", "csv"), ("json", "json")]
)
def test_output_is_byte_for_byte_the_golden_file(document, kind, suffix):
    _golden(f"made-by-hand.{suffix}", render(document, kind))


def test_wide_terminal_is_byte_for_byte_the_golden_file(document):
    _golden("made-by-hand-wide.txt", render(document, "terminal", everything=True))


@pytest.mark.parametrize(("kind", "suffix"), [("terminal", "txt"), ("markdown", "md"), ("latex", "tex")])
def test_a_comparison_from_records_is_byte_for_byte_the_golden_file(tmp_path, make_record, store_record, kind, suffix):
    levels = {"dsvae": 0.4, "cdsvae": 0.9, "s3vae": 0.6, "mocogan": 0.5}
    for method, acc in levels.items():
        for seed in range(3):
            store_record(tmp_path, make_record(method, seed=seed, acc=acc))
    store_record(tmp_path, make_record("oracle", acc=1.0))
    store_record(tmp_path, make_record("fhvae", "timit"))
    document = build_table("comparison", load([tmp_path]))
    _golden(f"comparison.{suffix}", render(document, kind))


@pytest.mark.parametrize("name", ["published", "audit"])
def test_the_literature_is_byte_for_byte_the_golden_file(name):
    _golden(f"{name}.md", render(build_table(name, Collection()), "markdown"))


def test_the_same_document_gives_the_same_parquet(document):
    assert render(document, "parquet") == render(document, "parquet")


def test_parquet_holds_every_number(document):
    import pyarrow.parquet

    lines = pyarrow.parquet.read_table(io.BytesIO(render(document, "parquet"))).to_pylist()
    (line,) = [line for line in lines if line["method"] == "cdsvae" and line["metric"] == "acc"]
    assert (line["mean"], line["std"], line["n"], line["low"], line["high"]) == (0.875, 0.0125, 3, 0.75, 1.0)
    assert len(lines) == sum(cell.mean is not None for row in document.tables[0].rows for cell in row.cells.values())


def test_csv_reads_back_at_full_precision(document):
    document.tables[0].rows[0].cells["acc"].mean = 0.1 + 0.2
    lines = list(csv.DictReader(io.StringIO(render(document, "csv").decode())))
    assert float(lines[0]["acc"]) == 0.1 + 0.2
    assert lines[0]["acc_std"] == "0.0125"
    assert lines[1]["h_y_given_x"] == ""
    assert lines[1]["remarks"] == "provisional. another protocol. 50 % of it & more."


def test_json_reads_back(document):
    content = json.loads(render(document, "json"))
    assert content["blocks"][0]["rows"][0]["cells"]["acc"]["values"] == [0.8625, 0.875, 0.8875]
    assert len(content["excluded"]) == 14


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_terminal_lines_fit_the_width(tmp_path, make_record, store_record, width):
    from rich.cells import cell_len

    for method in ("dsvae", "cdsvae", "mocogan"):
        for seed in range(3):
            for dataset in ("sprites", "mug", "smmnist"):
                store_record(tmp_path, make_record(method, dataset, seed=seed))
    for name in ("comparison", "cost", "ranks", "published", "audit"):
        text = render(build_table(name, load([tmp_path])), "terminal", width=width).decode()
        assert max(map(cell_len, text.split("\n"))) <= width


def test_what_does_not_fit_is_named(document):
    text = render(document, "terminal", width=40).decode()
    assert "Not shown at this width:" in text
    assert "paper Acc" in text
    assert "--wide" in text


def test_many_excluded_records_are_counted(document):
    assert "2 more records are not in the table" in render(document, "terminal").decode()
    assert "record 13 is" in render(document, "terminal", everything=True).decode()


def test_best_is_marked_with_and_without_colour(document):
    assert "87.5±1.2*" in render(document, "terminal").decode()
    coloured = render(document, "terminal", color=True).decode()
    assert "*" not in coloured
    assert "\x1b[1m" in coloured


def test_an_unknown_format_is_an_error(document):
    with pytest.raises(UserError, match="markdown"):
        render(document, "docx")


@pytest.fixture(name="hostile")
def _hostile(document):
    table = document.tables[0]
    table.title = table.rows[0].label = table.sections[1].title = HOSTILE
    table.rows[0].cells["rank"] = Cell(text=HOSTILE)
    table.notes[0] = table.footnotes["1"] = document.notes[0] = document.excluded[0] = HOSTILE
    table.rows[1].label = "=HYPERLINK(1)"
    return document


@pytest.mark.parametrize("kind", ["terminal", "markdown", "latex", "csv", "json"])
def test_no_control_character_gets_through(hostile, kind):
    text = render(hostile, kind).decode()
    if kind == "json":  # as data, escaped
        assert "\\u001b" in text
        assert "\x1b" not in text
    else:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)


def test_latex_is_escaped(hostile):
    text = render(hostile, "latex").decode()
    body = [line for line in text.split("\n") if not line.startswith("%")]
    assert "\\input" not in text
    assert r"\textbackslash{}input\{" in text
    for line in body:
        assert not re.search(
            r"(?<!\\)[#%~^_]", re.sub(r"\\label\{[^}]*\}", "", line).replace("}~", "}").replace("^{\\circ}", "")
        )
    assert _balanced(text)


def _balanced(text):
    depth = 0
    for char in re.sub(r"\\[{}\\]", "", text):
        depth += {"{": 1, "}": -1}.get(char, 0)
        assert depth >= 0
    return depth == 0


def test_a_label_is_no_argument_of_the_row_before(document):
    document.tables[0].rows[1].label = "[5cm] x"
    assert "\n[5cm]" not in render(document, "latex").decode()
    assert "{[}5cm] x" in render(document, "latex").decode()


@pytest.mark.parametrize("char", ["漢", "𝕏", "ß", "é", "\u202e", "\u200b"])
def test_latex_prints_any_character_or_its_code_point(char):
    text = latex.escape_latex(clean(char))
    assert text in ("", char, f"[U+{ord(char):04X}]")
    assert (text == char) == (char in "ßé")


def test_latex_has_an_environment_for_each_begin(document):
    text = render(document, "latex").decode()
    for name in ("table", "tabular", "minipage"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") > 0
    rows = [line for line in text.split("\n") if line.endswith(r"\\") and "multicolumn" not in line]
    widths = [len(match) for match in re.findall(r"\\begin\{tabular\}\{(l[r]*)\}", text)]
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == set(widths)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles(hostile, tmp_path):
    hostile.tables[0].notes = [
        "".join(map(chr, [*range(32, 127), *range(160, 384), *map(ord, "↑↓±×–—…†‡°·≤≥Δ−γαβ“”’‘§漢")]))
    ]
    body = render(hostile, "latex", everything=True).decode()
    body += render(build_table("published", Collection()), "latex").decode()
    _compile(body, tmp_path)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("everything", [False, True])
def test_latex_fits_the_column_of_a_paper(tmp_path, make_record, store_record, name, everything):
    changed = {"cell.overrides": {"method.contrastive_dynamic_weight": 0.5}} if name == "overrides" else {}
    for method, variant, batch in (
        ("dsvae", "", 0),
        ("dsvae", "mws", 0),
        ("s3vae", "", 0),
        ("mocogan", "", 0),
        ("cdsvae", "", 0),
        ("cdsvae", "", 128),
        ("cdsvae", "no-content-aug", 0),
        ("cdsvae", "no-motion-aug", 0),
        ("cdsvae", "no-schedule", 0),
    ):
        for dataset in ("sprites", "mug", "smmnist", "timit"):
            for seed in range(3):
                record = make_record(method, dataset, seed, variant=variant, batch=batch, changes=changed)
                store_record(tmp_path, _widened(record, seed))
    document = build_table(name, load([tmp_path]))
    assert document.tables
    text = render(document, "latex", everything=everything).decode()
    if name == "comparison":
        assert text.count("100.0$\\pm$12.3") > 100
    assert re.findall(r"Overfull \\hbox.*", _compile(text, tmp_path)) == []


def test_latex_parts_a_wide_panel_between_columns_that_stand_alone(document):
    """Every column once, in order; labels in each part; what explains a column stays beside it."""
    table = document.tables[0]
    table.panels, table.notes, table.footnotes = ("",), [], {}
    table.columns = [Column(key=f"c{n}", title=f"c{n}", digits=3, follows=n % 3 > 0) for n in range(18)]
    for row in table.rows:
        row.cells = {column.key: Cell(mean=100.0, std=10.0, n=3) for column in table.columns}
    text = render(document, "latex").decode()
    parts = [re.findall(r"c\d+", line) for line in text.split("\n") if line.startswith("Method &")]
    assert len(parts) > 1
    assert [name for part in parts for name in part] == [column.key for column in table.columns]
    assert all(len(part) % 3 == 0 for part in parts)
    assert text.count("MoCoGAN") == len(parts)


def _widened(record, seed):
    """The record with as many columns, as long labels and as wide numbers as real ones have: 100.0±12.3 throughout."""
    factors = record["data"]["factors"]
    if record["data"]["name"] == "sprites":
        factors += [{**factors[-1], "name": name} for name in ("pants", "hair")]

    def widen(value, size=1.0):
        if isinstance(value, dict):
            more = {name: value["skin"] for name in ("pants", "hair") if "skin" in value}
            return {key: widen(entry, size) for key, entry in {**value, **more}.items()}
        if isinstance(value, list):
            return [widen(entry, size) for entry in value]
        return size * (1 + 0.123 * (seed - 1)) if isinstance(value, float) else value

    record["metrics"] = widen(record["metrics"])
    record["cost"] = {
        **widen(record["cost"], 12345.0),
        "gpu_memory_bytes": 79_999 << 20,
        "energy_joules": 8e6 + 1e6 * seed,
    }
    record["environment"]["device"] = "NVIDIA H100 80GB HBM3"
    if record["cell"]["variant"].startswith("no-"):
        record["title"] = "C-DSVAE (no content augmentation)"
    return record


def _compile(body: str, folder: Path) -> str:
    """The log of pdflatex on a one-column paper."""
    head = "\\documentclass{article}\\usepackage[textwidth=397pt]{geometry}\\usepackage{booktabs}\n"
    (folder / "table.tex").write_text(head + "\\begin{document}\n" + body + "\\end{document}\n")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "table.tex"],
        cwd=folder,
        capture_output=True,
        timeout=120,
    )
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    return log


def test_markdown_is_escaped(hostile):
    text = render(hostile, "markdown").decode()
    assert "<script" not in text
    assert not re.search(r"(?<!\\)\]\(", text)
    rows = [line for line in text.split("\n") if line.startswith("| \\\\input")]
    assert rows
    headers = [line for line in text.split("\n") if line.startswith("| Method")]
    for row, header in zip(rows, headers, strict=True):
        assert len(re.split(r"(?<!\\)\|", row)) == len(re.split(r"(?<!\\)\|", header))


def test_bare_addresses_do_not_become_links():
    text = escape_markdown("see https://evil.example or www.evil.example or @someone")
    assert "://" not in text
    assert "www." not in text
    assert "@" not in text


def test_csv_has_no_formulas(hostile):
    for line in csv.DictReader(io.StringIO(render(hostile, "csv").decode())):
        for value in line.values():
            assert not value.startswith(("=", "@", "+"))
            assert not value.startswith("-") or float(value) < 0


def test_long_texts_are_cut():
    assert clean("x" * 1000) == "x" * 79 + "…"
    assert clean("a\n b\t c") == "a b c"
    assert clean("\u202eevil\u200b") == "evil"


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("name", ["cost", "seeds", "comparison", "published"])
def test_terminal_prints_in_parts_what_fits_no_line_and_crops_nothing(build, make_record, name, width):
    document = build(name, [make_record(method, seed=seed) for method in ("dsvae", "cdsvae") for seed in range(3)])
    text = render(document, "terminal", width=width).decode()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    left_out = " ".join(text.split("Not shown at this width:")[1:]).replace("\n", " ")
    for table in document.tables:
        for column in table.columns:
            if table.used(column.key) and column.title not in left_out:
                assert all(line in text for line in column.title.split(" ") if len(line) < 12), column.title
