"""The data of a cell, and the clips that its method is trained on."""

from __future__ import annotations

from pathlib import Path

from seqdis.bench.plan import catalog
from seqdis.bench.records.config import RunConfig
from seqdis.datasets.base import DataSet, Split
from seqdis.methods.base import Needs


def open_dataset(config: RunConfig, root: Path) -> DataSet:
    """Opens a cell's data set.

    Raises:
        MissingDataError: it is not prepared; the error holds the command that does it.
    """
    cell = config.cell
    return catalog.load_dataset(config.data_from or cell.dataset).open(root, cell.source, cell.size, **config.data)


def training_split(dataset: DataSet, needs: Needs) -> Split:
    """The training clips that a method with these needs is given; reads the data's signal if it is one of them."""
    if needs.signal:
        dataset.load_signal()
    return dataset.segmented() if needs.segments else dataset.train
