"""Which runs there are: cells, their resolved configs and their identities.

A cell is (data set, source, method, variant, preset, seed) and its resolved config. Its id is a readable name and a
hash of all that changes its numbers; paths, devices, workers and logging stay out of it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.rules import shown
from seqdis.bench.plan import catalog, presets
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.plan.contract import declared
from seqdis.bench.plan.settings import DATA, DEFAULT, SET, Layer, Part, merged
from seqdis.bench.plan.studies import study
from seqdis.bench.records.config import CellKey, RunConfig, Settings, Source, TrainingConfig

if TYPE_CHECKING:
    from seqdis.methods.base import Method

Row = tuple[str, Source, MethodRef, str, int, str]
"""Data set, source, method, preset, batch and overrides of a cell."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run. `batch` is 0 for the preset's batch size, else the size that the batch-size table asks for."""

    dataset: str
    source: Source
    method: MethodRef
    preset: str
    seed: int
    batch: int = 0
    overrides: tuple[tuple[str, Any], ...] = ()

    @property
    def title(self) -> str:
        """For people: 'cdsvae on sprites (synthetic), quick, seed 0'."""
        batch = f", batch {self.batch}" if self.batch else ""
        return f"{self.method} on {Path(self.dataset).name} ({self.source}), {self.preset}, seed {self.seed}{batch}"

    @property
    def row(self) -> Row:
        """What cells that differ in their seed only have in common. Values of --set may be lists, which have no hash."""
        return self.dataset, self.source, self.method, self.preset, self.batch, repr(self.overrides)


@dataclasses.dataclass(frozen=True)
class Planned:
    """A cell with its resolved config (what config.json holds) and its id."""

    cell: Cell
    id: str
    config: RunConfig

    @property
    def title(self) -> str:
        """For people."""
        return self.cell.title


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A cell's config and the origin of each value, by part ("method", "training", "evaluation", "data") and name."""

    config: RunConfig
    origins: dict[str, dict[str, str]]


def grid(
    methods: Iterable[MethodRef],
    datasets: Iterable[str],
    *,
    source: Source,
    preset: str,
    seeds: Iterable[int],
    table: str = "comparison",
    overrides: Mapping[str, Any] | None = None,
) -> list[Cell]:
    """Every cell of a grid, seed 0 of every row before seed 1 of any, so that an early end leaves whole rows."""
    chosen = tuple(sorted((overrides or {}).items()))
    rows = [
        (dataset, method, batch)
        for dataset, method in ((dataset, method) for dataset in datasets for method in list(methods))
        for batch in _batches(table, preset, method, dataset, source)
    ]
    return [
        Cell(dataset, source, method, preset, seed, batch, chosen) for seed in seeds for dataset, method, batch in rows
    ]


def table_methods(table: str, methods: str | None) -> list[MethodRef]:
    """The methods that a table needs, unless the user named some.

    Raises:
        UserError: an unknown table or method.
    """
    return catalog.parse_methods(methods or study(table).methods)


def _batches(table: str, preset: str, method: MethodRef, dataset: str, source: Source) -> tuple[int, ...]:
    chosen = study(table)
    if not chosen.varies_batch:
        return chosen.batches(0)
    return chosen.batches(resolve(Cell(dataset, source, method, preset, 0)).config.training.batch_size)


def plan(cells: Iterable[Cell]) -> list[Planned]:
    """Resolves cells. Cells that differ in their seed only share the work.

    Raises:
        UserError: an override that no part of the config has, or a value of the wrong kind.
    """
    planned = []
    resolved: dict[Row, RunConfig] = {}
    for cell in cells:
        if cell.row not in resolved:
            resolved[cell.row] = resolve(cell).config
        shared = resolved[cell.row]
        config = dataclasses.replace(shared, cell=dataclasses.replace(shared.cell, seed=cell.seed))
        planned.append(Planned(cell, config.id, config))
    return planned


def resolve(cell: Cell) -> Resolved:
    """A cell's config: the defaults, the preset, the method's own rules, the study, the variant, --set; in this order.

    Raises:
        UserError: a source that the data set does not have, an override that no part of the config has, or a value of
            the wrong kind.
    """
    from seqdis.judges.settings import PROTOCOL_VERSION, EvaluationConfig

    preset = presets.get(cell.preset)
    dataset = catalog.load_dataset(cell.dataset)
    if cell.source not in dataset.sources:
        raise UserError(f"{cell.dataset} has no {cell.source} source; it has: {', '.join(dataset.sources)}.")
    overrides = dict(cell.overrides)
    chosen = data_options(cell.dataset, overrides)
    data = {**preset.data, **chosen}
    spec = dataset.describe(cell.source, preset.size, **data)
    method = None if cell.method.name == catalog.ORACLE else catalog.load_method(cell.method)
    kinds: dict[str, type[Any]] = {"training": TrainingConfig, "evaluation": EvaluationConfig}
    if method is not None:
        kinds = {"method": method.Config, **kinds}
    layers = presets.layers(preset, method, cell.method.variant, spec.name, spec.modality)
    if cell.batch:
        layers.append(Layer(origin="study batch-size", training={"batch_size": cell.batch}))
    parts = merged(kinds, layers, overrides)
    if parts["evaluation"].config.sample == "training codes":
        raise UserError(
            "evaluation.sample: the methods here have priors, which are drawn from; codes of training clips stand for the prior "
            "of a model from elsewhere (seqdis.evaluate). Use draw or means."
        )
    _require_schedulable(parts["training"].config, method, str(cell.method))
    versions: Settings = {"protocol": PROTOCOL_VERSION, "data": spec.revision}
    if method is not None and declared(method, parts["method"].config)[0].signal:
        versions["signal"] = spec.signal.how if spec.signal is not None else ""
    config = RunConfig(
        cell=CellKey(
            dataset=spec.name,
            source=cell.source,
            method=cell.method.name,
            variant=cell.method.variant,
            preset=cell.preset,
            seed=cell.seed,
            size=preset.size if spec.modality == "video" else 0,
            batch=cell.batch,
            overrides=overrides,
        ),
        method=_plain(parts["method"]) if method is not None else {},
        training=parts["training"].config,
        evaluation=parts["evaluation"].config,
        data=data,
        versions=versions,
        plugin=cell.method.plugin,
        plugin_digest=cell.method.digest,
        data_from=cell.dataset if catalog.is_path(cell.dataset) else None,
    )
    origins = {name: part.origins for name, part in parts.items()}
    options = dict.fromkeys(dataset.options, DEFAULT)
    origins["data"] = {**options, **dict.fromkeys(preset.data, f"preset {preset.name}"), **dict.fromkeys(chosen, SET)}
    return Resolved(config, origins)


def _require_schedulable(training: TrainingConfig, method: type[Method] | None, name: str) -> None:
    names = () if method is None else method.schedulable
    for term in training.capacity:
        if term not in names:
            has = f"it has: {', '.join(names)}" if names else "it has none"
            raise UserError(f"{name} has no {shown(term)} that training.capacity can schedule; {has}.")


def _plain(part: Part) -> Settings:
    """A method's settings as JSON would give them back (tuples become lists), so that a re-read config compares equal."""
    plain: Settings = json.loads(json.dumps(dataclasses.asdict(part.config)))
    return plain


def data_options(dataset: str, overrides: Mapping[str, Any]) -> Settings:
    """What `--set data.NAME=VALUE` chooses of a data set's options, by name.

    Raises:
        UserError: it has no such option, or the option no such value.
    """
    from seqdis.datasets.base import chosen_options

    given = {key.removeprefix(DATA): value for key, value in overrides.items() if key.startswith(DATA)}
    return chosen_options(catalog.load_dataset(dataset), given) if given else {}
