"""Squares: coloured squares that move in one of four directions.

What the checks of data sets are tried on: each fault is put into this text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError
from seqdis.datasets.base import AugmentPolicy, Factor, Source, Spec, Split
from seqdis.datasets.cache import Cache, Progress, preparing, writing_cache
from seqdis.datasets.video.stored import StoredDataSet, save_labels

PARTS = {"train": (0, 40), "validation": (40, 48), "test": (48, 60)}
DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
REVISION = "squares-1"
N_FRAMES = 8


class Squares(StoredDataSet):
    """Sixty squares, each in a shade and at a place of its own, in all four directions."""

    name = "squares"
    title = "Squares"
    sources = ("synthetic",)

    @classmethod
    def describe(cls, source: Source, size: int, *, cache: Cache | None = None, **options: Any) -> Spec:
        cls.check_source(source)
        return Spec(
            name=cls.name,
            title=cls.title,
            source=source,
            modality="video",
            frame=(3, size, size),
            n_frames=N_FRAMES,
            factors=(
                Factor(name="colour", classes=("red", "green", "blue"), role="static"),
                Factor(name="direction", classes=tuple(DIRECTIONS), role="dynamic"),
            ),
            headline=("fix_dynamic", "direction"),
            split_rule="by square: 40 for training, 8 for validation and 12 for testing",
            revision=REVISION,
            licence="CC0",
            citation="none",
            identity="square",
            augment=AugmentPolicy(colour=True, blur=True),
        )

    @classmethod
    def prepare(
        cls,
        root: Path,
        source: Source,
        size: int,
        *,
        from_dir: Path | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Path:
        folder = cls.folder(root, source, size, **options)
        with preparing(folder, revision=REVISION, progress=progress) as is_missing:
            if is_missing:
                with writing_cache(folder, {"revision": REVISION}) as writer:
                    for name, (first, last) in PARTS.items():
                        square = np.arange(first, last).repeat(len(DIRECTIONS))
                        direction = np.tile(np.arange(len(DIRECTIONS)), last - first)
                        writer.save(f"{name}_x", rendered(square, direction, size))
                        save_labels(writer, name, np.stack([square % 3, direction], 1), square)
        return folder

    def segmented(self) -> Split:
        raise UserError("squares has one clip a sequence, and eight frames cannot be cut.")


def rendered(square: NDArray[np.int64], direction: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """Clips (N, T, 3, size, size) of squares (N,) and directions (N,)."""
    clips = np.zeros((len(square), N_FRAMES, 3, size, size), np.uint8)
    steps, side = np.array(list(DIRECTIONS.values())), size // 4
    for i, (number, way) in enumerate(zip(square, direction, strict=True)):
        start = np.random.default_rng(number).integers(N_FRAMES, size - side - N_FRAMES, 2, endpoint=True)
        for t in range(N_FRAMES):
            y, x = start + t * steps[way]
            clips[i, t, number % 3, y : y + side, x : x + side] = 128 + 2 * number
    return clips


DATASETS = {"squares": Squares}
