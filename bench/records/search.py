"""The record files below a folder, and their bytes: links are not followed, and nothing is waited for. No torch."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from seqdis.bench.core.errors import UserError
from seqdis.bench.records.record import MAX_BYTES, RECORD

_NO_RECORDS = (
    *("config.json", "progress.json", "error.json", "lease.json", "attempts.json", "meta.json"),
    *("study.json", "trial.json", "standing.json"),
)


def find(folder: Path) -> Iterator[str]:
    """Paths of the records below `folder`, sorted: a store (`<folder>/cells/*/record.json`), or a folder of records.

    A folder of records may hold them as `*/record.json` or `*.json`, at most three folders deep. Links are not
    followed. Of a folder within that cannot be read, the record that it may hold is given, so that its reader says so.

    Raises:
        UserError: there is no such folder, or it cannot be read.
    """
    cells = folder / "cells"
    try:
        if cells.is_dir():
            yield from (f"{path}/{RECORD}" for path in _folders(cells))
        elif folder.is_dir():
            yield from _walk(str(folder), 3)
        else:
            raise UserError(f"{folder} does not exist; name a folder that 'bench run' wrote, or one of records.")
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}).") from None


def _folders(path: Path) -> list[str]:
    with os.scandir(path) as found:
        return sorted(entry.path for entry in found if entry.is_dir(follow_symlinks=False))


def _walk(folder: str, depth: int) -> Iterator[str]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if depth > 0 and not entry.name.startswith("."):
                try:
                    yield from _walk(entry.path, depth - 1)
                except OSError:
                    yield f"{entry.path}/{RECORD}"
        elif entry.name.endswith(".json") and entry.name not in _NO_RECORDS and not entry.name.startswith("."):
            yield entry.path


def read_bytes(path: str) -> bytes | None:
    """The bytes of a regular file of at most MAX_BYTES; None if there is none.

    Raises:
        UserError: it is a link, a pipe or another kind of file, too large, or cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise UserError(f"{path} is not a regular file.")
        if about.st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than {MAX_BYTES >> 20} MiB: not a record.")
        with open(handle, "rb", buffering=0, closefd=False) as file:
            return file.readall()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    finally:
        os.close(handle)
