"""A cell's resolved configuration, what config.json holds, and its identity: a hash of all that changes its numbers.

From the command line to the record it is one typed value, a `RunConfig`. No torch here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from seqdis.bench.core import schema
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import canonical_json, digest, read_json
from seqdis.bench.core.rules import Curve, Range, Text
from seqdis.bench.core.schema import OPTIONAL
from seqdis.judges.settings import Count, EvaluationConfig, Positive

CONFIG_SCHEMA = 1

Name = Annotated[str, Text(64, "[A-Za-z0-9][A-Za-z0-9._ -]{0,63}", empty=False)]
Variant = Annotated[str, Text(64, "[A-Za-z0-9][A-Za-z0-9._ -]{0,63}"), "empty for the plain method"]
Source = Literal["real", "synthetic"]
Precision = Literal["float32", "tf32", "bfloat16"]
Settings = dict[str, Any]
"""Settings by name, as JSON has them: those of a method or of a data set, whose names only it knows."""
Points = Annotated[tuple[tuple[float, float], ...], Curve()]
"""A value over the progress of training, from 0 to 1."""
NOISE = "noise_"
"""What names of a capacity schedule begin with that are no loss term but the noise on a code's samples."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a method is trained.

    Attributes:
        steps: optimiser steps; 0 means `epochs` decides.
        epochs: passes over the training clips, if `steps` is 0.
        batch_size: clips a step (the last, smaller batch of an epoch is dropped).
        schedule: `constant`, or `cosine` down to `final_lr` times the rate.
        precision: `float32`, `tf32` or `bfloat16` (autocast around the loss).
        compile: run the loss through torch.compile.
        validations: how often the judge scores the validation clips, evenly spaced, the last at the end.
        patience: stop after so many validations without a better score; 0 never stops early.
        log_every: steps between two logged losses (each one synchronises once).
        clip_norm: gradient-norm ceiling; 0 is none.
        capacity: how much each code may hold while training goes on, by loss term: the factor of the term's weight as
            (progress, factor) points. Before the first point its factor holds, after the last the last's; between two it
            goes geometrically, from or to 0 linearly. `noise_static` and `noise_dynamic` are standard deviations of
            Gaussian noise on the samples of that code, linear between points. A method's `schedulable` has the names.
    """

    steps: Count = 0
    epochs: Count = 100
    batch_size: Positive = 128
    schedule: Literal["constant", "cosine"] = "constant"
    final_lr: Annotated[float, Range(0, 1)] = 0.05
    precision: Precision = "float32"
    compile: bool = False
    validations: Count = 20
    patience: Count = 0
    log_every: Positive = 50
    clip_norm: Annotated[float, Range(0)] = 0.0
    capacity: Annotated[dict[str, Points], OPTIONAL] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellKey:
    """Which run it is: the cell of config.json, and of the record beside its id.

    Attributes:
        size: side of frames in pixels; 0 for audio.
        batch: 0 for the preset's batch size, else what the batch-size table asks for.
        overrides: what --set changed, by key.
    """

    dataset: Name
    source: Source
    method: Name
    variant: Variant
    preset: Name
    seed: Count
    size: Annotated[int, Range(0, 4096)]
    batch: Count = 0
    overrides: Settings = dataclasses.field(default_factory=dict)


class DataKey(NamedTuple):
    """Which data set a cell reads (its name, or where it is): cells with equal ones share it, and its judge. `options` are
    canonical JSON."""

    dataset: str
    source: Source
    size: int
    options: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that changes a cell's numbers, resolved.

    Attributes:
        method: the method's settings; {} for a control that has none.
        data: options of the data set that differ from its defaults.
        versions: of the protocol and the data, and how a signal was made.
        plugin: "path/to/file.py:Class" of a method outside of the suite, else empty. No part of the identity.
        data_from: the folder or "path/to/file.py:Class" of data outside of the suite; its `versions` say what is in it. No part
            of the identity.
        plugin_digest: of what that class, its file and the user's files that it imports do; in version 0.1.0 of their bytes.
    """

    schema: Literal[1] = 1
    cell: CellKey
    method: Settings
    training: TrainingConfig
    evaluation: EvaluationConfig
    data: Settings
    versions: Settings
    plugin: Annotated[str, Text(4096)] = ""
    plugin_digest: Annotated[str, Text(128)] = ""
    data_from: Annotated[str | None, OPTIONAL, Text(4096)] = None

    def to_json(self) -> dict[str, Any]:
        """What config.json holds."""
        return schema.to_json(self)

    @property
    def id(self) -> str:
        """The cell's id: see `cell_id`."""
        return cell_id(self.to_json())

    @property
    def data_key(self) -> DataKey:
        """Which data set it reads."""
        return DataKey(self.data_from or self.cell.dataset, self.cell.source, self.cell.size, canonical_json(self.data))


def config_of(record: Mapping[str, Any]) -> RunConfig:
    """The config of a record as JSON, but for the path of a plug-in, which records do not hold.

    Raises:
        ValueError: the record does not say all that a config holds.
    """
    return schema.from_json(RunConfig, config_json(record["cell"], record["config"]))


def config_json(cell: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json held, but for the path of a plug-in, from the cell and the config of a record as JSON."""
    return {
        "schema": CONFIG_SCHEMA,
        "cell": {key: value for key, value in cell.items() if key != "id"},
        **{key: config.get(key) for key in ("method", "training", "evaluation", "data", "versions")},
        "plugin": "",
        "plugin_digest": config.get("plugin_digest", ""),
    }


def read_config(path: Path) -> RunConfig:
    """A cell's config from its file.

    Raises:
        UserError: it is missing, damaged, or of another version of the suite; the message names the first wrong value.
    """
    try:
        return schema.from_json(RunConfig, read_json(path))
    except ValueError as error:
        raise UserError(
            f"{path} is no configuration of this version ({error}): remove its folder and type the line that planned it "
            "again."
        ) from None


def cell_id(config: Mapping[str, Any]) -> str:
    """The id of a resolved config as JSON: a readable name and ten digits of the hash of all that changes its numbers."""
    cell = config["cell"]
    identity = {key: value for key, value in config.items() if key not in ("plugin", "data_from")}
    identity["training"] = {key: value for key, value in config["training"].items() if key != "log_every"}
    identity["evaluation"] = {key: value for key, value in config["evaluation"].items() if key != "batch_size"}
    name = "-".join(
        filter(
            None,
            (
                cell["dataset"],
                cell["source"][:5],
                cell["method"],
                cell["variant"],
                cell["preset"],
                f"b{cell['batch']}" if cell["batch"] else "",
                f"s{cell['seed']}",
            ),
        )
    )
    return f"{name}-{digest(canonical_json(identity))[:10]}"


def describe_config(config: Mapping[str, Any]) -> tuple[str, int]:
    """A digest of a resolved config, and its batch size (0 if it has none).

    Left out is what changes no number (as for a cell's id), and seeds: they tell the records of one row apart.
    """

    def stripped(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: stripped(item) for key, item in value.items() if key != "seed"}
        return value

    training = dict(config.get("training") or {})
    evaluation = dict(config.get("evaluation") or {})
    counted = {**config, "training": {**training, "log_every": 0}, "evaluation": {**evaluation, "batch_size": 0}}
    return digest(canonical_json(stripped(counted)))[:12], int(training.get("batch_size") or 0)
