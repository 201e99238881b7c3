"""Files that are either whole or absent, digests, and canonical JSON. Standard library only.

Everything is written aside and renamed (`os.replace`), so that a reader never sees half a file, and a file that
must exist once is published with a hard link, so that of two writers the first wins (see `give_name`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.rules import printable

LONGEST_PATH = 300
_REFUSALS = {
    errno.ENOSPC: "no space left to write {path}: free some or choose another folder with --out, then run again.",
    errno.EISDIR: "cannot write {path}: it is a folder, where a file is meant. Name a file in it, or another.",
    errno.ENAMETOOLONG: "{path}: the name is too long for this file system; choose a shorter one.",
    errno.ELOOP: "{path}: its links lead in a circle; mend them or choose another path.",
    errno.EMFILE: "{path}: too many files are open; raise the limit (ulimit -n 4096), then run again.",
}
_REFUSALS[errno.EDQUOT] = _REFUSALS[errno.ENOSPC]
_NO_FOLDER = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.ENOTEMPTY}


def refusal(error: OSError, path: Path | None = None) -> UserError | None:
    """What a user reads when the system does not let a file be written; None if it is none of his to put right.

    Args:
        path: what was being written; without one, or where the error names a file that does not lie beside it, the
            error is of that file.
    """
    named = None if error.filename is None else Path(os.fsdecode(error.filename))
    if error.errno is None:  # of the network, say
        return None
    if path is not None and named is not None and not _touches(named.absolute(), path.absolute()):
        path = None
    place = named if path is None else path
    if error.errno in _REFUSALS:
        return UserError(_REFUSALS[error.errno].format(path="a file" if place is None else shown_path(place)))
    if path is not None and error.errno in _NO_FOLDER:
        return UserError(
            f"cannot write {shown_path(path)}: {error.strerror}. Choose a folder that you may write to with --out."
        )
    if place is not None:
        return UserError(f"{shown_path(place)}: {error.strerror}.")
    return None


def _touches(named: Path, path: Path) -> bool:
    """Whether what an error names is the file that is written, one beside it, or a folder above."""
    return named.is_relative_to(path.parent) or path.is_relative_to(named)


def shown_path(path: Path) -> str:
    """A path as it may be quoted in a message: without control characters, and short."""
    text = printable(path)
    return text if len(text) <= LONGEST_PATH else f"{text[:LONGEST_PATH]}..."


def make_folder(path: Path) -> None:
    """Makes a folder and those above it, unless it is there.

    Raises:
        UserError: a file or a link that leads nowhere is in the way.
        OSError: no space, or no permission.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        raise _in_the_way(path) or error from error


def _in_the_way(path: Path) -> UserError | None:
    """What stands where a folder should be made; a link's target is not made, since its disk may only be away."""
    for folder in (path, *path.parents):
        if folder.is_symlink() and not folder.exists():
            target = os.path.realpath(folder)
            return UserError(
                f"{folder} is a link to {target}, which does not exist: make that folder, or remove the link."
            )
        if folder.exists():
            if folder.is_dir():
                return None
            return UserError(
                f"cannot write {path}: {folder} is a file, where a folder is needed. Choose another folder with --out, or "
                "with --data-dir if it is for prepared data."
            )
    return None


def _beside(path: Path) -> tuple[int, Path]:
    """Makes a new file beside `path`, readable as the umask says (mkstemp's are private), and opens it."""
    make_folder(path.parent)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}.tmp"
    return os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666), temporary


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; renames it onto `path` when the block ends, removes it when it fails.

    Raises:
        UserError: no space, or no permission.
    """
    temporary = None
    try:
        handle, temporary = _beside(path)
        os.close(handle)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise refusal(error, path) or error from error
    except Exception as error:
        # Libraries in Rust say the system's errors in words of their own.
        match = re.search(r"\(os error (\d+)\)", str(error))
        if match is None:
            raise
        told = OSError(int(match[1]), os.strerror(int(match[1])))
        raise refusal(told, path) or error from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path`, whole or not at all."""
    with writing(path) as temporary:
        temporary.write_bytes(data)


def write_output(path: Path, data: bytes) -> None:
    """Writes `data` to what the user named: `-` is stdout, a link's target is replaced and not the link, and a pipe or
    device is written to.

    Raises:
        UserError: no space, no permission, or a folder is there.
    """
    if str(path) == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        return
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    except OSError as error:
        raise refusal(error, path) or error from None
    if stat.S_ISDIR(mode):
        raise UserError(f"{path} is a folder: name a file in it.")
    # /dev/stdout leads to the very file that the shell has open: another one in its place would be lost.
    if stat.S_ISREG(mode) and path.absolute().parts[1:2] not in (("dev",), ("proc",)):
        write_bytes(path.resolve() if path.is_symlink() else path, data)
        return
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as file:
            file.write(data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise refusal(error, path) or error from None


def write_text(path: Path, text: str) -> None:
    """Writes `text` (UTF-8) to `path`, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all. NaN and infinities are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def publish(path: Path, data: bytes) -> bool:
    """Writes `data` to `path` if nothing is there. Returns whether this call was the one that wrote it."""
    try:
        handle, temporary = _beside(path)
    except OSError as error:
        raise refusal(error, path) or error from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        give_name(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise refusal(error, path) or error from error
    finally:
        temporary.unlink(missing_ok=True)
    return True


NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
"""What file systems without hard links (exFAT, SMB, many FUSE mounts) answer."""
CLAIM_SECONDS = 10.0


def give_name(temporary: Path, path: Path) -> None:
    """Gives a finished file the name `path`, unless there is something of that name. `temporary` may stay behind.

    With a hard link where there are any. Elsewhere a folder beside it, which only one process can make, claims the
    name while the file is renamed; a claim of 10 seconds is that of a process that died.

    Raises:
        FileExistsError: there is.
        OSError: the folder cannot be written.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    else:
        return
    claim, deadline = path.parent / f".{path.name}.claim", time.monotonic() + CLAIM_SECONDS
    while True:
        try:
            claim.mkdir()
            break
        except FileExistsError:
            if os.path.lexists(path):
                raise
        if time.monotonic() > deadline:
            with contextlib.suppress(OSError):
                claim.rmdir()
            deadline = time.monotonic() + CLAIM_SECONDS
        time.sleep(0.02)
    try:
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            claim.rmdir()


@contextlib.contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """Gives a temporary folder beside `path` that becomes `path` when the block ends and is removed when it fails.

    If another process has made `path` in the meantime, its folder stays and ours is dropped: both are complete.
    """
    try:
        make_folder(path.parent)
        temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}.tmp"
        temporary.mkdir()
    except OSError as error:
        raise refusal(error, path) or error from error
    try:
        yield temporary
        os.rename(temporary, path)
    except OSError as error:
        if path.is_dir() and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return
        raise refusal(error, path) or error from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_json(path: Path, *, max_bytes: int = 64 << 20) -> Any:
    """The JSON value in `path`.

    Raises:
        UserError: the file is missing, no regular one, too large, or not JSON.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise UserError(f"{path} is not a regular file.")
        if about.st_size > max_bytes:
            raise UserError(f"{path} is larger than {max_bytes >> 20} MiB: not one of ours.")
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}).") from None


def own_file(path: Path) -> IO[bytes]:
    """Opens a file for reading, if it is one: nothing behind a link is given away, and no pipe is waited for.

    Raises:
        OSError: it is not there, a link (ELOOP), no regular file (EINVAL), or cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return open(handle, "rb")


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no blanks, no NaN. What identities are hashed from."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(data: bytes | str) -> str:
    """SHA-256 in hexadecimal of bytes, or of the UTF-8 of a text."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 in hexadecimal of a file's bytes, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
