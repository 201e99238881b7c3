"""The ends of logs."""

from __future__ import annotations

from pathlib import Path

from seqdis.bench.core.rules import printable

LONGEST_REASON = 500
"""Characters of why a cell failed, as commands show it."""
TAIL = 4096
"""Bytes at the end of a log in which its last line is looked for."""


def last_line(path: Path) -> str:
    """The last line of a file that is not blank, cut to 300 characters that a terminal may show; empty without any."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return printable(lines[-1][:300]) if lines else ""
