"""The folders of the user's that the suite reads and writes. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path


def data_root() -> Path:
    """The folder of prepared data: $SEQDIS_DATA, else the user's cache folder."""
    configured = os.environ.get("SEQDIS_DATA")
    if configured:
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqdis"
