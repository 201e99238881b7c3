"""Takes records from elsewhere into a store, after validation. Nothing else of another folder is read or copied.

Of a pack (`packing`) the clips, logs and, if asked for, the state of unfinished cells are taken too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
from collections import Counter
from pathlib import Path

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import publish, write_bytes, write_json
from seqdis.bench.records import packing
from seqdis.bench.records.config import read_config
from seqdis.bench.records.contradictions import rebuilt_config
from seqdis.bench.records.record import CELL_ID, RECORD
from seqdis.bench.records.store import CHECKPOINT, CONFIG, LOG, Store
from seqdis.bench.records.validate import Check, Checked, check_files, record_files


@dataclasses.dataclass
class Imported:
    """What became of the files: ids that were taken or already there, and refused files with the reasons."""

    taken: list[str] = dataclasses.field(default_factory=list)
    known: list[str] = dataclasses.field(default_factory=list)
    refused: list[tuple[Path, tuple[str, ...]]] = dataclasses.field(default_factory=list)
    unchecked: Counter[str] = dataclasses.field(default_factory=Counter)
    """What could not be checked, and in how many records."""
    clips: int = 0
    states: list[str] = dataclasses.field(default_factory=list)


def import_records(folder: Path, out: Path, claims: Check | None = None) -> Imported:
    """Copies the valid records below `folder` to `<out>/cells/<id>/record.json`, byte for byte.

    A record that is already there stays, also if the other one says something else (that one is refused). For `claims`
    see `validate.check_file`.

    Raises:
        UserError: nothing to import, or `out` cannot be written.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: name the folder of the records to import.")
    store = Store(out)
    result = Imported()
    for checked in check_files(record_files([folder]), claims):
        result.unchecked.update(checked.unchecked)
        if checked.problems or checked.record is None:
            result.refused.append((checked.path, checked.problems))
        elif checked.record.tuning is not None:
            result.refused.append((checked.path, ("is a trial of a search, scored on validation clips only",)))
        else:
            _take(checked, store, result)
    return result


def _take(checked: Checked, store: Store, result: Imported) -> None:
    assert checked.record is not None
    cell = checked.record.cell.id
    if not re.fullmatch(CELL_ID, cell):  # checked before; what names a folder is checked where it names it
        raise ValueError(f"{cell!r} cannot name a folder")
    target = store.folder(cell) / RECORD
    if not publish(target, checked.raw):
        if _is_file_of(target, checked.raw):
            result.known.append(cell)
        else:
            result.refused.append((checked.path, (f"{target} holds another record of the same cell; it stays",)))
        return
    config = rebuilt_config(checked.record)
    if config is not None and not config["plugin_digest"] and not (store.folder(cell) / CONFIG).exists():
        write_json(store.folder(cell) / CONFIG, config)
    result.taken.append(cell)


def _is_file_of(path: Path, content: bytes) -> bool:
    with contextlib.suppress(OSError):
        return path.read_bytes() == content
    return False


def import_packed(files: list[Path], out: Path, claims: Check | None = None, *, state: bool = False) -> Imported:
    """Takes packed files: records as `import_records`, clips and logs of what was taken, and the state if asked for.

    Args:
        files: as `packing.packs` finds them.
        state: also take over unfinished cells with their checkpoints. Only from your own machines: a checkpoint is
            weights, and nothing can tell whether they were trained as the config says.

    Raises:
        UserError: a file is damaged or unsafe, or `out` cannot be written.
    """
    from seqdis.bench.core.archive import unpack

    store = Store(out)
    store.check_writable()
    result = Imported()
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=out) as folder:
        for number, file in enumerate(files):
            part = Path(folder) / f"{number}"
            part.mkdir()
            unpack(file, part, max_files=100_000, max_bytes=1 << 30)
            for path in sorted(part.rglob("*")):  # what several files hold is the same, or the later one's
                if path.is_file():
                    target = Path(folder) / "all" / path.relative_to(part)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    path.replace(target)
        whole = Path(folder) / "all"
        if any(whole.glob(f"cells/*/{RECORD}")):
            result = import_records(whole, out, claims)
        for cell in (*result.taken, *result.known):
            result.clips += _take_clips(whole / "cells" / cell, store.folder(cell))
        if state:
            result.states = [path.name for path in sorted(whole.glob("cells/*")) if _take_state(path, store)]
    return result


def _take_clips(source: Path, target: Path) -> bool:
    """Copies the clips and the log of a cell unless it has its own. Returns whether there were good clips to copy."""
    from seqdis.bench.records import clips  # brings numpy, which records need not

    if (source / LOG).is_file() and not (target / LOG).exists():
        write_bytes(target / LOG, (source / LOG).read_bytes())
    if (target / clips.NAME).exists():
        return False
    with contextlib.suppress(UserError):
        if clips.load_clips(source):
            write_bytes(target / clips.NAME, (source / clips.NAME).read_bytes())
            return True
    return False


def _take_state(source: Path, store: Store) -> bool:
    """Takes over an unfinished cell, if its parts are whole, its config is its own and it has not begun here."""
    target = store.folder(source.name)
    if not re.fullmatch(CELL_ID, source.name) or store.is_done(source.name) or (target / CHECKPOINT).exists():
        return False
    config, checkpoint = None, packing.joined(source)
    with contextlib.suppress(UserError):
        config = read_config(source / CONFIG)
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
        if checkpoint is not None and config is not None and config.id == source.name:
            store.add(source.name, config)
            write_bytes(target / CHECKPOINT, checkpoint)
            return True
    return False
