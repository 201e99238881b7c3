"""A folder that is replaced as a whole: refused if it holds anything else, swapped when its successor is ready."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from seqdis.bench.core.errors import UserError

MARKER = ".seqdis-page"


def check_target(out: Path) -> None:
    """That the folder is new, empty, or an earlier site.

    Raises:
        UserError: it holds anything else.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"{out} is not a folder; choose another with --out.")
    if out.exists() and not (out / MARKER).exists() and any(visible(out)):
        raise UserError(
            f"{out} holds files that 'bench publish' did not write; choose a new or empty folder with --out."
        )


def visible(folder: Path) -> Iterator[Path]:
    """Entries whose name has no dot before it."""
    return (entry for entry in folder.iterdir() if not entry.name.startswith("."))


def put_in_place(aside: Path, out: Path) -> None:
    """Swaps the new site for the old one; what begins with a dot (such as .git) moves along."""
    os.chmod(aside, 0o755)
    if not out.exists():
        os.rename(aside, out)
        return
    old = aside.with_suffix(".old")
    os.rename(out, old)
    try:
        os.rename(aside, out)
    except OSError:
        os.rename(old, out)
        raise
    for entry in old.iterdir():
        if entry.name.startswith(".") and not (out / entry.name).exists():
            os.rename(entry, out / entry.name)
    shutil.rmtree(old, ignore_errors=True)
