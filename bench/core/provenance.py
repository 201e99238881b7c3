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
    """The code that this process runs, as it was when first asked. `dirty` is null where git cannot say it."""
    commit = dirty = None
    if (ROOT / ".git").exists():
        commit = _git(ROOT, "rev-parse", "HEAD") or head_commit(ROOT / ".git")
        changes = _git(ROOT, "status", "--porcelain", "--untracked-files=no")
        dirty = None if commit is None or changes is None else bool(changes)
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


def head_commit(git: Path) -> str | None:
    """The commit that is checked out, read from a .git folder (or the file of a worktree) without git. None: none is found.

    Source: gitrepository-layout(5).
    """
    try:
        if git.is_file():
            git = git.parent / git.read_text().removeprefix("gitdir:").strip()
        shared = git / "commondir"
        common = git / shared.read_text().strip() if shared.exists() else git
        value = (git / "HEAD").read_text().strip()
        if name := value.removeprefix("ref:").strip() if value.startswith("ref:") else "":
            loose = next((path for path in (git / name, common / name) if path.is_file()), None)
            packed = dict(line.split()[::-1] for line in _lines(common / "packed-refs") if len(line.split()) == 2)
            value = loose.read_text().strip() if loose else packed.get(name, "")
    except (OSError, ValueError):
        return None
    return value if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", value) else None


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith(("#", "^"))] if path.exists() else []


def _git(root: Path, *arguments: str) -> str | None:
    """What git says; asked again when a signal ends it, for SLURM's SIGTERM goes to every process of a job.

    The checkout may be another user's (a shared installation, a container): its code is what runs here, so it is
    trusted already.
    """
    line = ["git", "-c", f"safe.directory={root}", "-C", str(root), *arguments]
    for _ in range(5):
        try:
            done = subprocess.run(line, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode >= 0:
            return done.stdout.strip() if done.returncode == 0 else None
    return None
