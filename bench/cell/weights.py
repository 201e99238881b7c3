"""The weights of a finished cell, kept beside its record: its method can be opened again, and scored by another judge."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from seqdis.bench.cell.experiment import Experiment
from seqdis.bench.cell.report import rescored
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.places import data_root
from seqdis.bench.records.config import RunConfig, read_config
from seqdis.bench.records.record import RECORD, read_record, write_record
from seqdis.bench.records.store import CONFIG, WEIGHTS, Store
from seqdis.datasets.base import DataSet
from seqdis.judges import protocol
from seqdis.judges.judge import Judge
from seqdis.methods.base import Method

Opened = tuple[Method, DataSet]
"""A method and the data that it was trained on."""


def load(cell: Path | str, *, device: torch.device | str = "cpu", data_dir: Path | None = None) -> Opened:
    """A finished cell's method with its trained weights, in evaluation mode, and its data set.

    Args:
        cell: its folder (`runs/cells/<id>`).
        data_dir: of prepared data (default: $SEQDIS_DATA or the user's cache).

    Raises:
        UserError: no such cell, its weights were not kept or do not fit, or its plug-in has changed.
        MissingDataError: its data are not prepared.
    """
    folder, config = Path(cell), read_config(Path(cell) / CONFIG)
    place = torch.device(device)
    experiment = Experiment(
        config, folder=folder, device=place, root=data_dir or data_root(), report=lambda update: None
    )
    dataset = experiment.open_data()
    method = experiment.untrained(dataset)
    _fill(method, folder / WEIGHTS, config)
    return method.eval(), dataset


def _fill(method: Method, path: Path, config: RunConfig) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load as read

    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): the weights of this cell were not kept, or were removed; "
            "run it again without --no-weights."
        ) from None
    try:
        method.load_state_dict(read(data))
    except (SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} does not hold the weights of {config.cell.method} ({reason}).") from None


def score_again(cell: Path, judge: Judge, out: Path, *, device: torch.device, data_dir: Path | None = None) -> Path:
    """Scores a finished cell under another judge, without training: a record of its own, which says so.

    Args:
        cell: the folder of the finished cell, with its weights.
        judge: of the same data.
        out: the output folder of the new record; its id is another one, since its judge is.

    Returns:
        The folder of the new record; one that is there already stays.

    Raises:
        UserError: as for `load`, or the judge is the one that the cell was scored by.
    """
    record, config = read_record(cell / RECORD), read_config(cell / CONFIG)
    card = judge.card
    if record.judge is not None and record.judge.sha256 == card.sha256:
        raise UserError(f"{cell.name} was scored by {card.name} already: name another judge.")
    config = dataclasses.replace(config, versions={**config.versions, "judge": card.sha256})
    store = Store(out)
    if store.is_done(config.id):
        return store.folder(config.id)
    method, dataset = load(cell, device=device, data_dir=data_dir)
    found = protocol.evaluate(method, dataset, judge.to(device), config.evaluation, device)
    folder = store.add(config.id, config)
    write_record(folder, rescored(record, config, judge, found, device=device))
    return folder
