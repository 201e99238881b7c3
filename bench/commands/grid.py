"""Which cells a command is about: methods, data sets, seeds and settings as they are typed."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqdis.bench.core.errors import MissingDataError, UserError

if TYPE_CHECKING:
    from seqdis.bench.plan.cells import Planned
    from seqdis.bench.plan.presets import Preset
    from seqdis.bench.records.config import Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the words that say which cells."""
    parser.add_argument("--methods", help="comma-separated: all, controls, dsvae, cdsvae:no-content-aug, file.py:Class")
    parser.add_argument("--datasets", required=True, help="comma-separated: all, sprites, mug, ...")
    parser.add_argument("--preset", default="paper", help="quick, compact, paper or paper-long (default: paper)")
    parser.add_argument("--source", choices=("real", "synthetic"), help="default: the preset's")
    parser.add_argument("--seeds", type=int, help="number of seeds, counted from 0 (default: the preset's)")
    parser.add_argument("--first-seed", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument(
        "--table",
        default="comparison",
        help="plan the cells of this table: comparison, augmentation, estimators, published-weights, batch-size",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change a setting, or an option of the data (data.features=spec200); such records never "
        "stand in the preset's row",
    )


@dataclasses.dataclass(frozen=True)
class Grid:
    """The cells that the user asks for. What is None is the preset's or the table's.

    Attributes:
        methods, datasets: names separated by commas.
        seeds: how many, from `first_seed`.
        table: whose cells they are.
        overrides: settings as "key=value".
    """

    methods: str | None
    datasets: str
    preset: str
    source: Source | None
    seeds: int | None
    first_seed: int
    table: str
    overrides: tuple[str, ...]

    @classmethod
    def typed(cls, args: argparse.Namespace) -> Grid:
        """From the command line."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: getattr(args, name) for name in names} | {"overrides": tuple(args.overrides)})

    def check(self) -> None:
        """Looks up all names, before anything slow is done with them.

        Raises:
            UserError: an unknown one.
        """
        from seqdis.bench.plan import catalog, cells, presets

        presets.get(self.preset)
        catalog.parse_datasets(self.datasets)
        cells.table_methods(self.table, self.methods)

    @property
    def scale(self) -> Preset:
        """The preset. Raises UserError for an unknown one."""
        from seqdis.bench.plan import presets

        return presets.get(self.preset)

    @property
    def data_source(self) -> Source:
        """real or synthetic."""
        from seqdis.bench.plan import catalog

        if self.source is not None:
            return self.source
        for name in filter(catalog.is_path, catalog.parse_datasets(self.datasets)):
            sources = catalog.load_dataset(name).sources
            if self.scale.source not in sources:  # a user's data have no stand-in
                return sources[0]
        return self.scale.source

    def plan(self) -> list[Planned]:
        """The cells, resolved.

        Raises:
            UserError: an unknown name, or a setting that nothing has.
        """
        from seqdis.bench.plan import catalog, cells, settings

        return cells.plan(
            cells.grid(
                cells.table_methods(self.table, self.methods),
                catalog.parse_datasets(self.datasets),
                source=self.data_source,
                preset=self.scale.name,
                seeds=range(self.first_seed, self.first_seed + (self.seeds or self.scale.seeds)),
                table=self.table,
                overrides=settings.parse_overrides(self.overrides),
            )
        )

    def require_data(self, root: Path) -> None:
        """Every data set must be there before anything is started or submitted.

        Raises:
            UserError: one is not; says how to get it, and the line that runs now.
        """
        from seqdis.bench.plan import catalog, cells, settings

        missing: dict[str, str] = {}
        datasets = catalog.parse_datasets(self.datasets)
        overrides = settings.parse_overrides(self.overrides)
        for name in datasets:
            if catalog.is_path(name):  # prepared by whoever comes first, as stand-ins are
                continue
            options = {**self.scale.data, **cells.data_options(name, overrides)}
            try:
                catalog.load_dataset(name).open(root, "real", self.scale.size, **options)
            except MissingDataError as error:
                missing[name] = str(error)
        if not missing:
            return
        rest = [name for name in datasets if name not in missing]
        line = " Nothing was started."
        if rest:
            line += f" What runs now: {self.line(rest)}"
        elif self.scale.source == "real" and self.source is None:
            line += f" To see the whole job now on generated data: {self.quick_line}"
        raise UserError(" ".join(missing.values()) + line)

    def require_gpu(self) -> None:
        """The paper's scale needs a GPU or a cluster, unless the user insists with --device cpu.

        Raises:
            UserError: there is neither.
        """
        import torch

        if torch.cuda.is_available():
            return
        cells = "about 13 minutes an epoch of real Sprites on two CPU cores, so about 20 hours a cell"
        raise UserError(
            f"the {self.preset} preset needs a GPU or a SLURM cluster, and this machine has neither ({cells}). "
            f"Type: {self.quick_line}; or insist with --device cpu."
        )

    @property
    def quick_line(self) -> str:
        """The same methods and data sets in minutes."""
        return f"bench run --methods {self.methods or 'all'} --datasets {self.datasets} --preset quick"

    def line(self, datasets: Sequence[str]) -> str:
        """The user's own line with these data sets only."""
        words = ["bench run"]
        for flag, value in (
            ("--methods", self.methods or None),
            ("--datasets", ",".join(datasets)),
            ("--preset", None if self.preset == "paper" else self.preset),
            ("--source", self.source),
            ("--seeds", self.seeds),
            ("--table", None if self.table == "comparison" else self.table),
            *(("--set", item) for item in self.overrides),
        ):
            if value is not None:
                words += [flag, str(value)]
        return " ".join(words)
