"""The page in a real browser: what a reader does with it, by mouse and keyboard, from files, without a network."""

from __future__ import annotations

import itertools
import json
import math
import re
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


def board(page, dataset="sprites", source="synthetic"):
    return page.locator(f'.board[data-dataset="{dataset}"][data-source="{source}"]')


def follow(page, link):
    """Opens a link and waits for the page behind it: a click alone does not."""
    with page.expect_navigation():
        link.click()


def wait_until(page, expression, argument=None):
    """Waits until JavaScript gives something true. (Playwright's own way polls by `eval`, which the pages forbid.)"""
    deadline = time.monotonic() + 30
    while not page.evaluate(expression, argument):
        assert time.monotonic() < deadline, f"waited 30 s for {expression}"
        page.wait_for_timeout(50)


def column(table, title):
    """Shown values of a column, top to bottom."""
    return table.evaluate(
        """(table, title) => {
          const names = [...table.querySelectorAll("thead th")].map((th) => th.textContent.trim());
          const index = names.findIndex((name) => name.startsWith(title));
          return [...table.querySelectorAll("tbody tr")].filter((row) => !row.hidden)
            .map((row) => row.cells[index].dataset.value ?? row.cells[index].textContent.trim());
        }""",
        title,
    )


def numbers(values):
    return [float(value) for value in values if value != ""]


# Tables


def test_sorting_by_mouse_turns_the_column_around_and_says_so(site, open_page):
    page = open_page(site / "index.html")
    table = board(page).locator("table")
    header = table.locator("th", has_text="Acc")
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    values = numbers(column(table, "Acc"))
    assert len(values) >= 5
    assert values == sorted(values, reverse=True)
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert numbers(column(table, "Acc")) == sorted(values)
    assert table.locator("th[aria-sort]").count() == 1
    wait_until(page, "document.getElementById('live').textContent.includes('Sorted by')")


def test_sorting_keeps_each_row_whole_and_blanks_last(site, open_page):
    page = open_page(site / "index.html")
    table = board(page).locator("table")
    before = dict(zip(column(table, "Method"), column(table, "Acc"), strict=True))
    for _ in range(2):
        table.locator("th", has_text="rank").locator("button").click()
        assert dict(zip(column(table, "Method"), column(table, "Acc"), strict=True)) == before
        ranks = column(table, "rank")
        assert "" in ranks  # the method without an encoder is not ranked with the others
        assert ranks[-1] == ""


def test_keyboard_sorts_and_reaches_the_content(site, open_page):
    page = open_page(site / "index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    header = board(page).locator("th", has_text="Method")
    header.locator("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Space")
    assert header.get_attribute("aria-sort") == "descending"
    labels = column(board(page).locator("table"), "Method")
    assert labels == sorted(labels, key=str.lower, reverse=True)
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


def test_every_control_has_a_name_and_is_reached_by_tab(site, open_page):
    page = open_page(site / "index.html")
    unnamed = page.evaluate(
        """[...document.querySelectorAll("a, button, select, input, svg[role=img], img")].filter((node) =>
          !(node.getAttribute("aria-label") || node.getAttribute("alt") || node.textContent.trim()
            || node.closest("label")?.textContent.trim())).map((node) => node.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []
    assert (
        page.evaluate('document.querySelectorAll(\'[tabindex]:not([tabindex="0"]):not([tabindex="-1"])\').length') == 0
    )
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_filters_hide_rows_tables_and_bars(site, open_page):
    page = open_page(site / "index.html")
    assert page.locator(".board[data-dataset]:visible").count() == 8
    page.get_by_label("Data set").select_option("sprites")
    page.get_by_label("Source").select_option("synthetic")
    assert page.locator(".board[data-dataset]:visible").count() == 1
    page.get_by_label("Method").fill("cdsvae")
    assert column(board(page).locator("table"), "Method") == ["C-DSVAE"]
    assert board(page).locator(".bar:visible").count() == 1
    assert page.locator("#count").inner_text() == "1 row in 1 table"
    page.get_by_label("Method").fill("nothing like it")
    assert page.locator("#count").inner_text() == "0 rows in 0 tables"
    page.get_by_role("button", name="Clear").click()
    assert page.locator(".board[data-dataset]:visible").count() == 8


def test_chart_follows_the_chosen_measure(site, open_page):
    page = open_page(site / "index.html")
    chart = board(page).locator(".chart")
    data = json.loads(board(page).locator("script").inner_text())
    for key in ("h_y_given_x", "acc"):
        chart.locator("select").select_option(key)
        top = next(each["top"] for each in data["columns"] if each["key"] == key)
        expected = {row["id"]: row["values"][key]["mean"] / top * 100 for row in data["rows"]}
        shown = chart.evaluate(
            """(chart) => [...chart.querySelectorAll(".bar")].map((bar) =>
              [bar.dataset.row, parseFloat(bar.querySelector(".fill").getAttribute("width"))])"""
        )
        assert len(shown) == len(expected)
        assert all(math.isclose(width, expected[row], rel_tol=1e-3) for row, width in shown)
        order = [expected[row] for row, _ in shown]
        assert order == sorted(order, reverse=key == "acc")


def test_bars_carry_their_intervals_for_eyes_and_ears(site, open_page):
    page = open_page(site / "index.html")
    bar = board(page).locator(".bar").first
    low, high = (float(bar.locator(f".whisker.{end}").get_attribute("x1").rstrip("%")) for end in ("low", "high"))
    width = float(bar.locator(".fill").get_attribute("width").rstrip("%"))
    assert low < width < high
    spoken = bar.locator("svg").get_attribute("aria-label")
    assert re.search(r"Acc [\d.]+ per cent, 95 % interval [\d.]+ to [\d.]+", spoken)


def test_copy_gives_the_table_as_latex_and_csv(site, open_page):
    page = open_page(site / "index.html", permissions=["clipboard-read", "clipboard-write"])
    section = board(page)
    section.get_by_role("button", name="Copy as LaTeX").click()
    wait_until(page, "document.getElementById('live').textContent === 'Copied'")
    latex = page.evaluate("navigator.clipboard.readText()")
    assert latex.count(r"\toprule") >= 1
    assert "C-DSVAE" in latex
    name = section.get_attribute("id")
    assert latex == (site / "tables" / f"{name}.tex").read_text()
    section.get_by_role("button", name="Copy as CSV").click()
    wait_until(page, "async (before) => await navigator.clipboard.readText() !== before", latex)
    assert page.evaluate("navigator.clipboard.readText()") == (site / "tables" / f"{name}.csv").read_text()
    wait_until(page, "document.getElementById('live').textContent === 'Copied'")


def test_copy_works_without_the_clipboard_api(site, open_page):
    page = open_page(site / "index.html")
    page.evaluate("""() => { Object.defineProperty(navigator, 'clipboard', { value: undefined });
        document.addEventListener('copy', () => { window.copied = getSelection().toString()
          || document.activeElement.value; }); }""")
    board(page).get_by_role("button", name="Copy as CSV").click()
    wait_until(page, "document.getElementById('live').textContent === 'Copied'")
    assert "C-DSVAE" in page.evaluate("window.copied")


def test_synthetic_is_said_on_every_page_that_shows_its_numbers(site, open_page):
    page = open_page(site / "index.html")
    assert page.locator('.board[data-source="synthetic"] .badge.synthetic').count() == 4
    assert page.locator('.board[data-source="real"] .badge.synthetic').count() == 0
    sources = page.evaluate(
        "[...document.querySelectorAll('.board[data-dataset]')].map((b) => [b.dataset.source, b.dataset.preset].join())"
    )
    assert set(sources) == {"synthetic,quick", "real,paper"}
    follow(page, board(page).locator(".links a").first)
    assert page.get_by_text("SYNTHETIC stand-in").is_visible()


# Cells


def test_a_row_opens_its_cell_with_record_config_and_moving_clips(site, open_page):
    page = open_page(site / "index.html")
    follow(page, board(page).locator("tr", has_text="C-DSVAE").get_by_role("link", name="seed 0"))
    assert page.locator("h1").inner_text() == "C-DSVAE"
    images = page.locator(".clips img")
    assert images.count() == 6
    for index in range(6):
        images.nth(index).scroll_into_view_if_needed()
    wait_until(page, "[...document.querySelectorAll('.clips img')].every((i) => i.complete && i.naturalWidth > 0)")
    assert all(
        "still" not in source
        for source in page.evaluate("[...document.querySelectorAll('.clips img')].map((i) => i.getAttribute('src'))")
    )
    page.get_by_role("button", name="Pause clips").click()
    assert all(
        "still" in source
        for source in page.evaluate("[...document.querySelectorAll('.clips img')].map((i) => i.getAttribute('src'))")
    )
    for name, key in (("Record (JSON)", "schema"), ("Config (JSON)", "cell")):
        target = Path(
            page.get_by_role("link", name=name).evaluate("(a) => decodeURIComponent(new URL(a.href).pathname)")
        )
        assert key in json.loads(target.read_text())


def test_reduced_motion_shows_still_clips_until_asked(site, open_page):
    cell = next((site / "cells").glob("sprites-synth-cdsvae-quick-s0*.html"))
    page = open_page(cell, reduced_motion="reduce")
    source = page.locator(".clips img").first
    assert "still" in source.get_attribute("src")
    page.get_by_role("button", name="Play clips").click()
    assert "still" not in source.get_attribute("src")


def test_failed_cell_says_why(site, open_page):
    page = open_page(next((site / "cells").glob("*-s7-*.html")))
    assert page.get_by_text("loss is not finite at step 12").is_visible()


def test_list_of_cells_sorts_filters_and_opens(site, open_page):
    page = open_page(site / "cells.html")
    total = len(list((site / "cells").glob("*.html")))
    assert page.locator("#count").inner_text() == f"{total} of {total} cells"
    assert page.locator("#cells tbody tr").count() == 50
    page.get_by_role("button", name="Next").click()
    assert page.locator("#cells tbody tr").count() == 50
    page.locator("#cells th", has_text="Value").locator("button").click()
    values = [float(text) for text in page.locator("#cells tbody tr td:nth-child(8)").all_inner_texts() if text]
    assert values == sorted(values, reverse=True)
    page.get_by_label("Data set").select_option("timit")
    page.get_by_label("Any text").fill("c-dsvae synthetic")
    assert page.locator("#cells tbody tr").count() == 3
    follow(page, page.locator("#cells tbody a").first)
    assert page.locator("h1").inner_text() == "C-DSVAE"


# Themes, sizes, pages


def brightness(page, selector, name):
    text = page.locator(selector).first.evaluate(f"(node) => getComputedStyle(node).{name}")
    red, green, blue = (int(value) / 255 for value in re.findall(r"\d+", text)[:3])
    parts = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in (red, green, blue)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(page, text, ground):
    first, second = brightness(page, text, "color"), brightness(page, ground, "backgroundColor")
    return (max(first, second) + 0.05) / (min(first, second) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_themes(scheme, site, open_page):
    page = open_page(site / "index.html", color_scheme=scheme)
    assert (brightness(page, "body", "backgroundColor") < 0.2) is (scheme == "dark")
    for text, ground in (
        ("body", "body"),
        (".lede", "body"),
        (".board td", ".board"),
        (".ci", ".board"),
        (".links a", ".board"),
        (".badge.synthetic", ".badge.synthetic"),
        (".notice p", ".notice"),
        (".badge.real", ".badge.real"),
        ("thead th", "thead th"),
        (".notes", ".board"),
    ):
        assert contrast(page, text, ground) >= 4.5, (text, ground)


def test_theme_button_changes_and_keeps_the_theme(site, open_page):
    page = open_page(site / "index.html", color_scheme="light")
    page.get_by_role("button", name="Dark theme").click()
    assert brightness(page, "body", "backgroundColor") < 0.2
    follow(page, page.get_by_role("link", name="Methods"))
    assert brightness(page, "body", "backgroundColor") < 0.2
    page.get_by_role("button", name="Light theme").click()
    assert brightness(page, "body", "backgroundColor") > 0.7


PAGES = (
    "index.html",
    "more.html",
    "cells.html",
    "methods.html",
    "metrics.html",
    "licences.html",
    "tables/*sprites*.html",
    "cells/*cdsvae*.html",
    "cells/timit*cdsvae*.html",
)


@pytest.mark.parametrize("pattern", PAGES)
def test_phone_shows_each_page_without_sideways_scrolling(pattern, site, open_page):
    page = open_page(next(site.glob(pattern)), **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    small = page.evaluate(
        """[...document.querySelectorAll("button, select, input, nav a")].filter((node) => node.offsetParent
          && node.getBoundingClientRect().height < 24).map((node) => node.outerHTML.slice(0, 80))"""
    )
    assert small == []


@pytest.mark.parametrize("pattern", PAGES)
def test_every_link_of_each_page_leads_to_a_file(pattern, site, open_page):
    path = next(site.glob(pattern))
    page = open_page(path)
    for address in page.evaluate("[...document.querySelectorAll('a[href], img[src]')].map((n) => n.href || n.src)"):
        assert address.startswith(site.as_uri()), address
        target, _, fragment = address.removeprefix(site.as_uri() + "/").partition("#")
        assert (site / target).is_file(), address
        assert not fragment or target != path.name or page.locator(f"[id='{fragment}']").count() == 1


def test_formulas_are_drawn_as_mathematics(site, open_page):
    page = open_page(site / "metrics.html")
    heights = page.evaluate("[...document.querySelectorAll('math')].map((m) => m.getBoundingClientRect().height)")
    assert len(heights) >= 10
    assert all(height > 15 for height in heights)
    fraction = page.evaluate(
        "(() => { const f = document.querySelector('mfrac'); return f.children[0].getBoundingClientRect()"
        ".bottom <= f.children[1].getBoundingClientRect().top + 2; })()"
    )
    assert fraction


# What a hostile record may try

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\"'`{{7*7}}$\\input{x}$"


def test_hostile_record_shows_as_text_and_runs_nothing(tmp_path, specimens, open_page):
    from seqdis.bench.site.publish import publish

    build = specimens.records()
    for seed in range(3):
        build.store_record(
            tmp_path / "runs",
            build.make_record(
                "cdsvae",
                "sprites",
                seed,
                changes={
                    "title": HOSTILE,
                    "notes": [HOSTILE],
                    "paper": HOSTILE,
                    "signal": HOSTILE,
                    "supervision": HOSTILE,
                    "config.method": {HOSTILE[:80]: HOSTILE},  # the longest key that a record may have
                    "data.split_rule": HOSTILE,
                    "data.title": HOSTILE,
                    "data.licence": HOSTILE,
                    "environment.device": HOSTILE,
                    "judge.name": HOSTILE,
                    "cell.variant": HOSTILE,
                    "cell.preset": HOSTILE,
                    "cell.id": f"hostile-{seed}",
                    "data.attribution": HOSTILE,
                    "code.commit": HOSTILE,
                    "finished": HOSTILE,
                },
            ),
        )
    out = tmp_path / "site"
    publish([tmp_path / "runs"], out, heading=HOSTILE)
    for path in (
        "index.html",
        "more.html",
        "cells.html",
        "licences.html",
        *(
            str(found.relative_to(out))
            for found in (*list((out / "cells").glob("*.html"))[:1], *list((out / "tables").glob("*.html"))[:1])
        ),
    ):
        page = open_page(out / path)
        page.evaluate("new Promise((done) => setTimeout(done, 50))")
        assert page.locator("img[src='x']").count() == 0
        assert page.locator("script:not([src]):not([type='application/json'])").count() == 0
        assert "<img src=x" in page.locator("body").inner_text()
        assert page.title().count("<") >= 1


# Size


@pytest.mark.slow
def test_five_thousand_cells_stay_usable(tmp_path, specimens, open_page):
    from seqdis.bench.site.publish import publish

    build = specimens.records()
    count = 0
    for dataset in ("sprites", "mug", "smmnist", "timit"):
        for method in ("dsvae", "s3vae", "rwae", "fhvae", "cdsvae"):
            for variant in ("", "a"):
                for source, preset in (("synthetic", "quick"), ("synthetic", "demo"), ("real", "paper")):
                    for seed in range(42):
                        build.store_record(
                            tmp_path / "runs",
                            build.make_record(method, dataset, seed, variant=variant, source=source, preset=preset),
                        )
                        count += 1
    assert count == 5040
    publish([tmp_path / "runs"], tmp_path / "site", clips="none")
    assert (tmp_path / "site" / "index.html").stat().st_size < 1_500_000
    assert (tmp_path / "site" / "assets" / "cells.js").stat().st_size < 1_500_000
    page = open_page(tmp_path / "site" / "cells.html")
    assert page.locator("#count").inner_text() == "5040 of 5040 cells"
    page.get_by_label("Any text").fill("cdsvae")
    page.locator("#cells th", has_text="Value").locator("button").click()
    wait_until(page, "document.querySelectorAll('#cells tbody tr').length === 50")


def test_sheets_of_all_methods_name_their_rows(site, open_page):
    path = next(path for path in sorted(site.glob("tables/*.html")) if "row-names" in path.read_text())
    page = open_page(path)
    for figure in page.query_selector_all(".sheet"):
        names, picture = figure.query_selector_all(".row-names text"), figure.query_selector("img").bounding_box()
        assert len(names) > 1
        middles = [box["y"] + box["height"] / 2 for box in (name.bounding_box() for name in names)]
        assert middles == sorted(middles)
        assert picture["y"] < middles[0] < middles[-1] < picture["y"] + picture["height"]
        assert all(name.bounding_box()["x"] + name.bounding_box()["width"] <= picture["x"] for name in names)
    small = open_page(path, **PHONE)
    assert not small.is_visible(".row-names")
    assert small.is_visible(".narrow")


def test_bars_that_are_never_ranked_with_the_others_look_otherwise(site, open_page):
    page = open_page(site / "index.html")
    apart = page.query_selector_all(".bar.unranked")
    assert apart
    colours = {bar.query_selector(".fill").evaluate("node => getComputedStyle(node).fill") for bar in apart}
    others = page.query_selector_all(".bar:not(.unranked)")
    assert colours.isdisjoint(
        {bar.query_selector(".fill").evaluate("node => getComputedStyle(node).fill") for bar in others}
    )
    assert "never ranked" in page.inner_text("figure.chart:has(.bar.unranked) figcaption")
