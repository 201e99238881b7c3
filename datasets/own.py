"""A folder of your own clips as a data set, without a package: `bench run --datasets path/to/folder`.

    clips/labels.csv        clip,person,action:dynamic[,split][,identity]
    clips/...               a video, gif, array or folder of numbered frames for each line

`clip` is a path within the folder. Every other column is a factor, static unless its name ends in `:dynamic`. `split` says
train, validation or test; without it a tenth validates and a fifth tests, chosen by a seed, and no `identity` (else no clip)
straddles two of them. Of each clip `frames` frames are taken, evenly spread over it, cut to the middle square and shrunk. A
method is then scored as on any other data: by a judge that is trained on these labels, with a card that says how well it does.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import digest
from seqdis.bench.core.seeds import derive
from seqdis.datasets.base import SPLITS, AugmentPolicy, Factor, Option, Source, Spec
from seqdis.datasets.cache import Cache, Progress, cache_folder, preparing, writing_cache
from seqdis.datasets.folders import walk
from seqdis.datasets.video.clip_files import UnusableClip, is_clip, read_clip
from seqdis.datasets.video.stored import SIZES, StoredDataSet, save_labels

LABELS = "labels.csv"
FRAMES = 16
DYNAMIC = ":dynamic"
RESERVED = ("clip", "split", "identity")
MOST_LABEL_BYTES = 64 << 20
VERSION = 1
"""Of how a folder is read; raise it whenever a pixel or split changes."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """What labels.csv says.

    Attributes:
        clips: paths within the folder, in the file's order.
        factors: with the classes that occur, sorted.
        labels: (N, n_factors).
        split: (N,) 0 training, 1 validation, 2 test.
        identity: (N,) what must not straddle splits.
        rule: how the splits were made, one sentence.
        identity_name: what an identity is.
        revision: of the labels and of the names and sizes of the clips.
    """

    clips: tuple[str, ...]
    factors: tuple[Factor, ...]
    labels: NDArray[np.int64]
    split: NDArray[np.int64]
    identity: NDArray[np.int64]
    rule: str
    identity_name: str
    revision: str


def listing(folder: Path) -> Listing:
    """Reads labels.csv and looks at what it names.

    Raises:
        UserError: it is missing or damaged, names a clip that is not there, or leaves a split without a clip; the sentence says
            what is expected.
    """
    path = folder / LABELS
    try:
        if path.stat().st_size > MOST_LABEL_BYTES:
            raise UserError(f"{path} is larger than {MOST_LABEL_BYTES >> 20} MiB.")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8; save it as CSV in UTF-8.") from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): a folder of clips has a labels.csv with a line for each, such as "
            "clip,person,action:dynamic (docs/data.md#a-folder-of-your-own)."
        ) from None
    return _listing(folder, text)


@functools.lru_cache(maxsize=8)
def _listing(folder: Path, text: str) -> Listing:
    path = folder / LABELS
    try:
        lines = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UserError(f"{path} is no CSV ({error}).") from None
    columns = list(lines[0]) if lines else []
    factors = [name for name in columns if name not in RESERVED]
    if "clip" not in columns or not factors:
        raise UserError(
            f"{path} has the columns {', '.join(map(str, columns)) or 'none'}: it needs clip and one factor at least."
        )
    bad = next((i for i, line in enumerate(lines) if None in line or None in line.values()), None)
    if bad is not None:
        raise UserError(
            f"{path}, line {bad + 2}, has not one value for each of the columns {', '.join(map(str, columns))}."
        )
    clips = tuple(line["clip"].strip() for line in lines)
    twice = next((name for name in clips if clips.count(name) > 1), None) if len(set(clips)) < len(clips) else None
    if twice is not None:
        raise UserError(f"{path} names {twice} twice.")
    sizes = [_size(folder, name) for name in clips]
    found = tuple(_factor(path, name, lines) for name in factors)
    names = [factor.name for factor in found]
    if len(set(names)) < len(names):
        raise UserError(f"{path} names one factor twice ({', '.join(names)}).")
    labels = np.array(
        [[one.classes.index(line[name].strip()) for name, one in zip(factors, found, strict=True)] for line in lines]
    )
    identities = [line.get("identity", line["clip"]).strip() for line in lines]
    identity = np.unique(identities, return_inverse=True)[1].reshape(-1)
    split, rule = _splits(path, lines, identity, "identity" in columns)
    short = [SPLITS[code] for code in range(3) if (split == code).sum() < 2]
    if short:
        raise UserError(
            f"{path} leaves fewer than two clips to {' and '.join(short)}; give more clips, or a column split."
        )
    content = digest(f"{VERSION}\n{text}\n{sizes}".encode())
    return Listing(
        clips,
        found,
        labels,
        split,
        identity,
        rule,
        "identity" if "identity" in columns else "clip",
        f"own-{content[:12]}",
    )


def _size(folder: Path, name: str) -> int:
    clip = folder / name
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"{folder / LABELS} names the clip {name!r}: name each by its path within the folder.")
    if not clip.exists():
        raise UserError(f"{folder / LABELS} names {name}, which is not in {folder}.")
    return sum(path.stat().st_size for path in clip.iterdir()) if clip.is_dir() else clip.stat().st_size


def _factor(path: Path, column: str, lines: list[dict[str, str]]) -> Factor:
    name = column.removesuffix(DYNAMIC).strip()
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,31}", name):
        raise UserError(f"{path} has a column {column!r}: a factor is one word of letters, digits and _.")
    classes = tuple(sorted({line[column].strip() for line in lines}))
    if len(classes) < 2:
        raise UserError(f"{path}: {name} has one class only ({classes[0][:40]}), so nothing can be told by it.")
    return Factor(name=name, role="dynamic" if column.endswith(DYNAMIC) else "static", classes=classes)


def _splits(
    path: Path, lines: list[dict[str, str]], identity: NDArray[np.int64], by_identity: bool
) -> tuple[NDArray[np.int64], str]:
    if "split" in lines[0]:
        names = [line["split"].strip().lower() for line in lines]
        odd = next((name for name in names if name not in SPLITS), None)
        if odd is not None:
            raise UserError(f"{path}: a split is {', '.join(SPLITS)}, not {odd[:40]!r}.")
        split = np.array([SPLITS.index(name) for name in names])
        for one in np.unique(identity) if by_identity else ():
            if len(set(split[identity == one])) > 1:
                raise UserError(f"{path}: {lines[int(np.argmax(identity == one))]['identity']} is in two splits.")
        return split, "as labels.csv says" + (", no identity in two" if by_identity else "")
    order = np.random.default_rng(derive("own", "split")).permutation(identity.max() + 1)
    place = np.argsort(order)[identity] / len(order)
    split = np.where(place < 0.7, 0, np.where(place < 0.8, 1, 2))
    what = "identity" if by_identity else "clip"
    return split, f"by {what}: of each ten, seven train, one validates, two test, chosen by a seed"


class Own(StoredDataSet):
    """A folder of clips; `of` gives the class of one."""

    needs_from: ClassVar[bool] = False
    sources = ("real",)
    source_folder: ClassVar[Path]
    options: ClassVar[dict[str, Option]] = {
        "frames": Option(default=FRAMES, largest=512, stored=True, text="frames of a clip, evenly spread over it")
    }

    @classmethod
    def describe(
        cls, source: Source, size: int, *, cache: Cache | None = None, frames: int = FRAMES, **options: Any
    ) -> Spec:
        found = listing(cls.source_folder)
        dynamic = [factor.name for factor in found.factors if factor.role == "dynamic"]
        headline = ("fix_dynamic", dynamic[0]) if dynamic else ("fix_static", found.factors[0].name)
        return Spec(
            name=cls.name,
            title=cls.title,
            source=source,
            modality="video",
            frame=(3, size, size),
            n_frames=frames or FRAMES,
            factors=found.factors,
            headline=headline,
            split_rule=found.rule,
            revision=f"{found.revision}-{frames or FRAMES}",
            licence="the user's own: unknown to the suite",
            citation="none",
            identity=found.identity_name,
            augment=AugmentPolicy(crop=True, colour=True, blur=True),
            may_show=False,
        )

    @classmethod
    def folder(cls, root: Path, source: Source, size: int = 64, *, frames: int = FRAMES, **options: Any) -> Path:
        cls.check_source(source)
        if size not in SIZES:
            raise UserError(f"{cls.name} comes in frames of {' or '.join(map(str, SIZES))} pixels, not {size}.")
        where = digest(str(cls.source_folder).encode())[:8]  # two folders may have one name
        return cache_folder(root, cls.name, source, size, f"f{frames or FRAMES}", where)

    @classmethod
    def command(cls, root: Path, source: Source, size: int = 64, **options: Any) -> str:
        return (
            super()
            .command(root, source, size, **options)
            .replace(f"prepare {cls.name}", f"prepare {cls.source_folder}", 1)
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
        frames: int = FRAMES,
        **options: Any,
    ) -> Path:
        """See `DataSet.prepare`; raises UserError also where a clip that labels.csv names cannot be read."""
        n_frames = frames or FRAMES
        found, folder = listing(cls.source_folder), cls.folder(root, source, size, frames=n_frames)
        revision = cls.describe(source, size, frames=n_frames).revision
        with preparing(folder, revision=revision, progress=progress) as needed:
            if not needed:
                return folder
            left = _left_out(cls.source_folder, found)
            notes = [f"{name} is a clip that labels.csv does not name" for name in left[:20]]
            meta = {"revision": revision, "name": cls.name, "source": source, "size": size, "notes": notes}
            meta |= {"skipped": {"clips that labels.csv does not name": len(left)}} if left else {}
            with writing_cache(folder, meta, needs_bytes=len(found.clips) * n_frames * 3 * size * size) as writer:
                for code, name in enumerate(SPLITS):
                    numbers = np.flatnonzero(found.split == code)
                    save_labels(writer, name, found.labels[numbers], found.identity[numbers])
                    stream = writer.stream(f"{name}_x", (len(numbers), n_frames, 3, size, size), np.uint8)
                    for place, number in enumerate(numbers):
                        stream.write(place, _read(cls.source_folder / found.clips[number], n_frames, size)[None])
                        if progress is not None:
                            progress(place + 1, len(numbers), f"{cls.title}: reading {name} clips")
        return folder


def of(folder: Path) -> type[Own]:
    """The data set of a folder. Its name is the folder's, with a mark in front where the suite has one of that name.

    Raises:
        UserError: no such folder.
    """
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name a folder of clips with a labels.csv, or 'bench list datasets'.")
    word = re.sub(r"[^A-Za-z0-9]+", "-", folder.name).strip("-").lower()[:40] or "clips"
    return type("Own", (Own,), {"name": f"own-{word}", "title": folder.name[:60], "source_folder": folder})


def _left_out(folder: Path, found: Listing) -> list[str]:
    """Clips in the folder that labels.csv does not name."""
    files, _ = walk(folder)
    named = {folder / name for name in found.clips}
    return sorted(
        str(path.relative_to(folder))
        for path in files
        if path.name != LABELS and is_clip(path) and not ({path, *path.parents} & named)
    )


def _read(path: Path, n_frames: int, size: int) -> NDArray[np.uint8]:
    """A clip as (T, 3, size, size).

    Raises:
        UserError: it cannot be read, or is shorter than two frames.
    """
    import cv2

    try:
        frames = read_clip(path)
    except UnusableClip as error:
        raise UserError(f"{path} cannot be used: {error}. Mend it, or take its line out of {LABELS}.") from None
    if len(frames) < 2:
        raise UserError(f"{path} has one frame only. Take its line out of {LABELS}.")
    chosen = frames[np.linspace(0, len(frames) - 1, n_frames).round().astype(int)]
    side = min(chosen.shape[1:3])
    top, left = ((length - side) // 2 for length in chosen.shape[1:3])
    squares = chosen[:, top : top + side, left : left + side]
    way = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    small = [cv2.resize(np.ascontiguousarray(frame), (size, size), interpolation=way) for frame in squares]
    return np.ascontiguousarray(np.stack(small).transpose(0, 3, 1, 2), dtype=np.uint8)
