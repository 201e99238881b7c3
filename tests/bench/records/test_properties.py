"""What must hold for any input: the fast reader agrees with the plain one, statistics with slow references, and no
text of a record escapes from the format it is printed in."""

from __future__ import annotations

import csv
import html.parser
import io
import itertools
import json
import math
import re
import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from seqdis.bench.formats import latex
from seqdis.bench.formats.render import render
from seqdis.bench.records import collection
from seqdis.bench.site import boards
from seqdis.bench.site.render import safe_json
from seqdis.bench.tables import statistics
from seqdis.bench.tables.layout import LONGEST, Cell, Column, Document, Row, Section, Table, clean

CALM = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NASTY = st.text(
    st.one_of(
        st.sampled_from("\\{}$&#%_^~<>|\"'`[]()!*=+-@/:;,\n\r\t\0\x1b\x7f\u202e\u2028\ufeff\U000e0041é漢"),
        st.characters(),
    ),
    max_size=120,
) | st.sampled_from(
    [
        "\\input{/etc/passwd}",
        "</script><script>alert(1)</script>",
        "=HYPERLINK(1)",
        "[x](javascript:a)",
        "$\\relax$",
        "<img src=x onerror=alert(1)>",
        "a | b",
        "&lt;b&gt;",
        "\\end{tabular}",
        "{{7*7}}",
        "-1+1",
        "\x1b[31m",
        "]]>",
        "^^M",
    ]
)


def _read(path: Any, *, plainly: bool) -> Any:
    loader = collection.Loader()
    if plainly:
        loader._read = lambda raw: collection._object(raw)  # type: ignore[method-assign]
    loader.add(str(path))
    found = loader.collection
    if not found.entries:
        return "refused"
    (entry,) = found.entries
    numbers = {name: round(entry.get(name) or 0.0, 9) for name in entry.names}
    fields = {key: getattr(entry, key) for key in collection.Entry.__slots__ if key not in ("names", "values")}
    return fields, numbers


@CALM
@given(data=st.data())
@pytest.mark.parametrize(("method", "dataset"), [("cdsvae", "sprites"), ("s3vae", "timit"), ("mocogan", "smmnist")])
def test_the_fast_reader_agrees_with_the_plain_one_on_damaged_records(
    tmp_path, make_record, store_record, method, dataset, data
):
    path = store_record(tmp_path, make_record(method, dataset))
    text = path.read_text()
    # The logs of training are skipped, and not searched for damage.
    logs, after = text.index(',\n  "validation"'), text.index('\n "cost"')
    at = data.draw(st.integers(0, logs - 12) | st.integers(after, len(text)))
    length = data.draw(st.integers(0, 12))
    tokens = (
        '"',
        ",",
        "\n",
        '\n "cost": ',
        '\n "title": "x",',
        '\n "metrics": {},',
        "}",
        "]",
        "1e999",
        " 5,",
        "NaN",
        "-",
        "\\",
        '": 3',
        " ",
        "null",
        "[",
        "0.25",
        "",
        "x",
    )
    put = data.draw(st.sampled_from(tokens))
    path.write_text(text[:at] + put + text[at + length :])
    fast, plain = _read(path, plainly=False), _read(path, plainly=True)
    assert fast == plain


VALUES = st.lists(st.floats(0.0, 1.0, allow_nan=False).map(lambda value: round(value, 4)), min_size=2, max_size=8)


@pytest.mark.filterwarnings("ignore:Precision loss")  # of SciPy's own test where all values of a row agree
@CALM
@given(first=VALUES, second=VALUES)
def test_welch_is_scipys_with_its_interval(first, second):
    (pair,) = statistics.compare({"a": first, "b": second})
    assert pair.difference == pytest.approx(np.mean(first) - np.mean(second), abs=1e-12)
    if np.ptp(first) < 1e-9 and np.ptp(second) < 1e-9:
        assert pair.p_value == 1.0
        return
    expected = stats.ttest_ind(first, second, equal_var=False)
    assert pair.p_value == pytest.approx(expected.pvalue, abs=1e-9)
    interval = expected.confidence_interval(0.95)
    assert pair.interval == pytest.approx((interval.low, interval.high), abs=1e-7)
    # The test at 5 % and the interval of 95 % say the same.
    if abs(pair.p_value - 0.05) > 1e-6:
        assert (pair.p_value < 0.05) == (not pair.interval[0] <= 0 <= pair.interval[1])


def _holm_by_definition(p_values: list[float]) -> list[float]:
    """The smallest family level at which each hypothesis is rejected, found by running the procedure."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)

    def rejected(level: float) -> set[int]:
        found = set()
        for position, index in enumerate(order):
            if p_values[index] > level / (len(p_values) - position):
                break
            found.add(index)
        return found

    levels = sorted({min(1.0, p * m) for p in p_values for m in range(1, len(p_values) + 1)} | {1.0})
    return [
        next((level for level in levels if index in rejected(level + 1e-12)), 1.0) for index in range(len(p_values))
    ]


@CALM
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=7))
def test_holm_is_the_step_down_procedure(p_values):
    corrected = statistics.holm(p_values)
    assert corrected == pytest.approx(_holm_by_definition(p_values), abs=1e-9)
    assert all(p <= c <= min(1.0, len(p_values) * p) + 1e-12 for p, c in zip(p_values, corrected, strict=True))


@pytest.mark.filterwarnings("ignore:Precision loss")
@CALM
@given(VALUES)
def test_t_interval_is_that_of_scipys_one_sample_test(values):
    low, high = statistics.t_interval(values)
    if np.ptp(values) < 1e-9:
        assert low == pytest.approx(high)
        return
    expected = stats.ttest_1samp(values, 0.5).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@CALM
@given(st.lists(st.integers(0, 20).map(lambda number: number / 20), min_size=2, max_size=4))
def test_bootstrap_is_near_the_exact_distribution_of_resamples(values):
    """With so few values every resample can be counted."""
    low, high = statistics.bootstrap_interval(values)
    means = sorted(np.mean(chosen) for chosen in itertools.product(values, repeat=len(values)))
    slack = 0.012
    assert np.quantile(means, 0.025 - slack, method="lower") - 1e-9 <= low
    assert low <= np.quantile(means, 0.025 + slack, method="higher") + 1e-9
    assert np.quantile(means, 0.975 - slack, method="lower") - 1e-9 <= high
    assert high <= np.quantile(means, 0.975 + slack, method="higher") + 1e-9


def _maximal_sets(names: list[str], apart: set[frozenset[str]]) -> set[frozenset[str]]:
    """All largest sets without a separable pair, by trying every subset."""
    free = [
        frozenset(chosen)
        for size in range(1, len(names) + 1)
        for chosen in itertools.combinations(names, size)
        if not any(frozenset(pair) in apart for pair in itertools.combinations(chosen, 2))
    ]
    return {each for each in free if not any(each < other for other in free)}


@CALM
@given(st.lists(st.lists(st.floats(0.0, 1.0), min_size=3, max_size=4), min_size=2, max_size=6), st.booleans())
def test_ranks_and_tie_groups_follow_from_the_pairs(levels, higher):
    rows = {f"m{number}": values for number, values in enumerate(levels)}
    ranks = statistics.rank(rows, higher_is_better=higher)
    order = sorted(rows, key=lambda name: (-np.mean(rows[name]) if higher else np.mean(rows[name]), name))
    apart = {frozenset((p.first, p.second)) for p in statistics.compare({n: rows[n] for n in order}) if p.is_separable}
    for position, name in enumerate(order):
        beaten = sum(frozenset((other, name)) in apart for other in order[:position])
        beats = sum(frozenset((other, name)) in apart for other in order[position + 1 :])
        # Means that agree to the last digit may stand in either order, and are never apart.
        assert (ranks[name].low, ranks[name].high) == (1 + beaten, len(order) - beats)
    letters = {letter for rank in ranks.values() for letter in rank.groups}
    groups = {frozenset(name for name, rank in ranks.items() if letter in rank.groups) for letter in letters}
    assert groups == _maximal_sets(order, apart)


@CALM
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=6, max_size=9).filter(
        lambda table: any(len(set(line)) > 1 for line in table)
    )
)
def test_across_data_sets_is_scipys_friedman_and_nemenyis_distance(table):
    scores = {f"d{n}": {f"m{k}": float(value) for k, value in enumerate(line)} for n, line in enumerate(table)}
    found = statistics.across_datasets(scores)
    ranks = np.array([stats.rankdata([-value for value in line]) for line in table])
    assert [found.average[f"m{k}"] for k in range(4)] == pytest.approx(ranks.mean(0))
    expected = stats.friedmanchisquare(*np.array(table).T).pvalue
    assert found.p_value == pytest.approx(expected, nan_ok=True)
    # q(0.05) of four methods is 2.569 in Demsar's Table 5.
    assert found.critical_difference == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * len(table))), rel=1e-3)


def _document(text: str) -> Document:
    table = Table(
        name="comparison",
        title=text,
        label="Method",
        columns=[Column(key="acc", title="Acc", better="up", unit="%", scale=100), Column(key="t", title="what")],
        sections=[
            Section(
                rows=[
                    Row(
                        label=text,
                        cells={"acc": Cell(mean=0.5, n=1), "t": Cell(text=text)},
                        marks=("1",),
                        about={"method": text},
                    )
                ]
            ),
            Section(rows=[Row(label="plain", cells={"acc": Cell(mean=0.25, n=1)})], title=text),
        ],
        footnotes={"1": text},
        notes=[text],
        about={"dataset": text, "source": "real"},
    )
    return Document(name="comparison", tables=[table], notes=[text], excluded=[text])


@CALM
@given(NASTY)
def test_no_format_lets_a_control_character_through(text):
    for kind in ("terminal", "markdown", "latex", "csv", "json"):
        found = render(_document(text), kind).decode()
        allowed = {"\n"}
        assert not [char for char in found if unicodedata.category(char)[0] == "C" and char not in allowed] or (
            kind == "json"  # which escapes them, or keeps what is harmless there
            and json.loads(found)["blocks"][0]["title"] == text
        )


@CALM
@given(NASTY)
def test_latex_runs_no_command_of_a_text(text):
    escaped = latex.escape_latex(clean(text))
    commands = set(re.findall(r"\\([A-Za-z]+|.)", escaped))
    known = set(re.findall(r"\\([A-Za-z]+|.)", " ".join(latex._LATEX.values())))
    assert commands <= known
    rest = re.sub(r"\\[A-Za-z]+\{\}|\\.|\$\\?[A-Za-z]+\$|\$\^\{\\circ\}\$|\$-\$|\{\[\}|\{''\}|\{`\}", "", escaped)
    assert not set(rest) & set("\\{}$&#%_^~")


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


@CALM
@given(NASTY)
def test_markdown_brings_no_tag_but_its_own(text):
    parser = _Tags()
    parser.feed(render(_document(text), "markdown").decode())
    assert set(parser.tags) <= {"sup"}


@CALM
@given(NASTY)
def test_markdown_tables_keep_their_columns(text):
    lines = [line for line in render(_document(text), "markdown").decode().split("\n") if line.startswith("|")]
    cells = [len(re.split(r"(?<!\\)\|", line)) for line in lines]
    assert set(cells) == {cells[0]}


@CALM
@given(NASTY)
def test_csv_reads_back_as_one_line_a_row_without_formulas(text):
    found = list(csv.reader(io.StringIO(render(_document(text), "csv").decode())))
    assert len(found) == 3
    assert {len(line) for line in found} == {len(found[0])}
    for value in itertools.chain(*found[1:]):
        if value[:1] in ("=", "+", "@", "-"):
            float(value)


@CALM
@given(NASTY)
def test_a_script_block_cannot_be_left(text):
    found = safe_json({"text": text})
    assert "</" not in found
    assert "<!--" not in found
    assert json.loads(found) == {"text": text}


@CALM
@given(NASTY)
def test_file_names_are_letters_digits_and_dashes(text):
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,99}", boards.slug(text))


@CALM
@given(NASTY)
def test_cleaned_texts_are_one_short_line(text):
    cleaned = clean(text)
    assert len(cleaned) <= LONGEST
    assert cleaned == clean(cleaned)
    assert "\n" not in cleaned
