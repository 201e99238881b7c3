"""A finished cell as figures need it: its record, its clips, and whether they may be shown."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import canonical_json, digest
from seqdis.bench.core.rules import shown
from seqdis.bench.core.schema import to_json
from seqdis.bench.plan.catalog import data_facts
from seqdis.bench.records.clips import Clips, load_clips
from seqdis.bench.records.config import describe_config
from seqdis.bench.records.record import Data, Record

MAX_TEXT = 90
Row = tuple[str, str, int, str]
"""Method, variant, batch size and a digest of all else that must be equal before two cells may be averaged."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A finished cell: its folder, its record, and what its clips show."""

    folder: Path
    record: Record

    @property
    def key(self) -> tuple[str, str]:
        return self.record.cell.method, self.record.cell.variant

    @functools.cached_property
    def row(self) -> Row:
        """What only cells that differ in nothing but their seed have in common."""
        record, training = self.record, self.record.training
        config, batch = describe_config(to_json(record.config))
        scored = (self.data.digest, record.judge and record.judge.sha256, record.code.version)
        unfinished = "" if training.complete else str(training.steps)
        return (*self.key, batch, digest(canonical_json([config, *scored, unfinished])))

    @property
    def departures(self) -> tuple[str, ...]:
        """What keeps it out of the tables' averages, in words."""
        training = self.record.training
        found = [f"{key}={shown(value)}" for key, value in sorted(self.record.cell.overrides.items())]
        if not training.complete:
            found.append(f"unfinished ({training.steps} of {training.planned_steps} steps)")
        return tuple(text[:MAX_TEXT] for text in found)

    @property
    def full_title(self) -> str:
        """Title, batch size, whatever is not as the preset has it, and seed."""
        batch = self.row[2]
        size = [f"batch {batch}"] if batch else []
        return ", ".join([self.title, *size, *self.departures, f"seed {self.record.cell.seed}"])[: 2 * MAX_TEXT]

    @property
    def group(self) -> tuple[str, ...]:
        """Data set, source, preset and size: cells that agree in them may stand in one figure."""
        cell = self.record.cell
        return cell.dataset, cell.source, cell.preset, str(cell.size)

    @property
    def title(self) -> str:
        return str(self.record.title)[:MAX_TEXT]

    @property
    def data(self) -> Data:
        """What it was scored on.

        Raises:
            UserError: it has no scores.
        """
        if not isinstance(self.record.data, Data):
            raise UserError(f"{self.folder} has no scores; 'bench validate {self.folder}' says what is wrong.")
        return self.record.data

    @property
    def context(self) -> str:
        """Data, source and preset, so that no sheet can be mistaken for another."""
        cell = self.record.cell
        source = "SYNTHETIC stand-in" if cell.source == "synthetic" else f"{cell.source} data"
        return f"{self.data.title}, {source}, preset {cell.preset}"[: 2 * MAX_TEXT]

    def clips(self, *, private: bool = False) -> Clips:
        """Its clips.

        Raises:
            UserError: it has none, or they may not leave this machine.
        """
        cell, data = self.record.cell, self.data
        if not private and not is_showable(cell.dataset, cell.source, data.may_show):
            raise UserError(
                f"frames and audio of {data.title} may not be published, decoded or not; "
                "add --private to draw them for your own eyes."
            )
        clips = load_clips(self.folder)
        if not clips and not self.record.training.planned_steps:
            raise UserError(f"{self.title} was not trained, and keeps no clips.")
        if not clips:
            raise UserError(f"{self.folder} has no clips; run its cell again to make them.")
        return clips


def row_names(cells: Iterable[Cell]) -> dict[Row, str]:
    """What each row is called among these cells: its title, and whatever else tells it from the others."""
    rows = {cell.row: cell for cell in cells}
    sizes: dict[tuple[str, str], set[int]] = {}
    for cell in rows.values():
        sizes.setdefault(cell.key, set()).add(cell.row[2])
    named = {
        row: ", ".join([cell.title, *([f"batch {row[2]}"] if len(sizes[cell.key]) > 1 else []), *cell.departures])
        for row, cell in rows.items()
    }
    texts = list(named.values())
    return {row: f"{text} [{row[3][:6]}]" if texts.count(text) > 1 else text for row, text in named.items()}


def is_showable(dataset: str, source: str, may_show: object) -> bool:
    """Whether frames or audio may be published: by what was recorded of the data, and, of our own real data, by what
    their file says of the licence, since a record may come from anyone."""
    facts = data_facts(dataset) if source == "real" else None
    return may_show is True and (facts is None or facts.may_show)
