"""Times as people read and type them."""

from __future__ import annotations

import datetime

import pytest

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.times import clock, duration, parse_duration, utc_now


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("9m", 540), ("1h30m", 5400), (" 2h ", 7200)])
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1.5h", "9m1h", "-3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="write 90s, 9m or 1h30m"):
        parse_duration(text)


def test_durations_are_shown() -> None:
    assert [duration(seconds) for seconds in (45, 720, 11100)] == ["45 s", "12 min", "3 h 05 min"]
    assert [clock(seconds) for seconds in (187, 3723)] == ["3:07", "1:02:03"]


def test_now_is_in_utc() -> None:
    assert datetime.datetime.fromisoformat(utc_now()).utcoffset() == datetime.timedelta(0)
