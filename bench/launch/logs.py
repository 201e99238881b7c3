"""The ends of logs."""

from __future__ import annotations

from pathlib import Path

TAIL = 4096
"""Bytes at the end of a log in which its last line is looked for."""


def last_line(path: Path) -> str:
    """The last line of a file that is not blank, cut to 300 characters; empty without any."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""
