"""A folder that is replaced as a whole: refused if it holds anything else, swapped when its successor is ready.

Of several processes that replace the same folder one swaps at a time, and the last one's stays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import make_folder, refusal

MARKER = ".seqdis-page"


def check_target(out: Path) -> None:
    """That the folder is new, empty, or an earlier site.

    Raises:
        UserError: it holds anything else.
    """
    with _alone(out):
        _check(out)


def _check(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"{out} is not a folder; choose another with --out.")
    try:
        if out.exists() and not (out / MARKER).exists() and any(visible(out)):
            raise UserError(
                f"{out} holds files that 'bench publish' did not write; choose a new or empty folder with --out."
            )
    except OSError as error:
        raise UserError(f"{out} cannot be read ({error.strerror}); choose another folder with --out.") from None


def visible(folder: Path) -> Iterator[Path]:
    """Entries whose name has no dot before it."""
    return (entry for entry in folder.iterdir() if not entry.name.startswith("."))


@contextlib.contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Gives an empty folder whose content is that of `out` when the block ends; it is removed when it fails.

    It lies beside `out`, or in it where only that may be written to.

    Raises:
        UserError: `out` holds anything but an earlier site, or cannot be written.
    """
    check_target(out)
    whole = out.resolve()
    try:
        make_folder(whole.parent)
        try:
            aside = Path(tempfile.mkdtemp(prefix=f".{whole.name}.", suffix=".tmp", dir=whole.parent))
        except PermissionError:
            if not whole.is_dir():
                raise
            aside = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=whole))
    except OSError as error:
        raise refusal(error, out) or error from None
    try:
        yield aside
        put_in_place(aside, out)
    except OSError as error:
        raise refusal(error, out) or error from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def put_in_place(aside: Path, out: Path) -> None:
    """Swaps the new site for the old one; what begins with a dot (such as .git) stays.

    Raises:
        UserError: something else has come to be in `out`.
    """
    os.chmod(aside, 0o755)
    with _alone(out):
        _check(out)
        out = out.resolve()
        if not out.exists():
            os.rename(aside, out)
        elif _is_kept(aside, out) or not _swap(aside, out):
            _swap_content(aside, out)


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One process at a time; the lock is on the folder above, since `out` itself is another one after each swap."""
    handle = None
    # Without locks (Windows, some file systems) two that swap at the same moment may still meet.
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        handle = os.open(out.resolve().parent, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _is_kept(aside: Path, out: Path) -> bool:
    """Whether the folder itself must stay: a shell that stands in it would be left in a folder that is gone."""
    with contextlib.suppress(OSError):  # the folder we are in may be gone
        return aside.parent == out or Path.cwd().resolve().is_relative_to(out)
    return False


def _swap(aside: Path, out: Path) -> bool:
    """Swaps the folders. Returns False where `out` cannot be moved, such as a volume that is mounted there."""
    old = aside.with_suffix(".old")
    try:
        os.rename(out, old)
    except OSError:
        return False
    try:
        os.rename(aside, out)
    except OSError:
        os.rename(old, out)
        raise
    for entry in old.iterdir():
        if entry.name.startswith(".") and not (out / entry.name).exists():
            os.rename(entry, out / entry.name)
    shutil.rmtree(old, ignore_errors=True)
    return True


def _swap_content(aside: Path, out: Path) -> None:
    """Swaps what is in the folders, and puts the old back where that fails."""
    old = Path(tempfile.mkdtemp(prefix=".", suffix=".old", dir=out))
    new = sorted(aside.iterdir(), key=lambda entry: entry.name != MARKER)  # first what says that it is ours
    try:
        for entry in {*visible(out), *(out / one.name for one in new)}:
            if os.path.lexists(entry):
                os.rename(entry, old / entry.name)
        for entry in new:
            shutil.move(entry, out / entry.name)
    except OSError:
        for entry in old.iterdir():
            target = out / entry.name
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            os.rename(entry, target)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)
