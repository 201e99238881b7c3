"""Archives that users hand over (zip, tar, tar.gz, tar.bz2, tar.xz): unpacked only where nothing in them can do harm.

Refused: paths that lead out of the folder, links and devices, more files or bytes than a corpus has, and files that
unpack to far more than they say. Nothing is unpacked before the list is checked; a refusal leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import make_folder
from seqdis.bench.core.rules import shown

MAX_FILES = 200_000
MAX_BYTES = 64 << 30
PIECE = 1 << 20
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

Reader = tuple[str, int, IO[bytes]]


def is_archive(path: Path) -> bool:
    """Whether a path names an archive of a kind that is unpacked here."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


@contextlib.contextmanager
def opened(path: Path, root: Path) -> Iterator[Path]:
    """The folder `path`, or a temporary folder below `root` with what the archive `path` holds.

    Raises:
        UserError: neither a folder nor an archive, damaged, or unsafe; the message names it.
    """
    if path.is_dir():
        yield path
        return
    if not is_archive(path):
        raise UserError(f"{path} is neither a folder nor an archive ({', '.join(SUFFIXES)}).")
    make_folder(root)
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=root) as folder:
        unpack(path, Path(folder))
        yield Path(folder)


def unpack(archive: Path, folder: Path, *, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES) -> int:
    """Unpacks an archive into an empty folder and gives the number of files.

    Args:
        max_files: more members are refused.
        max_bytes: more bytes, unpacked, are refused; so are more than the disk has free.

    Raises:
        UserError: damaged or unsafe; the message names the archive and the member.
    """
    limit = min(max_bytes, shutil.disk_usage(folder).free)
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as zipped:
                return _write(archive, folder, _zip_members(archive, zipped, max_files, limit))
        with tarfile.open(archive) as tar:
            return _write(archive, folder, _tar_members(archive, tar, max_files, limit))
    except (
        OSError,
        EOFError,
        RuntimeError,
        NotImplementedError,
        ValueError,
        zlib.error,
        lzma.LZMAError,
        tarfile.TarError,
        zipfile.BadZipFile,
    ) as error:
        raise UserError(f"{archive} is damaged or cannot be unpacked ({error}).") from error


def new_member(name: str) -> zipfile.ZipInfo:
    """A member of a zip file that is written here: with a fixed date, so that the same content gives the same bytes."""
    return zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))


def _zip_members(archive: Path, zipped: zipfile.ZipFile, max_files: int, limit: int) -> Iterator[Reader]:
    members = [member for member in zipped.infolist() if not member.filename.endswith("/")]
    _check_size(archive, len(members), sum(member.file_size for member in members), max_files, limit)
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise UserError(f"{archive} holds {shown(member.filename)}, a link or device: not unpacked.")
        _checked_path(archive, member.filename)
    for member in members:
        with zipped.open(member) as file:
            yield member.filename, member.file_size, file


def _tar_members(archive: Path, tar: tarfile.TarFile, max_files: int, limit: int) -> Iterator[Reader]:
    members = []
    total = 0
    for member in tar:  # one by one: a bomb is noticed before its list is in memory
        if member.isdir():
            continue
        if not member.isreg():
            raise UserError(f"{archive} holds {shown(member.name)}, a link or device: not unpacked.")
        _checked_path(archive, member.name)
        members.append(member)
        total += member.size
        _check_size(archive, len(members), total, max_files, limit)
    for member in members:
        file = tar.extractfile(member)
        assert file is not None
        yield member.name, member.size, file


def _check_size(archive: Path, n_files: int, n_bytes: int, max_files: int, limit: int) -> None:
    if n_files > max_files:
        raise UserError(f"{archive} holds more than {max_files} files: not unpacked.")
    if n_bytes > limit:
        raise UserError(f"{archive} unpacks to more than {limit >> 20} MiB: not unpacked.")


def _checked_path(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts:
        raise UserError(f"{archive} holds {shown(name)}, which names no file: not unpacked.")
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in name:
        raise UserError(f"{archive} holds {shown(name)}, a path that leads out of its folder: not unpacked.")
    return path


def _write(archive: Path, folder: Path, members: Iterator[Reader]) -> int:
    n_files = 0
    for name, size, file in members:
        target = folder / _checked_path(archive, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with open(target, "xb") as out:
            while piece := file.read(PIECE):
                written += len(piece)
                if written > size:
                    raise UserError(f"{archive}: {shown(name)} unpacks to more than the {size} bytes that it says.")
                out.write(piece)
        if written != size:
            raise UserError(f"{archive} is damaged: {shown(name)} has {written} of {size} bytes.")
        n_files += 1
    return n_files
