"""Which runs there are: cells, their resolved configs and their identities.

A cell is (data set, source, method, variant, preset, seed) and its resolved config. Its id is a readable name and a
hash of all that changes its numbers; paths, devices, workers and logging stay out of it.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from seqdis.bench.core.errors import UserError, unknown_name
from seqdis.bench.plan import catalog, presets
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.records.config import CONFIG_SCHEMA, cell_id

DATA = "data."
"""What keys of --set begin with that choose options of the data set."""

TABLES: dict[str, str] = {
    "comparison": "all methods (the paper's Tables 1 to 4)",
    "augmentation": "C-DSVAE with and without each augmentation (Tables 5 and 6)",
    "estimators": "minibatch-weighted sampling against contrastive estimation (Tables 7 and 8)",
    "batch-size": "C-DSVAE at half, once and twice the preset's batch (Table 9)",
}
_TABLE_METHODS = {
    "augmentation": "dsvae,cdsvae,cdsvae:no-content-aug,cdsvae:no-motion-aug",
    "estimators": "dsvae,dsvae:mws,cdsvae",
    "batch-size": "cdsvae",
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run. `batch` is 0 for the preset's batch size, else the size that the batch-size table asks for."""

    dataset: str
    source: str
    method: MethodRef
    preset: str
    seed: int
    batch: int = 0
    overrides: tuple[tuple[str, Any], ...] = ()

    @property
    def title(self) -> str:
        """For people: 'cdsvae on sprites (synthetic), quick, seed 0'."""
        batch = f", batch {self.batch}" if self.batch else ""
        return f"{self.method} on {self.dataset} ({self.source}), {self.preset}, seed {self.seed}{batch}"


@dataclasses.dataclass(frozen=True)
class Planned:
    """A cell with its resolved config (what config.json holds) and its id."""

    cell: Cell
    id: str
    config: dict[str, Any]

    @property
    def title(self) -> str:
        """For people."""
        return self.cell.title


def grid(
    methods: Iterable[MethodRef],
    datasets: Iterable[str],
    *,
    source: str,
    preset: str,
    seeds: Iterable[int],
    table: str = "comparison",
    overrides: Mapping[str, Any] | None = None,
) -> list[Cell]:
    """Every cell of a grid, seed 0 of every row before seed 1 of any, so that an early end leaves whole rows."""
    chosen = tuple(sorted((overrides or {}).items()))
    cells = []
    methods, datasets = list(methods), list(datasets)
    for seed in seeds:
        for dataset in datasets:
            for method in methods:
                cells += [
                    Cell(dataset, source, method, preset, seed, batch, chosen)
                    for batch in _batches(table, preset, method, dataset)
                ]
    return cells


def table_methods(table: str, methods: str | None) -> list[MethodRef]:
    """The methods that a table needs, unless the user named some.

    Raises:
        UserError: an unknown table or method.
    """
    if table not in TABLES:
        raise unknown_name("table", table, TABLES, "bench list tables")
    return catalog.parse_methods(methods or _TABLE_METHODS.get(table, "all"))


def _batches(table: str, preset: str, method: MethodRef, dataset: str) -> tuple[int, ...]:
    if table != "batch-size":
        return (0,)
    size = presets.training_settings(presets.get(preset), method.name, dataset)["batch_size"]
    # The paper's sizes are 64, 128 and 256 on every data set, whichever of them the preset uses.
    sizes = (64, 128, 256) if size in (64, 128, 256) else (size // 2, size, size * 2)
    return tuple(0 if wanted == size else wanted for wanted in sizes)


def plan(cells: Iterable[Cell]) -> list[Planned]:
    """Resolves cells. Cells that differ in their seed only share the work.

    Raises:
        UserError: an override that no part of the config has, or a value of the wrong kind.
    """
    planned = []
    resolved: dict[Cell, dict[str, Any]] = {}
    for cell in cells:
        row = dataclasses.replace(cell, seed=0)
        if row not in resolved:
            resolved[row] = _resolve(row)
        config = {**resolved[row], "cell": {**resolved[row]["cell"], "seed": cell.seed}}
        planned.append(Planned(cell, cell_id(config), config))
    return planned


def _resolve(cell: Cell) -> dict[str, Any]:
    from seqdis.judges.settings import PROTOCOL_VERSION, EvaluationConfig

    preset = presets.get(cell.preset)
    dataset = catalog.load_dataset(cell.dataset)
    if cell.source not in dataset.sources:
        raise UserError(f"{cell.dataset} has no {cell.source} source; it has: {', '.join(dataset.sources)}.")
    training = presets.training_settings(preset, cell.method.name, cell.dataset)
    if cell.batch:
        training["batch_size"] = cell.batch
    parts: dict[str, tuple[type[Any], dict[str, Any]]] = {
        "training": (presets.TrainingConfig, training),
        "evaluation": (EvaluationConfig, dict(preset.evaluation)),
    }
    if cell.method.name != catalog.ORACLE:
        method = catalog.load_method(cell.method)
        settings = presets.method_settings(preset, cell.method.name, cell.dataset, method.Config)
        parts["method"] = (method.Config, {**settings, **method.variants.get(cell.method.variant, {})})
    data = {**preset.data, **data_options(cell.dataset, dict(cell.overrides))}
    for key, value in cell.overrides:
        if not key.startswith(DATA):
            _override(parts, key, value)
    spec = dataset.describe(cell.source, preset.size, **data)
    versions = {"protocol": PROTOCOL_VERSION, "data": spec.revision}
    if cell.method.name != catalog.ORACLE and method.needs(parts["method"][0](**parts["method"][1])).signal:
        versions["signal"] = spec.signal.how if spec.signal is not None else ""
    built = {name: _asdict(kind(**settings)) for name, (kind, settings) in parts.items()}
    return {
        "schema": CONFIG_SCHEMA,
        "cell": {
            "dataset": cell.dataset,
            "source": cell.source,
            "method": cell.method.name,
            "variant": cell.method.variant,
            "preset": cell.preset,
            "seed": cell.seed,
            "size": preset.size if spec.modality == "video" else 0,
            "batch": cell.batch,
            "overrides": dict(cell.overrides),
        },
        "method": built.get("method", {}),
        "training": built["training"],
        "evaluation": built["evaluation"],
        "data": data,
        "versions": versions,
        "plugin": cell.method.plugin,
        "plugin_digest": cell.method.digest,
    }


def untupled(kind: type[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """JSON settings as the dataclass `kind` has them: lists become tuples where it says so."""
    hints = typing.get_type_hints(kind)
    return {
        key: tuple(value) if isinstance(value, list) and typing.get_origin(hints.get(key)) is tuple else value
        for key, value in settings.items()
    }


def _asdict(config: Any) -> dict[str, Any]:
    """A config as JSON would give it back (tuples become lists), so that a re-read config compares equal."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def parse_overrides(items: Iterable[str]) -> dict[str, Any]:
    """`key=value` texts as a mapping; values are JSON where they parse as JSON, else text.

    Raises:
        UserError: a text without '='.
    """
    overrides = {}
    for item in items:
        key, separator, text = item.partition("=")
        if not separator or not key:
            raise UserError(f"--set {item!r} is not of the form key=value, such as --set training.steps=200.")
        try:
            overrides[key] = json.loads(text)
        except ValueError:
            overrides[key] = text
    return overrides


def data_options(dataset: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What `--set data.NAME=VALUE` chooses of a data set's options, by name.

    Raises:
        UserError: it has no such option, or the option no such value.
    """
    from seqdis.datasets.base import chosen_options

    given = {key.removeprefix(DATA): value for key, value in overrides.items() if key.startswith(DATA)}
    return chosen_options(catalog.load_dataset(dataset), given) if given else {}


def _override(parts: dict[str, tuple[type[Any], dict[str, Any]]], key: str, value: Any) -> None:
    room, _, name = key.rpartition(".")
    rooms = [room] if room else ["method", "training", "evaluation"]
    for candidate in rooms:
        if candidate in parts and name in {field.name for field in dataclasses.fields(parts[candidate][0])}:
            kind, settings = parts[candidate]
            settings[name] = _checked(key, value, typing.get_type_hints(kind)[name])
            return
    known = [f"{part}.{field.name}" for part, (kind, _) in parts.items() for field in dataclasses.fields(kind)]
    raise unknown_name("setting", key, known, "bench describe METHOD")


def _checked(key: str, value: Any, kind: Any) -> Any:
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        if value not in options:
            raise UserError(f"--set {key}={value} must be one of {', '.join(map(str, options))}.")
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(value)
    wanted = tuple(option for option in (options if origin is not None else (kind,)) if isinstance(option, type))
    if origin is tuple or not wanted:
        raise UserError(f"--set {key} cannot be set from the command line.")
    if float in wanted and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise UserError(f"--set {key}={value!r} must be {' or '.join(option.__name__ for option in wanted)}.")
    return value
