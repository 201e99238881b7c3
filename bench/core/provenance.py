"""Which code made a record."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
COMMIT_VARIABLE = "SEQDIS_COMMIT"
"""The commit of a copy without its .git folder, for machines that get one. It is what the user says: `dirty` is null."""


class CodeVersion(NamedTuple):
    """Which code runs.

    Attributes:
        commit: of the checkout; None outside of one, unless the environment says it.
        dirty: whether files differ from the commit; None where that is not known.
    """

    version: str
    commit: str | None
    dirty: bool | None


@functools.cache
def code_version() -> CodeVersion:
    """The code that this process runs, as it was when first asked."""
    commit = _git(ROOT, "rev-parse", "HEAD") if (ROOT / ".git").exists() else None
    dirty = None if commit is None else bool(_git(ROOT, "status", "--porcelain", "--untracked-files=no"))
    if commit is None and re.fullmatch("[0-9a-f]{40}", os.environ.get(COMMIT_VARIABLE, "")):
        commit = os.environ[COMMIT_VARIABLE]
    return CodeVersion(suite_version(), commit, dirty)


@functools.cache
def suite_version() -> str:
    """The installed version, else that of the checkout."""
    try:
        return version("seqdis-bench")
    except PackageNotFoundError:
        pass
    try:
        return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
    except (OSError, KeyError, ValueError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str | None:
    """What git says; asked again when a signal ends it, for SLURM's SIGTERM goes to every process of a job."""
    for _ in range(5):
        try:
            done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode >= 0:
            return done.stdout.strip() if done.returncode == 0 else None
    return None
