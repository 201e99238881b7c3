"""Times as text: what is shown to people, what they type, and what is written down."""

from __future__ import annotations

import datetime
import re

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.rules import shown


def utc_now() -> str:
    """Now, as records and manifests have it: '2026-01-31T23:59:59+00:00'."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def duration(seconds: float) -> str:
    """'45 s', '12 min' or '3 h 05 min'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def clock(seconds: float) -> str:
    """'3:07' or '1:02:03'."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def parse_duration(text: str) -> float:
    """Seconds from '90', '90s', '9m' or '1h30m'.

    Raises:
        UserError: not a duration, or none at all.
    """
    match = re.fullmatch(r"(?:(\d{1,7})h)?(?:(\d{1,7})m)?(?:(\d{1,7})s?)?", text.strip())
    hours, minutes, seconds = (int(group or 0) for group in match.groups()) if match else (0, 0, 0)
    if not hours + minutes + seconds:
        raise UserError(f"{shown(text)} is not a duration; write 90s, 9m or 1h30m.")
    return hours * 3600.0 + minutes * 60.0 + seconds
