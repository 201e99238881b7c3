"""What pages show, before any is written: cells, boards with their bars, methods' docstrings."""

from __future__ import annotations

import json

import pytest

from seqdis.bench.core.schema import from_json
from seqdis.bench.plan.today import method_code, suite_code
from seqdis.bench.records.collection import Loader, load
from seqdis.bench.records.flatten import flatten
from seqdis.bench.records.record import Data
from seqdis.bench.site import boards, cell_page, method_docs, render
from seqdis.bench.tables.build import build as build_table
from seqdis.bench.tables.columns import headline


def test_cell_view_gives_mean_and_range_over_draws(make_record):
    record = make_record(draws=3)
    scores = [draw["action"]["acc"] for draw in record["metrics"]["directions"]["fix_dynamic"]["draws"]]
    block = cell_page.cell_view(record).blocks[0]
    row = next(row for row in block.rows if row.factor == "action")
    assert row.role == "kept"
    assert row.chance == "11.1"
    assert row.values[0] == (f"{100 * sum(scores) / 3:.1f}", f"{100 * min(scores):.1f} to {100 * max(scores):.1f}")
    assert next(row for row in block.rows if row.factor == "skin").role == "drawn anew"


def test_the_page_of_a_cell_says_when_other_code_made_it(make_record):
    digests = {"method": "0" * 64, "suite": suite_code("sprites")}
    for changes, expected in (
        ({}, None),
        ({"code.digests": digests}, "made by other code (the method's); 'bench run --again' repeats it"),
        ({"code.digests": {**digests, "method": method_code("cdsvae")}}, None),
        ({"code.digests": digests, "config.plugin_digest": "0" * 64}, None),
    ):
        code = dict(dict(cell_page.cell_view(make_record(changes=changes)).facts)["Code"])
        assert code.get("Against this suite") == expected


def test_curve_fills_its_frame_and_marks_the_selected_step():
    drawn = cell_page.curve("t", [(0, 2.0), (50, 4.0), (100, 3.0)], 50)
    points = [tuple(map(float, point.split(","))) for point in drawn.points.split()]
    assert points == [(56, 186), (302, 14), (548, 100)]
    assert drawn.mark == 302
    flat = cell_page.curve("t", [(0, 2.0), (1, 2.0)], None)
    assert flat.mark is None
    assert {point.split(",")[1] for point in flat.points.split()} == {"186.0"}


def test_bars_are_shares_of_a_round_axis(tmp_path, make_record, store_record):
    for method, acc in (("cdsvae", 0.9), ("dsvae", 0.5)):
        for seed in range(3):
            store_record(tmp_path, make_record(method, seed=seed, acc=acc))
    (board,) = boards.boards(build_table("comparison", load([tmp_path])), {})
    assert [bar.row.label for bar in board.bars] == ["C-DSVAE", "DSVAE"]
    for bar in board.bars:
        shown = bar.row.cells["acc"]
        assert bar.length == pytest.approx(100 * shown.value)
        assert bar.low < bar.length < bar.high
        assert shown.interval == bar.between
    entropy = next(column for column in board.chart["columns"] if column["key"] == "h_y")
    assert entropy["top"] in (2.5, 4.0)
    assert entropy["ticks"][0] == "0"
    assert [column["key"] for column in board.chart["columns"]][:1] == ["acc"]


@pytest.mark.parametrize(
    ("value", "top"), [(0.03, 0.04), (1.0, 1.0), (1.01, 2.0), (7.7, 8.0), (99.0, 100.0), (0.0, 1.0)]
)
def test_axis_ends_at_a_round_number_not_below(value, top):
    assert boards._ceiling(value) == pytest.approx(top)


def test_front_page_puts_the_literature_beside_comparable_numbers_only(tmp_path, make_record, store_record):
    store_record(tmp_path, make_record("cdsvae"))
    store_record(tmp_path, make_record("cdsvae", source="real", preset="paper", size=64))
    made = boards.boards(build_table("comparison", load([tmp_path])), {})
    shown = {board.source: [column.key for column in board.front.columns] for board in made}
    assert "acc_published" in shown["real"]
    assert not [key for key in shown["synthetic"] if key.endswith("_published")]


def test_method_docs_read_every_method_as_text():
    found = {doc.name: doc for doc in method_docs.all_methods()}
    assert {"dsvae", "s3vae", "rwae", "mocogan", "fhvae", "cdsvae"} <= set(found)
    assert found["cdsvae"].title == "C-DSVAE"
    assert "2021" in found["cdsvae"].paper
    assert "no-content-aug" in dict(found["cdsvae"].variants)
    assert all(doc.summary and doc.blocks for doc in found.values())


def test_docstring_blocks_tell_text_lists_and_equations_apart():
    text = "First line\ngoes on.\n\n    L = a\n      + b\n\nThen:\n* one\n  more\n* two\n\nEnd."
    assert method_docs.blocks(text) == [
        ("text", "First line goes on."),
        ("code", "L = a\n  + b"),
        ("text", "Then:"),
        ("list", "one more"),
        ("list", "two"),
        ("text", "End."),
    ]


def test_long_texts_are_cut(make_record):
    view = cell_page.cell_view(
        make_record(
            changes={"title": "x" * 100_000, "notes": ["y" * 100_000] * 100, "config.method": {"k": "z" * 100_000}}
        )
    )
    assert len(view.title) <= 160
    assert len(view.notes) <= 20
    assert all(len(note) <= cell_page.LONG for note in view.notes)
    assert len(view.config) < cell_page.MAX_CONFIG + 100


def test_safe_json_ends_no_element_and_reads_back():
    value = {"a": "</script><!--", "b": ["\u2028", "&amp;", 'x"y']}
    written = render.safe_json(value)
    assert not set(written) & set("<>&")
    assert written.isascii()
    assert json.loads(written) == value


def test_the_list_of_cells_shows_what_each_is_ranked_by(make_record):
    for record, expected in (
        (make_record("cdsvae"), "Acc action"),
        (make_record("cdsvae", "smmnist"), "Acc digits"),
        (make_record("cdsvae", "timit"), "EER gap"),
        (make_record("mocogan"), "Acc action (generated)"),
        (make_record("mocogan", "smmnist"), "consistency digits"),
    ):
        names, values = flatten(record)
        entry = Loader()._entry("x", {**record, "numbers": (names, values)})
        measure, value = headline(entry, from_json(Data, record["data"]))
        assert measure == expected
        assert value is not None
    assert headline(entry, None) == ("", None)


def test_bars_of_rows_measured_otherwise_are_marked(tmp_path, make_record, store_record):
    for method in ("cdsvae", "mocogan", "oracle"):
        store_record(tmp_path, make_record(method))
    (board,) = boards.boards(build_table("comparison", load([tmp_path])), {})
    apart = {bar.row.label: bar.row.protocol_marks for bar in board.bars if bar.row.stands_apart}
    assert apart == {"MoCoGAN": "†", "Renderer of the true factors": ""}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.1234, "0.123"), (999.4, "999"), (1234.5, "1,234"), (98_765, "98,765"), (1.2e6, "1.2e6"), (-4321.0, "-4,321")],
)
def test_ticks_fit_beside_their_curve(value, expected):
    assert cell_page.tick(value) == expected
    assert len(cell_page.tick(value)) <= 7
