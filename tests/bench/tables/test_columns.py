"""The one declaration of what is printed: records have it, and the pages that explain it name the same columns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from seqdis.bench.records.collection import Loader
from seqdis.bench.site.render import package
from seqdis.bench.tables import columns, metrics
from seqdis.bench.tables.grouping import arrange

DOCS = Path(__file__).resolve().parents[3] / "docs" / "reading-the-tables.md"


@pytest.fixture
def view(tmp_path, make_record, store_record):
    """The view of a block, and its entries."""

    def made(*cells, **changes):
        loader = Loader()
        for method, dataset in cells:
            loader.add(str(store_record(tmp_path, make_record(method, dataset, changes=changes))))
        (block,) = arrange(loader.collection).blocks
        return columns.view_of(block), block.entries

    return made


def section(title: str) -> str:
    """What stands below a heading of the page about tables."""
    return DOCS.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    "cells",
    [
        (("cdsvae", "sprites"), ("mocogan", "sprites")),
        (("cdsvae", "smmnist"), ("mocogan", "smmnist")),
        (("fhvae", "timit"),),
    ],
)
def test_every_column_is_read_from_some_record(view, cells):
    found, entries = view(*cells)
    unread = {key for key, source in found.sources.items() if all(source(entry) is None for entry in entries)}
    # Made-up speech is neither rebuilt nor shuffled; made-up pairs of digits have no joint score when rebuilt.
    assert unread <= ({"rec_mse", "shuffle"} if cells[0][1] == "timit" else {"rec_acc"})


def test_every_cost_is_read_from_a_record(view):
    _, (entry,) = view(("cdsvae", "sprites"), **{"cost.gpu_memory_bytes": 1, "cost.energy_joules": 1.0})
    assert all(source(entry) for source in columns.COST_SOURCES.values())
    printed = {column.key for column in metrics.COST_TABLE}
    assert printed == {*columns.COST_SOURCES, "n", "device"}


def test_the_docs_list_the_columns_of_a_video_table_in_their_order(view):
    found, _ = view(("cdsvae", "sprites"))
    titles = {column.key: column.title for column in found.columns}
    several = [
        [title for key, title in titles.items() if re.fullmatch(pattern, key)]
        for pattern in ("other_(?!leak$).*", "rec_(?!acc$|mse$).*")
    ]
    expected = []
    for column in found.columns:
        if column.is_literature:
            expected.append("paper ...")
        elif group := next((group for group in several if column.title in group), None):
            expected.append(f"{', '.join(group)}, ... ↑")
        else:
            expected.append(column.heading)
    first = re.findall(r"^\| (.*?) \| ", section("The columns of a video table").replace(r"\|", "¦"), re.MULTILINE)
    listed = [name.replace("¦", "|") for cell in first[2:] for name in ([cell] if "..." in cell else cell.split(", "))]
    assert sorted(listed) == sorted(set(expected))
    assert [name for name in listed if "..." not in name] == [name for name in expected if "..." not in name]


def test_the_docs_name_the_columns_of_a_speech_table():
    text = section("The columns of a speech table").lower()
    assert [metric.title for metric in metrics.ERRORS if metric.heading.lower() not in text] == []


@pytest.mark.parametrize(
    "metric", [*metrics.SCORES, metrics.LEAK, *metrics.ERRORS, metrics.SHUFFLE], ids=lambda metric: metric.key
)
def test_the_page_of_metrics_says_which_direction_is_better(metric):
    html = (package() / "metrics.html").read_text()
    badge = re.search(rf'{re.escape(metric.title)} <span class="badge">(higher|lower)', html, re.IGNORECASE)
    assert badge is not None
    assert badge[1] == {"up": "higher", "down": "lower"}[metric.better]


def test_a_cells_page_has_the_scores_in_the_order_of_the_tables():
    html = (package() / "cell.html").read_text()
    heads = re.findall('<th scope="col" class="number">(.*?)</th>', html)
    assert [re.sub("<.*?>", "", head) for head in heads] == [
        *(f"{metric.title} {metric.unit}".strip() for metric in metrics.SCORES),
        "Chance %",
    ]
