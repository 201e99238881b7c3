"""Looking through the folders of files that users hand over."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from seqdis.bench.core import archive
from seqdis.bench.core.errors import UserError


@contextlib.contextmanager
def opened(from_dir: Path | None, root: Path) -> Iterator[Path | None]:
    """What a user named after --from, if anything; an archive is unpacked below `root` while the block runs.

    Raises:
        UserError: a file that is no archive, or one that is damaged or unsafe.
    """
    if from_dir is None or not from_dir.exists():  # who looks into it can say what should be there
        yield from_dir
        return
    with archive.opened(from_dir, root) as folder:
        yield folder


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; hidden files are left out.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return sorted(
            (entry for entry in os.scandir(folder) if not entry.name.startswith(".")), key=lambda entry: entry.name
        )
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be read ({error.strerror}).") from None


def subfolders(folder: Path) -> list[Path]:
    """The folders directly below `folder`, by name.

    Raises:
        UserError: it cannot be read.
    """
    return [Path(entry) for entry in entries(folder) if entry.is_dir()]


def walk(root: Path) -> list[Path]:
    """Every file below `root`, sorted; folder links are not followed.

    Raises:
        UserError: it is no folder, or a folder in it cannot be read.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; name the corpus' folder with --from.")

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}); make it readable and run again.")

    return sorted(Path(folder) / name for folder, _, names in os.walk(root, onerror=refuse) for name in names)
