"""Looking through the folders of files that users hand over."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from seqdis.bench.core import archive
from seqdis.bench.core.errors import UserError

HIDDEN = "hidden files and folders"
REPEATED = "links to folders that are read anyway"
COPIES = "numbered copies beside their originals"
_WORD = r"(?:cop(?:y|ie|ia)|kopi[ea])"
_MARKS = re.compile(
    rf"^{_WORD} (?:of|von|van|de|di) |\.sync-conflict-[\w-]+$"
    rf"|(?: ?\([0-9]+\)| ?\([^()]*\b(?:{_WORD}|conflict)[^()]*\)| - {_WORD}| {_WORD}(?: [0-9]+)?)+$",
    re.IGNORECASE,
)
"""What browsers, file managers and sync clients add to the name of a copy: `a (1).wav`, `a - Copy.wav`, `Copy of a.wav`."""


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


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is a program's own and no part of what was handed over: a name that begins
    with a dot (a Mac's resource forks `._a.wav` too) and `__MACOSX`, where Mac archives keep those."""
    return name.startswith(".") or name == "__MACOSX"


def copies(names: Iterable[str]) -> set[str]:
    """Those of the names in one folder that a program gave to a copy of another file there."""
    known = {name.lower(): name for name in names}
    originals = {name: _original(name) for name in known}
    return {known[name] for name, original in originals.items() if original != name and original in known}


def _original(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return _MARKS.sub("", stem) + suffix


def entries(folder: Path, hidden: Counter[str] | None = None) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; what is hidden is left out, and counted in `hidden` if given.

    Raises:
        UserError: it cannot be read, or holds a link that leads nowhere, a pipe or device, or a name that is not UTF-8:
            what it stands for would be missed by nobody.
    """
    try:
        found = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be read ({error.strerror}).") from None
    shown = [entry for entry in found if not is_hidden(entry.name)]
    if hidden is not None and len(shown) < len(found):
        hidden[HIDDEN] += len(found) - len(shown)
    for entry in shown:
        if entry.is_symlink() and not Path(entry).exists():
            raise UserError(f"{entry.path} is a link that leads nowhere ({os.readlink(entry)}); mend it or remove it.")
        if not (entry.is_dir() or entry.is_file()):
            raise UserError(f"{entry.path} is a pipe or a device; remove it.")
        if not _is_utf8(entry.name):
            raise UserError(
                f"{folder} holds the name {os.fsencode(entry.name)!r}, not in UTF-8; rename it (convmv does)."
            )
    return shown


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def subfolders(folder: Path, hidden: Counter[str] | None = None) -> list[Path]:
    """The folders directly below `folder`, by name, as `entries` gives them.

    Raises:
        UserError: as `entries`.
    """
    return [Path(entry) for entry in entries(folder, hidden) if entry.is_dir()]


def walk(root: Path) -> tuple[list[Path], Counter[str]]:
    """Every file below `root`, sorted, and what was stepped over, with counts: hidden files and folders, numbered copies
    of files, and links to folders that are read anyway. Other links to folders are followed; each folder is read once,
    so links in a circle end.

    Raises:
        UserError: it is no folder, a folder in it cannot be read or looks like the copy of another, or a link leads
            nowhere.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; name the corpus' folder with --from.")
    skipped = Counter[str]()
    files: list[Path] = []
    read = set(root.resolve().parents)  # a link to what holds the root leads out of the corpus
    folders, links = [root], list[Path]()
    while folders or links:  # folders before links, so that a folder goes by its own name where it has one here
        folder = folders.pop() if folders else links.pop(0)
        place = folder.resolve()
        if place in read:
            skipped[REPEATED] += 1
            continue
        read.add(place)
        found = entries(folder, skipped)
        copied = copies(entry.name for entry in found)
        for entry in found:
            if entry.name in copied:
                if entry.is_dir():  # two people, or one twice: then he would be known to be himself
                    raise UserError(f"{entry.path} looks like the copy of a folder beside it; remove or rename it.")
                skipped[COPIES] += 1
                continue
            kind = files if not entry.is_dir() else links if entry.is_symlink() else folders
            kind.append(Path(entry))
    return sorted(files), skipped


NUMBER = re.compile(r"[0-9]+")


class UnorderedFrames(Exception):
    """The names of a video's frames do not say their order; the message is the reason."""


def ordered(files: list[Path]) -> list[Path]:
    """Files by the number that no two of them share. Several such numbers must agree, and the rest of the names too:
    else a wrong order would pass for a motion.

    Raises:
        UnorderedFrames: the names do not say the order.
    """
    if len(files) < 2:
        return files
    odd = next((path for path in files if _rest(path) != _rest(files[0])), None)
    if odd is not None:
        raise UnorderedFrames(f"{files[0].name} and {odd.name} are named in different ways")
    columns = zip(*(map(int, NUMBER.findall(path.stem)) for path in files), strict=True)
    orders = {tuple(np.argsort(column)) for column in columns if len(set(column)) == len(files)}
    if len(orders) != 1:
        reason = "the numbers in the names contradict one another" if orders else "two frames have the same number"
        raise UnorderedFrames(reason)
    return [files[i] for i in orders.pop()]


def _rest(path: Path) -> str:
    return NUMBER.sub("#", path.stem.lower())
