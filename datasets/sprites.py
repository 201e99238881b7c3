"""Sprites: 1296 pixel characters (six skins, pants, tops, hairs) that walk, cast a spell or slash in three directions.

Real: composed from the Liberated Pixel Cup sheets (`video/lpc`), 9 clips a character. Synthetic: drawn by
`synthetic/sprites`, 3 of the 9 motions a character. Both split by character as Li and Mandt (2018) do: one
permutation of the ids by NumPy's legacy generator seeded with 423, the first 1000 for training, the last 296 for
testing; of the 1000, positions 900 to 999 of the permutation are held out for validation. Clips lie character by
character in the order of the permutation, motions in label order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import digest
from seqdis.datasets import folders
from seqdis.datasets.base import SPLITS, AugmentPolicy, DataSet, Factor, Signal, Source, Spec, Split
from seqdis.datasets.cache import Cache, Progress, is_good, open_cache, preparing, writing_cache
from seqdis.datasets.synthetic import sprites as drawn
from seqdis.datasets.video import lpc
from seqdis.datasets.video.frames import halve
from seqdis.datasets.video.stored import StoredDataSet, save_labels, windows

ATTRIBUTES = ("skin", "pants", "tops", "hair")
MOTIONS = tuple(
    f"{action} {direction}" for action in ("walk", "spell", "slash") for direction in ("front", "left", "right")
)
N_FRAMES = 8
SEGMENT_FRAMES = 4
REVISIONS: dict[Source, str] = {"real": "sprites-lpc-1", "synthetic": drawn.REVISION}
SIGNAL = Signal(
    dim=9,
    kind="multilabel",
    how="the 3 most moving cells of a 3x3 grid by dense optical flow (Farneback) between frames",
)
Blocks = Iterator[tuple[str, int, NDArray[np.uint8]]]
"""Split, first row and clips (n, T, 3, H, W) of pieces of the cache."""
Rows = dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]
"""For each split, the character (N,) and the motion (N,) of each clip."""


class Sprites(StoredDataSet):
    """The Sprites data set; see the module."""

    name: ClassVar[str] = "sprites"
    title: ClassVar[str] = "Sprites"
    attribution: ClassVar[str] = (
        "Sheets by the Liberated Pixel Cup artists (lpc.opengameart.org) and "
        "Universal-LPC-spritesheet (jrconway3), collected by YingzhenLi/Sprites; CC BY-SA 3.0 and "
        "GPL 3.0; frames composed from them are under the same terms."
    )

    @classmethod
    def describe(cls, source: Source, size: int, *, cache: Cache | None = None, **options: Any) -> Spec:
        real = source == "real"
        return Spec(
            name=cls.name,
            title=cls.title,
            source=source,
            modality="video",
            frame=(3, size, size),
            n_frames=N_FRAMES,
            factors=(
                *(
                    Factor(name=name, role="static", classes=tuple(f"{name} {value}" for value in range(6)))
                    for name in ATTRIBUTES
                ),
                Factor(name="motion", role="dynamic", classes=MOTIONS),
            ),
            headline=("fix_dynamic", "motion"),
            split_rule=(
                "by character: 900 training, 100 validation and 296 test characters (NumPy legacy seed 423)"
                if source == "real"
                else "by character: 900 for training with three motions each, 33 for "
                "validation and 98 for testing with all nine"
            ),
            revision=REVISIONS[source],
            licence="CC BY-SA 3.0 and GPL 3.0 (Liberated Pixel Cup)" if real else "MIT (drawn by this suite)",
            citation="Li and Mandt, Disentangled Sequential Autoencoder, ICML 2018",
            homepage="https://github.com/YingzhenLi/Sprites",
            identity="character",
            augment=AugmentPolicy(crop=True, colour=True, blur=True),
            signal=SIGNAL,
            segment_frames=SEGMENT_FRAMES,
            attribution=cls.attribution if real else "",
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
        revision = REVISIONS[source]
        with preparing(folder, revision=revision, progress=progress) as needed:
            if not needed:
                return folder
            rows = plan(source)
            shape = (N_FRAMES, 3, size, size)
            n_clips = sum(len(characters) for characters, _ in rows.values())
            meta = {"revision": revision, "name": cls.name, "source": source, "size": size}
            with (
                folders.opened(from_dir, root) as files,
                writing_cache(folder, meta, needs_bytes=n_clips * int(np.prod(shape))) as writer,
            ):
                streams = {}
                for split, (characters, motions) in rows.items():
                    streams[split] = writer.stream(f"{split}_x", (len(characters), *shape), np.uint8)
                    save_labels(writer, split, np.column_stack([attributes(characters), motions]), characters)
                done = 0
                for split, start, block in cls._blocks(root, source, size, rows, files):
                    streams[split].write(start, block)
                    done += len(block)
                    if progress is not None:
                        progress(done, n_clips, f"{cls.title} {size}x{size}: composing clips")
        return folder

    @classmethod
    def _blocks(cls, root: Path, source: Source, size: int, rows: Rows, files: Path | None) -> Blocks:
        if source == "synthetic":
            return _drawn_blocks(rows, size)
        native = cls.folder(root, source, lpc.CELL)
        if size != lpc.CELL and files is None and is_good(native, REVISIONS[source]):
            return _halved_blocks(native)
        sheets = lpc.read_sheets(
            lpc.find_sheets(files) if files is not None else lpc.download_sheets(root / "downloads" / "sprites")
        )
        return _composed_blocks(sheets, size)

    @classmethod
    def verify(
        cls, root: Path, source: Source, size: int = 64, *, progress: Progress | None = None, **options: Any
    ) -> dict[str, str]:
        checked = super().verify(root, source, size, progress=progress, **options)
        if source == "real" and size == lpc.CELL:
            found = published_digest(cls.open(root, source, size))
            if found != lpc.ALL_DIGEST:
                raise UserError(
                    f"{cls.folder(root, source, size)} does not hold the published clips; remove it and "
                    f"run: {cls.command(root, source, size)}"
                )
            checked["all characters, as published"] = found
        return checked

    def segmented(self) -> Split:
        """Each clip of 8 frames as a sequence of two windows of 4."""
        return windows(self.train, SEGMENT_FRAMES)


def character_order() -> NDArray[np.int64]:
    """The published permutation of the ids: 1000 for training (the last 100 of them validate), then 296 to test."""
    return np.random.RandomState(423).permutation(lpc.N_CHARACTERS).astype(np.int64)


def attributes(characters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels (N, 4) of skin, pants, tops and hair: id = 216 skin + 36 pants + 6 tops + hair."""
    return np.stack([characters // 216, characters // 36 % 6, characters // 6 % 6, characters % 6], axis=1)


def plan(source: Source) -> Rows:
    """What each clip of each split shows."""
    order = character_order()
    rows = {}
    for split, characters in zip(SPLITS, (order[:900], order[900:1000], order[1000:]), strict=True):
        if source == "synthetic" and split != "train":
            characters = characters[: len(characters) // 3]  # each with all nine motions, in the clips of a third
        motions = (
            drawn.assign_motions(len(characters))
            if source == "synthetic" and split == "train"
            else np.tile(np.arange(9), (len(characters), 1))
        )
        rows[split] = (characters.repeat(motions.shape[1]), motions.reshape(-1))
    return rows


def _composed_blocks(sheets: dict[str, bytes], size: int) -> Blocks:
    position = np.argsort(character_order())
    for character, clips in lpc.characters(sheets):
        split, start = _place(int(position[character]))
        yield split, start, clips if size == lpc.CELL else halve(clips)


def _place(position: int) -> tuple[str, int]:
    """Split and first clip row of the character at `position` of the permutation (real data: 9 clips each)."""
    first = {"train": 0, "validation": 900, "test": 1000}
    split = "train" if position < 900 else "validation" if position < 1000 else "test"
    return split, 9 * (position - first[split])


def _halved_blocks(native: Path) -> Blocks:
    cache = open_cache(native, revision=REVISIONS["real"], title="Sprites", command="bench data prepare sprites")
    for split in SPLITS:
        clips = cache.array(f"{split}_x")
        for start in range(0, len(clips), 90):
            yield split, start, halve(clips[start : start + 90])


def _drawn_blocks(rows: Rows, size: int) -> Blocks:
    for split, (characters, motions) in rows.items():
        for start in range(0, len(characters), 64):
            part = slice(start, start + 64)
            seeds = [
                digest(f"{drawn.REVISION} {character} {motion}")
                for character, motion in zip(characters[part], motions[part], strict=True)
            ]
            clips = drawn.draw(attributes(characters[part]), motions[part], np.array([int(s[:8], 16) for s in seeds]))
            yield split, start, clips if size == 64 else halve(clips)


def published_digest(dataset: DataSet) -> str:
    """SHA-256 of the real 64x64 clips in the published layout: ids 0..1295, each (9, 8, 64, 64, 3)."""
    sha = hashlib.sha256()
    for position in np.argsort(character_order()):
        split, start = _place(int(position))
        sha.update(dataset.splits[split].x[start : start + 9].permute(0, 1, 3, 4, 2).contiguous().numpy().data)
    return sha.hexdigest()


DATASETS: dict[str, type[DataSet]] = {"sprites": Sprites}
