from __future__ import annotations

import math

import pytest

from seqdis.bench.core.errors import UserError
from seqdis.bench.tables import published


def _row(method, variant, dataset, table):
    return {
        number.metric: number.value
        for number in published.load()
        if (number.method, number.variant, number.dataset, number.table) == (method, variant, dataset, table)
    }


def test_every_number_that_was_read_names_its_source():
    numbers = published.load()
    assert len(numbers) > 100
    assert all(number.source for number in numbers if number.verified)
    assert {number.method for number in numbers if not number.verified} == {"skd", "spyl", "dbse"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (("cdsvae", "", "sprites", "Table 1"), {"acc": 0.9999, "is": 8.871, "h_y_given_x": 0.014, "h_y": 2.197}),
        (("cdsvae", "", "mug", "Table 2"), {"acc": 0.8116, "is": 5.341, "h_y_given_x": 0.092, "h_y": 1.775}),
        (("mocogan", "", "smmnist", "Table 3"), {"acc": 0.7455, "is": 4.078, "h_y_given_x": 0.194, "h_y": 0.191}),
        (("fhvae", "", "timit", "Table 4"), {"eer_static": 0.0506, "eer_dynamic": 0.2277}),
        (
            ("cdsvae", "no-content-aug", "smmnist", "Table 5"),
            {"acc": 0.9202, "is": 6.360, "h_y_given_x": 0.184, "h_y": 2.083},
        ),
        (("cdsvae", "no-motion-aug", "timit", "Table 6"), {"eer_static": 0.0431, "eer_dynamic": 0.3109}),
        (("dsvae", "mws", "mug", "Table 7"), {"acc": 0.6625, "is": 4.796, "h_y_given_x": 0.175, "h_y": 1.743}),
        (("dsvae", "mws", "smmnist", "Table 8"), {"acc": 0.9181, "is": 6.312, "h_y_given_x": 0.205, "h_y": 2.107}),
        (("cdsvae", "batch 64", "timit", "Table 9"), {"eer_static": 0.0421, "eer_dynamic": 0.3023}),
    ],
)
def test_numbers_are_those_of_the_papers_tables(row, expected):
    assert _row(*row) == pytest.approx(expected)


def test_the_same_row_in_two_tables_says_the_same():
    for dataset, tables in (
        ("smmnist", ("Table 3", "Table 5", "Table 8")),
        ("timit", ("Table 4", "Table 6")),
        ("mug", ("Table 2", "Table 7")),
    ):
        for method in ("dsvae", "cdsvae"):
            rows = [_row(method, "", dataset, table) for table in tables]
            assert all(row == rows[0] for row in rows)


def test_find_gives_read_numbers_of_exactly_that_row():
    assert published.find("cdsvae", "", "sprites", "acc").value == pytest.approx(0.9999)
    assert published.find("skd", "", "sprites", "acc") is None
    assert published.find("cdsvae", "some-variant", "sprites", "acc") is None
    assert published.find("cdsvae", "", "elsewhere", "acc") is None


def _findings():
    return {
        (finding.method, finding.variant, finding.dataset, finding.table): finding
        for finding in published.audit(published.load())
    }


def test_audit_finds_the_impossible_row_and_only_that():
    impossible = {key for key, finding in _findings().items() if finding.verdict.startswith("impossible")}
    assert impossible == {("mocogan", "", "smmnist", "Table 3")}


@pytest.mark.parametrize(
    ("key", "deviation"),
    [
        (("mocogan", "", "sprites", "Table 1"), 0.033),
        (("dsvae", "", "sprites", "Table 1"), 0.006),
        (("mocogan", "", "mug", "Table 2"), -0.072),
        (("s3vae", "", "mug", "Table 2"), 0.011),
        (("rwae", "", "smmnist", "Table 3"), -0.047),
        (("cdsvae", "", "smmnist", "Table 3"), -0.062),
    ],
)
def test_audit_measures_the_deviation_from_the_identity(key, deviation):
    assert _findings()[key].deviation == pytest.approx(deviation, abs=1.1e-3)
    assert _findings()[key].verdict == "off"


@pytest.mark.parametrize(
    "key",
    [
        ("cdsvae", "", "sprites", "Table 1"),
        ("s3vae", "", "sprites", "Table 1"),
        ("dsvae", "", "mug", "Table 2"),
        ("diffsda", "", "mug", "Table 9"),
    ],
)
def test_audit_accepts_what_rounding_explains(key):
    assert _findings()[key].verdict == "consistent"


def test_audit_leaves_ranges_of_repeats_alone():
    assert not [key for key in _findings() if "port" in key[1]]


def test_audit_knows_ceilings():
    values = {"is": 9.4, "h_y_given_x": 0.0, "h_y": 2.25}
    row = [
        published.Number("m", "", "sprites", "t", metric, value, 0.0005, "s", True, "")
        for metric, value in values.items()
    ]
    (finding,) = published.audit(row)
    assert "H(y) is above ln K" in finding.verdict
    assert "IS is above K" in finding.verdict
    assert finding.ceiling == pytest.approx(math.log(9))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("m,,sprites,T,acc,ninety,percent,s,read,", "not a number"),
        ("m,,sprites,T,accuracy,90,percent,s,read,", "metric is one of"),
        ("m,,sprites,T,acc,90,percent,,read,", "has a source"),
        ("m,,sprites,T,acc,90,percent,s,maybe,", "'read' or 'unverified'"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "published.csv"
    path.write_text(",".join(published.COLUMNS) + "\n" + line + "\n")
    with pytest.raises(UserError, match=message):
        published.load(path)


def test_rounding_comes_from_the_printed_digits(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text(
        ",".join(published.COLUMNS) + "\nm,,sprites,T,acc,92.9,percent,s,read,\n"
        "m,,sprites,T,h_y_given_x,1.6e-7,nats,s,read,\n"
    )
    acc, entropy = published.load(path)
    assert (acc.value, acc.half_unit) == pytest.approx((0.929, 0.0005))
    assert entropy.half_unit == pytest.approx(0.5e-8)
