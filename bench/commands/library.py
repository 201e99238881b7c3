"""The commands as functions: what `import seqdis` gives. Imports torch only where something is computed.

import seqdis
seqdis.run(methods="dsvae,cdsvae", datasets="sprites", preset="quick")
seqdis.records("runs")                                   # a pandas frame, one row a cell
seqdis.table("comparison", records="runs")               # to_pandas(), to_latex(), HTML in a notebook
method, data = seqdis.load("runs/cells/<id>")            # with its trained weights
seqdis.evaluate(my_model, "sprites")                     # trained anywhere, the same protocol
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas
    import torch

    from seqdis.bench.cell.weights import Opened
    from seqdis.bench.formats.notebook import Table
    from seqdis.bench.records.record import Record
    from seqdis.datasets.base import DataSet
    from seqdis.judges.judge import Judge

Folder = str | Path
Folders = Folder | Iterable[Folder]
Names = str | Iterable[str]


def run(
    *,
    methods: Names = "all",
    datasets: Names,
    preset: str = "quick",
    source: Literal["real", "synthetic"] | None = None,
    seeds: int | None = None,
    settings: Mapping[str, Any] | None = None,
    out: Folder = "runs",
    arguments: Iterable[str] = (),
) -> pandas.DataFrame:
    """`bench run`: trains, judges and records what has no record yet, in processes of their own.

    Args:
        methods: names, or one text with commas; `path/to/file.py:Class` for one of your own.
        datasets: names, or one text with commas.
        preset: the scale ('bench list presets').
        source: the preset's by default.
        seeds: how many, from 0; the preset's number by default.
        settings: what --set changes, such as {"method.lr": 1e-3}.
        out: output folder.
        arguments: more words of the command line, such as ["--workers", "1"].

    Returns:
        The records of the output folder, as `records` gives them.

    Raises:
        UserError: a wrong name or value, or cells that failed: `bench status` says which.
    """
    import argparse
    import json

    from seqdis.bench.commands import run as command
    from seqdis.bench.core.errors import UserError

    words = ["--methods", _joined(methods), "--datasets", _joined(datasets), "--preset", preset]
    words += ["--out", str(out)]
    words += ["--source", source] if source else []
    words += ["--seeds", str(seeds)] if seeds is not None else []
    for key, value in (settings or {}).items():
        words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    parser = argparse.ArgumentParser(prog="seqdis.run")
    command.add_arguments(parser)
    code = command.run(parser.parse_args([*words, *arguments]))
    if code:
        raise UserError(
            f"'bench run {' '.join(words)}' ended with exit code {code}; 'bench status --out {out}' says what is left."
        )
    return records(out)


def records(folders: Folders = "runs", *, long: bool = False) -> pandas.DataFrame:
    """All records below some folders: one row a cell, a column for each number (means over prior draws).

    Numbers are in the record's units: fractions, nats, seconds, bytes (docs/record.md). Records that cannot be read are named
    in a warning.

    Args:
        long: one row a number, with the columns `metric` and `value`.

    Raises:
        UserError: a folder does not exist.
    """
    import warnings

    from seqdis.bench.records import collection
    from seqdis.bench.tables.frame import records_frame

    found = collection.load(_paths(folders))
    for problem in found.problems:
        warnings.warn(problem, stacklevel=2)
    return records_frame(found, long=long)


def table(
    name: str = "comparison",
    *,
    records: Folders = "runs",
    datasets: Names = (),
    presets: Names = (),
    sources: Names = (),
) -> Table:
    """A table of the field from the records below some folders, beside the published numbers.

    Args:
        name: 'bench list tables'.
        datasets, presets, sources: keep only these; empty keeps all.

    Raises:
        UserError: no such table or folder.
    """
    from seqdis.bench.formats.notebook import Table
    from seqdis.bench.records import collection
    from seqdis.bench.tables.build import LITERATURE, build

    found = collection.Collection() if name in LITERATURE else collection.load(_paths(records))
    return Table(build(name, found, datasets=_names(datasets), presets=_names(presets), sources=_names(sources)))


def load(cell: Folder, *, device: torch.device | str = "cpu", data_dir: Folder | None = None) -> Opened:
    """A finished cell's method with its trained weights, in evaluation mode, and its data set.

    Args:
        cell: its folder, `runs/cells/<id>`.
        data_dir: of prepared data (default: $SEQDIS_DATA or the user's cache).

    Raises:
        UserError: no such cell, or its weights were not kept.
    """
    from seqdis.bench.cell import weights

    return weights.load(Path(cell), device=device, data_dir=None if data_dir is None else Path(data_dir))


def judge(
    dataset: str,
    *,
    source: Literal["real", "synthetic"] = "real",
    size: int = 64,
    name: str = "default",
    data_dir: Folder | None = None,
) -> Judge:
    """The frozen judge of a data set, in evaluation mode: `judge.classify(clips)` gives logits of each factor.

    Args:
        size: side of frames in pixels.
        name: default, second or official ('bench judge show').

    Raises:
        MissingDataError: there is none; it holds the command that trains one.
    """
    from seqdis.bench.plan import catalog
    from seqdis.judges.judge import load_judge

    spec = catalog.load_dataset(dataset).describe(source, size)
    return load_judge(spec, None if data_dir is None else Path(data_dir), name)


def evaluate(
    model: Any,
    dataset: DataSet | str,
    *,
    name: str = "",
    source: Literal["real", "synthetic"] = "real",
    size: int = 64,
    seed: int = 0,
    revision: str = "",
    draws: int = 10,
    max_clips: int = 0,
    judge: Judge | None = None,
    device: torch.device | str | None = None,
    data_dir: Folder | None = None,
    out: Folder | None = None,
) -> Record:
    """Scores a model that was trained anywhere under the suite's protocol, and says so in its record.

    Args:
        model: any object with `encode(x)` -> (static (B, Ds), dynamic (B, T, Dd)) for clips x (B, T, C, H, W) in [0, 1] or
            (B, T, F), and `decode(static, dynamic)` -> clips. With both of `sample_static(n, generator)` and
            `sample_dynamic(n, n_frames, generator)` its own priors are drawn from, else the codes of training clips are.
        dataset: an opened one, or a name.
        name: of its row; the model's class by default.
        source, size: of a data set that is named.
        seed: that the model was trained with.
        revision: tells models of one name and seed apart; by default a digest of the weights.
        draws: prior draws a test clip.
        max_clips: test clips examined; 0 is all.
        judge: the data set's own by default.
        device: that of the model's weights by default.
        out: an output folder to write the record and clips to, for `bench table`, `figure` and `publish`.

    Raises:
        UserError: what the model gives has a wrong shape or is not finite; the sentence says what is expected.
    """
    from seqdis.bench.cell import outside

    return outside.evaluate(
        model,
        dataset,
        name=name,
        source=source,
        size=size,
        seed=seed,
        revision=revision,
        draws=draws,
        max_clips=max_clips,
        judge=judge,
        device=device,
        data_dir=data_dir,
        out=out,
    )


def _joined(names: Names) -> str:
    return names if isinstance(names, str) else ",".join(names)


def _names(names: Names) -> tuple[str, ...]:
    return tuple(part for part in _joined(names).split(",") if part)


def _paths(folders: Folders) -> list[Path]:
    return [Path(folders)] if isinstance(folders, str | Path) else [Path(folder) for folder in folders]
