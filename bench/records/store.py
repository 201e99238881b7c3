"""The output folder: one folder a cell, and what its files mean. No torch here.

<out>/cells/<cell id>/config.json             the resolved cell, written when it is planned
                      record.json             its record: exists = done (see `records.record`)
                      progress.json           where it stands, rewritten while it runs
                      checkpoint.safetensors  what it resumes from; removed once the record is there
                      log.txt                 what it printed, all attempts
                      attempts.jsonl          a line for each time it was started (see `core.lease`)
                      lease.json              who is at work on it (see `core.lease`)
                      error.json              why it failed; `bench retry` clears it
                      model.safetensors       its trained weights, unless --no-weights
                      curves.csv              its losses and validations as they came
                      clips.npz               a few reconstructions and swaps, for figures and pages
                      record.json.1           an earlier record, of a cell that was run again (`bench run --again`)
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import read_json, write_json
from seqdis.bench.records.config import RunConfig
from seqdis.bench.records.record import RECORD

CONFIG, PROGRESS, LOG, ERROR = "config.json", "progress.json", "log.txt", "error.json"
CHECKPOINT, CLIPS = "checkpoint.safetensors", "clips.npz"
WEIGHTS = "model.safetensors"
CURVES = "curves.csv"


class Store:
    """The cells below one output folder."""

    def __init__(self, out: Path) -> None:
        self.out = out.absolute()
        self.cells = self.out / "cells"

    def folder(self, cell_id: str) -> Path:
        return self.cells / cell_id

    def is_done(self, cell_id: str) -> bool:
        return os.path.exists(self.folder(cell_id) / RECORD)

    def set_aside(self, cell_id: str) -> None:
        """Renames the record of a cell that is to be run again, its weights and clips: record.json.1, then .2, and so on.

        What another process has just put aside stays there.

        Raises:
            UserError: it cannot be renamed.
        """
        folder = self.folder(cell_id)
        number = next(number for number in itertools.count(1) if not os.path.lexists(folder / f"{RECORD}.{number}"))
        for name in (RECORD, WEIGHTS, CLIPS):
            try:
                os.rename(folder / name, folder / f"{name}.{number}")
            except FileNotFoundError:
                if name == RECORD:
                    return
            except OSError as error:
                raise UserError(f"{folder / name} cannot be put aside ({error.strerror}).") from None

    def add(self, cell_id: str, config: RunConfig) -> Path:
        """Writes a planned cell's config, unless it is there, and returns its folder.

        Raises:
            UserError: the folder holds another config under the same id, or cannot be written.
        """
        folder = self.folder(cell_id)
        path = folder / CONFIG
        if os.path.exists(path):
            if read_json(path) != config.to_json():
                raise UserError(f"{path} was edited or comes from other code; remove {folder} and run again.")
        else:
            write_json(path, config.to_json())
        return folder

    def add_all(self, planned: Iterable[tuple[str, RunConfig]]) -> None:
        """`add` for many cells: the waits for the disk overlap."""
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda one: self.add(*one), planned))

    def ids(self) -> Iterator[str]:
        """The ids of all planned cells, unsorted.

        Raises:
            UserError: the folder cannot be read.
        """
        try:
            with os.scandir(self.cells) as entries:
                yield from (e.name for e in entries if e.name.isprintable() and e.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"{self.cells} cannot be read ({error.strerror}).") from None

    def check_writable(self) -> None:
        """Makes the folder and writes a byte to it.

        Raises:
            UserError: it cannot be written, or is full.
        """
        write_json(self.cells / ".writable.json", 0)
        (self.cells / ".writable.json").unlink(missing_ok=True)
