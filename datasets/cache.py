"""Prepared data on disk: a folder of .npy arrays and a meta.json, whole or absent, opened memory-mapped.

    <root>/<name>-<source>[-<size>][-<tag>]/
        meta.json      format, revision, what the folder holds, and for each array its shape, type, bytes and SHA-256
        train_x.npy    ...

A folder is written aside and published by one rename. Opening checks everything that is cheap (revision, file sizes,
headers, digests of small arrays); `verify` recomputes every digest. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.bench.core.files import canonical_json, digest, make_folder, read_json, write_json, writing_folder
from seqdis.bench.core.places import data_root

FORMAT = 1
META = "meta.json"
SMALL = 1 << 20
"""Arrays up to this many bytes (labels) are checked by digest whenever a cache is opened."""

LEFT_OVER = 86400.0
"""Seconds after which an unfinished folder is taken to be abandoned."""

Array = NDArray[Any]
Progress = Callable[[int, int, str], None]
"""Called with (done, total, text)."""


class UnwritableError(UserError):
    """A cache cannot be written where it should lie."""


class ArrayMeta(TypedDict):
    """What meta.json says of one array."""

    shape: list[int]
    dtype: str
    bytes: int
    sha256: str


def cache_folder(root: Path, name: str, source: str, size: int = 0, *tags: str) -> Path:
    """Where a prepared data set lies: `<root>/<name>-<source>[-<size>][-<tag>...]`."""
    return root / "-".join([name, source, *([str(size)] if size else []), *tags])


def prepare_command(name: str, root: Path, source: str, size: int = 0, *options: str) -> str:
    """The command that prepares a data set, as the user would type it. `options` are added as they are."""
    words = ["bench data prepare", name, *options]
    if source != "real":
        words.append(f"--source {source}")
    if size:
        words.append(f"--size {size}")
    if root.expanduser().resolve() != data_root().expanduser().resolve():
        words.append(f"--data-dir {root}")
    return " ".join(words)


class Stream:
    """An array on disk that is filled block by block, in any order, through plain writes (a full disk is an error,
    not a crash as it would be with a writable memory map)."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._row_bytes = math.prod(shape[1:]) * self.dtype.itemsize
        self._filled = 0
        self._file: BinaryIO = open(path, "wb")  # noqa: SIM115 - closed by finish()
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        )
        self._file.write(header.getvalue())
        self._offset = len(header.getvalue())

    def write(self, start: int, block: Array) -> None:
        """Writes `block` (n, *shape[1:]) as rows start .. start + n. Each row is written exactly once."""
        if block.shape[1:] != self.shape[1:] or block.dtype != self.dtype or start + len(block) > self.shape[0]:
            raise ValueError(f"block {block.shape} {block.dtype} at {start} does not fit {self.shape} {self.dtype}")
        self._file.seek(self._offset + start * self._row_bytes)
        self._file.write(np.ascontiguousarray(block).data)
        self._filled += len(block)

    def close(self) -> None:
        self._file.close()

    def finish(self) -> None:
        """Closes the file; every row must have been written."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self._filled != self.shape[0]:
            raise ValueError(f"{self._filled} of {self.shape[0]} rows were written")


class CacheWriter:
    """Collects the arrays of a cache that is being written."""

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        self.folder = folder
        self.meta = meta
        self._streams: dict[str, Stream] = {}

    def save(self, name: str, array: Array) -> None:
        """Adds a whole array."""
        np.save(self.folder / f"{name}.npy", array, allow_pickle=False)

    def stream(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Stream:
        """Adds an array that the caller fills block by block."""
        self._streams[name] = Stream(self.folder / f"{name}.npy", shape, dtype)
        return self._streams[name]

    def finish(self) -> None:
        for stream in self._streams.values():
            stream.finish()
        arrays = {path.stem: _describe(path) for path in sorted(self.folder.glob("*.npy"))}
        write_json(self.folder / META, {**self.meta, "format": FORMAT, "arrays": arrays, "digest": _digest(arrays)})

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()


class Cache:
    """An opened cache. `meta` is the content of meta.json; arrays are memory-mapped, copy-on-write."""

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        self.folder = folder
        self.meta = meta

    @property
    def digest(self) -> str:
        """One SHA-256 for the content: of the names and digests of all arrays."""
        return str(self.meta["digest"])

    @property
    def arrays(self) -> dict[str, ArrayMeta]:
        """What each array is, by name."""
        arrays: dict[str, ArrayMeta] = self.meta["arrays"]
        return arrays

    @property
    def skipped(self) -> dict[str, int]:
        """How many files were left out in preparing, by reason."""
        return dict(self.meta.get("skipped") or {})

    @property
    def notes(self) -> list[str]:
        """What preparing did about single files that are not as they should be, a sentence each."""
        return list(self.meta.get("notes") or [])

    def array(self, name: str) -> Array:
        """The array, memory-mapped. Writing to it changes memory only, never the file."""
        loaded: Array = np.load(self.folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
        return loaded

    def tensor(self, name: str) -> Tensor:
        """The array as a CPU tensor that shares the mapping."""
        return torch.from_numpy(self.array(name))


@contextlib.contextmanager
def writing_cache(folder: Path, meta: dict[str, Any], *, needs_bytes: int = 0) -> Iterator[CacheWriter]:
    """Gives a writer whose arrays become the cache `folder` when the block ends, and vanish when it fails.

    Args:
        folder: the cache's final place (see `cache_folder`).
        meta: what to note; must hold "revision". Arrays and digests are added.
        needs_bytes: about how much will be written, to fail early.

    Raises:
        UnwritableError: no space or no permission.
    """
    try:
        make_folder(folder.parent)
        free = shutil.disk_usage(folder.parent).free
        if free < needs_bytes:
            raise UnwritableError(
                f"{folder} needs {needs_bytes >> 20} MiB and {free >> 20} MiB are free: free some, or "
                "choose another folder with --data-dir or SEQDIS_DATA."
            )
        with writing_folder(folder) as temporary:
            writer = CacheWriter(temporary, meta)
            try:
                yield writer
                writer.finish()
            finally:
                writer.close()
    except OSError as error:
        raise _storage_error(folder, error) from error
    except UserError as error:
        if isinstance(error.__cause__, OSError):
            raise _storage_error(folder, error.__cause__) from error
        raise


def _storage_error(folder: Path, error: OSError) -> Exception:
    if error.filename is not None and not str(error.filename).startswith(str(folder.parent)):
        return error
    return UnwritableError(
        f"cannot write {folder} ({error.strerror or error}): choose another folder with --data-dir or SEQDIS_DATA."
    )


@contextlib.contextmanager
def preparing(folder: Path, *, revision: str, progress: Progress | None = None) -> Iterator[bool]:
    """Holds the right to write `folder`; gives whether it must be written (False: a good one is there).

    Another process that prepares the same folder is waited for. A damaged or outdated folder is removed first. Where
    the file system has no locks, both processes write and the first to finish wins.

    Raises:
        UnwritableError: no space or no permission.
    """
    if is_good(folder, revision):
        yield False
        return
    lock: BinaryIO | None = None
    try:
        make_folder(folder.parent)
        lock = open(folder.parent / f".{folder.name}.lock", "ab")  # noqa: SIM115 - held over the yield
    except OSError as error:
        raise _storage_error(folder, error) from error
    try:
        _wait_for(lock, folder, progress)
        if is_good(folder, revision):
            yield False
            return
        try:
            _sweep(folder)
            if folder.exists():
                aside = folder.parent / f".{folder.name}.{os.getpid()}.old"
                folder.rename(aside)
                shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:  # another's, in a folder where everybody may write his own
            raise _storage_error(folder, error) from error
        yield True
    finally:
        lock.close()


def _sweep(folder: Path) -> None:
    """Removes what killed writers left beside `folder`. A day's age keeps it from a writer on a host whose locks this
    one can't see."""
    for left in folder.parent.glob(f".{folder.name}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT_OVER:
                shutil.rmtree(left, ignore_errors=True)


def _wait_for(lock: BinaryIO, folder: Path, progress: Progress | None) -> None:
    try:
        import fcntl
    except ImportError:  # no such locks on this system: writing_folder still keeps the result whole
        return
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if progress is not None:
                progress(0, 1, f"waiting for another process that prepares {folder.name}")
            time.sleep(0.2)
        except OSError:  # a file system without locks
            return


def is_good(folder: Path, revision: str) -> bool:
    """Whether `folder` is a whole cache of this revision, as far as a quick look tells."""
    try:
        _checked_meta(folder, revision)
    except UserError:
        return False
    return True


def open_cache(folder: Path, *, revision: str, title: str, command: str) -> Cache:
    """Opens a prepared cache.

    Args:
        folder: see `cache_folder`.
        revision: the one this code reads; another one must be prepared again.
        title: of the data set, for messages.
        command: what prepares it.

    Raises:
        MissingDataError: nothing is there, or what is there is damaged, half-made or of another revision; preparing
            replaces it.
    """
    if not folder.is_dir():
        raise MissingDataError(f"{title} is not prepared (no folder {folder}).", command)
    try:
        return Cache(folder, _checked_meta(folder, revision))
    except UserError as error:
        raise MissingDataError(f"{title} in {folder} cannot be used: {error}", command) from None


def verify_cache(
    folder: Path, *, revision: str, title: str, command: str, progress: Progress | None = None
) -> dict[str, str]:
    """Recomputes the digest of every array. Returns array name -> SHA-256, and "digest" for the whole.

    Raises:
        MissingDataError: as `open_cache`.
        UserError: an array differs from its digest; the message names the file.
    """
    cache = open_cache(folder, revision=revision, title=title, command=command)
    arrays = cache.arrays
    for done, (name, entry) in enumerate(arrays.items()):
        if progress is not None:
            progress(done, len(arrays), f"checking {name}.npy")
        if array_digest(folder / f"{name}.npy") != entry["sha256"]:
            raise UserError(
                f"{folder / name}.npy does not match its digest. Prepare it again with: {command} "
                f"(remove {folder} first)"
            )
    return {**{name: entry["sha256"] for name, entry in arrays.items()}, "digest": cache.digest}


def array_digest(path: Path) -> str:
    """SHA-256 in hexadecimal of the array in an .npy file, read in pieces (mapped pages would count as memory)."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        read(file)
        while piece := file.read(4 << 20):
            sha.update(piece)
    return sha.hexdigest()


def _describe(path: Path) -> ArrayMeta:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return {
        "shape": list(array.shape),
        "dtype": array.dtype.str,
        "bytes": path.stat().st_size,
        "sha256": array_digest(path),
    }


def _digest(arrays: dict[str, ArrayMeta]) -> str:
    return digest(
        canonical_json({name: [entry["shape"], entry["dtype"], entry["sha256"]] for name, entry in arrays.items()})
    )


def _checked_meta(folder: Path, revision: str) -> dict[str, Any]:
    meta = read_json(folder / META)
    if not isinstance(meta, dict) or not isinstance(meta.get("arrays"), dict):
        raise UserError(f"{META} is not one of ours.")
    if meta.get("format") != FORMAT or meta.get("revision") != revision:
        raise UserError(f"it holds revision {meta.get('revision')!r} and this version reads {revision!r}.")
    for name, entry in meta["arrays"].items():
        _check_array(folder / f"{name}.npy", entry)
    if meta.get("digest") != _digest(meta["arrays"]):
        raise UserError(f"{META} was changed.")
    return meta


def _check_array(path: Path, entry: Any) -> None:
    try:
        if path.stat().st_size != entry["bytes"]:
            raise UserError(f"{path.name} has {path.stat().st_size} bytes instead of {entry['bytes']}.")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path.name} is missing.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path.name} cannot be read ({error}).") from None
    if list(array.shape) != entry["shape"] or array.dtype.str != entry["dtype"]:
        raise UserError(f"{path.name} is {array.shape} {array.dtype.str} instead of {entry['shape']}.")
    if array.nbytes <= SMALL and array_digest(path) != entry["sha256"]:
        raise UserError(f"{path.name} does not match its digest.")
