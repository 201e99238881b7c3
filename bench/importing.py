"""Takes records from elsewhere into a store, after validation. Nothing else of the other folder is read or copied."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import publish, write_json
from seqdis.bench.records import NAME
from seqdis.bench.schema import CELL_ID
from seqdis.bench.store import CONFIG, Store
from seqdis.bench.validate import Checked, check_files, rebuilt_config, record_files


@dataclasses.dataclass
class Imported:
    """What became of the files: ids that were taken or already there, and refused files with the reasons."""

    taken: list[str] = dataclasses.field(default_factory=list)
    known: list[str] = dataclasses.field(default_factory=list)
    refused: list[tuple[Path, tuple[str, ...]]] = dataclasses.field(default_factory=list)


def import_records(folder: Path, out: Path) -> Imported:
    """Copies the valid records below `folder` to `<out>/cells/<id>/record.json`, byte for byte.

    A record that is already there stays, also if the other one says something else (that one is refused).

    Raises:
        UserError: nothing to import, or `out` cannot be written.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: name the folder of the records to import.")
    store = Store(out)
    result = Imported()
    for checked in check_files(record_files([folder])):
        if checked.problems or checked.record is None:
            result.refused.append((checked.path, checked.problems))
        else:
            _take(checked, store, result)
    return result


def _take(checked: Checked, store: Store, result: Imported) -> None:
    assert checked.record is not None
    cell = str(checked.record["cell"]["id"])
    if not CELL_ID.fullmatch(cell):  # checked before; what names a folder is checked where it names it
        raise ValueError(f"{cell!r} cannot name a folder")
    target = store.folder(cell) / NAME
    if not publish(target, checked.raw):
        if target.read_bytes() == checked.raw:
            result.known.append(cell)
        else:
            result.refused.append((checked.path, (f"{target} holds another record of the same cell; it stays",)))
        return
    config = rebuilt_config(checked.record)
    if config is not None and not (store.folder(cell) / CONFIG).exists():
        write_json(store.folder(cell) / CONFIG, config)
    result.taken.append(cell)
