"""A finished cell as figures need it: its record, its clips, and whether they may be shown."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from seqdis.bench.core.errors import UserError
from seqdis.bench.plan.catalog import data_facts
from seqdis.bench.records.clips import Clips, load_clips
from seqdis.bench.records.record import Data, Record

MAX_TEXT = 90


@dataclasses.dataclass(frozen=True)
class Cell:
    """A finished cell: its folder, its record, and what its clips show."""

    folder: Path
    record: Record

    @property
    def key(self) -> tuple[str, str]:
        return self.record.cell.method, self.record.cell.variant

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
        if not clips:
            raise UserError(f"{self.folder} has no clips; run its cell again to make them.")
        return clips


def is_showable(dataset: str, source: str, may_show: object) -> bool:
    """Whether frames or audio may be published: by what was recorded of the data, and, of our own real data, by what
    their file says of the licence, since a record may come from anyone."""
    facts = data_facts(dataset) if source == "real" else None
    return may_show is True and (facts is None or facts.may_show)
