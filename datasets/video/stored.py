"""Data sets whose clips are stored in a cache folder: opening, verifying, segments and signals in one place.

A cache holds, for each split, `<split>_x` (N, T, C, H, W) uint8, `<split>_labels` (N, n_factors) int64 in the order of
the spec's factors, and `<split>_identity` and `<split>_sequence` (N,) int64.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError
from seqdis.datasets.base import SPLITS, Source, Spec, Split
from seqdis.datasets.cache import Cache, CacheWriter, cache_folder, prepare_command
from seqdis.datasets.prepared import PreparedDataSet
from seqdis.datasets.video.signals import load_signals

SIZES = (64, 32)


class StoredDataSet(PreparedDataSet):
    """A data set with a cache of stored clips. Subclasses give the spec of a source and size, and `prepare`."""

    needs_from: ClassVar[bool] = False
    """Whether the real data must be given by the user (licensed), so that the command needs --from DIR."""

    def __init__(self, cache: Cache, spec: Spec) -> None:
        super().__init__(cache, spec)
        self.train, self.validation, self.test = (load_split(cache, name, spec) for name in SPLITS)

    @classmethod
    @abstractmethod
    def describe(cls, source: Source, size: int, *, cache: Cache | None = None, **options: Any) -> Spec:
        """The spec of one source and size; `cache` is the opened one, for what only the files tell."""

    @classmethod
    def tags(cls, source: Source, **options: Any) -> tuple[str, ...]:
        """Parts of the folder's name beyond source and size, for options that change the content.

        Raises:
            UserError: an option that the data set does not have.
        """
        if options:
            raise UserError(f"{cls.name} has no options; {', '.join(sorted(options))} was given.")
        return ()

    @classmethod
    def folder(cls, root: Path, source: Source, size: int = 64, **options: Any) -> Path:
        cls.check_source(source)
        if size not in SIZES:
            raise UserError(
                f"{cls.name} comes in frames of {' or '.join(map(str, SIZES))} pixels, not {size}: "
                "choose --size 64 or --size 32."
            )
        return cache_folder(root, cls.name, source, size, *cls.tags(source, **options))

    @classmethod
    def command(cls, root: Path, source: Source, size: int = 64, **options: Any) -> str:
        words = ["--from DIR"] if cls.needs_from and source == "real" else []
        words += [f"--{key} {value}" for key, value in sorted(options.items())]
        return prepare_command(cls.name, root, source, size, *words)

    @classmethod
    def label(cls, source: Source, size: int) -> str:
        return f"{cls.title} ({source}, {size}x{size})"

    @classmethod
    def open(cls, root: Path, source: Source, size: int = 64, **options: Any) -> StoredDataSet:
        """Opens the prepared cache.

        Raises:
            MissingDataError: it is not there; the error holds the command that makes it.
        """
        cache = cls.open_prepared(root, source, size, **options)
        return cls(cache, cls.describe(source, size, cache=cache, **options))

    def load_signal(self) -> None:
        """Measures the signal of every split once, caches it beside the data, and fills `split.signal`."""
        if self.spec.signal is None:
            return super().load_signal()
        for split, signal in load_signals(self.cache, self.spec).items():
            self.splits[split].set_signal(signal)
        return None


def load_split(cache: Cache, name: str, spec: Spec) -> Split:
    """The stored split `name`, memory-mapped."""
    labels = cache.tensor(f"{name}_labels")
    named = {factor.name: labels[:, i].clone() for i, factor in enumerate(spec.factors)}
    return Split(
        cache.tensor(f"{name}_x"), named, cache.tensor(f"{name}_identity"), sequence=cache.tensor(f"{name}_sequence")
    )


def save_labels(
    writer: CacheWriter,
    name: str,
    labels: NDArray[np.int64],
    identity: NDArray[np.int64],
    sequence: NDArray[np.int64] | None = None,
) -> None:
    """Stores what belongs to the clips of a split beside its `<name>_x`: labels (N, n_factors) and the rest (N,)."""
    writer.save(f"{name}_labels", np.ascontiguousarray(labels, dtype=np.int64))
    writer.save(f"{name}_identity", np.ascontiguousarray(identity, dtype=np.int64))
    writer.save(
        f"{name}_sequence",
        np.arange(len(labels)) if sequence is None else np.ascontiguousarray(sequence, dtype=np.int64),
    )


def windows(split: Split, length: int) -> Split:
    """Each clip of `split` cut into consecutive windows of `length` frames: the clip is the sequence of its windows."""
    n, n_frames = split.x.shape[:2]
    if n_frames % length or n_frames == length:
        raise ValueError(f"clips of {n_frames} frames cannot be cut into several windows of {length}")
    parts = n_frames // length

    def repeat(values: torch.Tensor) -> torch.Tensor:
        return values.repeat_interleave(parts)

    signal = split.signal
    return Split(
        split.x.reshape(n * parts, length, *split.x.shape[2:]),
        {name: repeat(label) for name, label in split.labels.items()},
        repeat(split.identity),
        sequence=repeat(torch.arange(n, device=split.x.device)),
        signal=None if signal is None else signal.reshape(n * parts, length, signal.shape[-1]),
    )
