"""MUG: 52 people make the six basic expressions, in colour.

Real: the licensed database given as a folder (`video/mug_files`); videos with fewer than 30 frames are left out, every
second frame is kept, one face box a video, 64 x 64, and the video is cut into consecutive windows of 15 frames over
its middle. Synthetic: drawn by `synthetic/mug`. Split by video, so that no two clips of one video straddle a
split: of each expression's videos a quarter tests, and a tenth of the rest validates. Option split="subject" keeps
people apart instead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.seeds import derive
from seqdis.datasets import folders
from seqdis.datasets.base import SPLITS, AugmentPolicy, DataSet, Factor, Option, Signal, Source, Spec, Split, of_several
from seqdis.datasets.cache import Cache, CacheWriter, Progress, is_good, open_cache, preparing, writing_cache
from seqdis.datasets.synthetic import mug as drawn
from seqdis.datasets.video import mug_files
from seqdis.datasets.video.frames import halve
from seqdis.datasets.video.stored import StoredDataSet, save_labels

REVISIONS: dict[Source, str] = {"real": "mug-1", "synthetic": drawn.REVISION}
SPLIT_RULES = {
    "video": "by video, stratified by expression: a quarter tests, a tenth of the rest validates",
    "subject": "by subject: a quarter of the people test, a tenth of the rest validate",
}
SIGNAL = Signal(
    dim=3,
    kind="regression",
    how="opening of both eyes and of the lips: from 68 landmarks where the database has them, else "
    "measured in the pixels",
)
Pixels = NDArray[np.uint8]


@dataclasses.dataclass
class Videos:
    """What is known of each video: subject and expression labels (V,), how many clips it has, and their landmark
    distances (n_clips, 15, 3) or None."""

    subject: NDArray[np.int64]
    expression: NDArray[np.int64]
    n_clips: NDArray[np.int64]
    landmarks: list[NDArray[np.float32] | None]


class Mug(StoredDataSet):
    """The MUG facial expression data set; see the module."""

    name: ClassVar[str] = "mug"
    title: ClassVar[str] = "MUG"
    may_show: ClassVar[bool] = False
    needs_from: ClassVar[bool] = True
    options: ClassVar[dict[str, Option]] = {
        "split": Option(default="video", choices=tuple(SPLIT_RULES), stored=True, text="what the splits keep apart")
    }

    @classmethod
    def describe(
        cls, source: Source, size: int, *, cache: Cache | None = None, split: str = "video", **options: Any
    ) -> Spec:
        real = source == "real"
        read = [] if cache is None else cache.meta.get("subjects", [])  # of drawn people nothing is noted
        subjects = read or [f"{number + 1:03d}" for number in range(drawn.N_IDENTITIES)]
        return Spec(
            name=cls.name,
            title=cls.title,
            source=source,
            modality="video",
            frame=(3, size, size),
            n_frames=mug_files.WINDOW,
            factors=(
                Factor(name="subject", role="static", classes=tuple(subjects)),
                Factor(name="expression", role="dynamic", classes=mug_files.EXPRESSIONS),
            ),
            headline=("fix_dynamic", "expression"),
            split_rule=SPLIT_RULES[split],
            revision=REVISIONS[source] if split == "video" else f"{REVISIONS[source]}-{split}",
            licence="MUG licence: for research only, frames may not be passed on"
            if real
            else "MIT (drawn by this suite)",
            citation="Aifanti, Papachristou and Delopoulos, The MUG Facial Expression Database, WIAMIS 2010",
            homepage="https://mug.ee.auth.gr/fed/",
            identity=split,
            augment=AugmentPolicy(crop=True, colour=True, blur=True),
            signal=SIGNAL,
            may_show=cls.may_show or not real,
            is_loosely_framed=True,
        )

    @classmethod
    def tags(cls, source: Source, *, split: str = "video", **options: Any) -> tuple[str, ...]:
        if options:
            raise UserError(f"mug has no option {', '.join(sorted(options))}; it has split (video or subject).")
        if split not in SPLIT_RULES:
            raise UserError(
                f"mug is split by {' or by '.join(SPLIT_RULES)}, not by {split!r}: choose --split video or "
                "--split subject."
            )
        return () if split == "video" else (split,)

    @classmethod
    def prepare(
        cls,
        root: Path,
        source: Source,
        size: int,
        *,
        from_dir: Path | None = None,
        progress: Progress | None = None,
        split: str = "video",
        **options: Any,
    ) -> Path:
        chosen = options if split == "video" else {"split": split, **options}
        folder = cls.folder(root, source, size, **chosen)
        revision = cls.describe(source, size, split=split).revision
        with preparing(folder, revision=revision, progress=progress) as needed:
            if not needed:
                return folder
            native = cls.folder(root, source, mug_files.SIZE, **chosen)
            meta = {"revision": revision, "name": cls.name, "source": source, "size": size, "split": split}
            if source == "synthetic":
                with writing_cache(folder, meta) as writer:
                    _draw(writer, split, size, progress)
            elif size != mug_files.SIZE and from_dir is None and is_good(native, revision):
                _halve_cache(native, folder, meta, progress)
            elif from_dir is None:
                command = cls.command(root, source, size, **chosen)
                raise UserError(
                    f"the MUG database is licensed and must be given: {command} (or use the drawn stand-in "
                    "with --source synthetic)."
                )
            else:
                with folders.opened(from_dir, root) as given, writing_cache(folder, meta) as writer:
                    assert given is not None
                    _read(writer, given, split, size, progress)
        return folder

    def segmented(self) -> Split:
        """The training clips of the videos that have at least two."""
        return of_several(
            self.train, "no MUG video here is long enough for two windows of 15 frames, so none can be cut."
        )


def assign(videos: Videos, rule: str) -> NDArray[np.int64]:
    """The split (0 training, 1 validation, 2 test) of each video.

    Raises:
        UserError: too few videos or subjects.
    """
    groups = videos.subject if rule == "subject" else np.arange(len(videos.subject))
    strata = np.zeros_like(videos.expression) if rule == "subject" else videos.expression
    splits = np.zeros(len(groups), np.int64)
    for stratum in np.unique(strata):
        members = np.unique(groups[strata == stratum])
        if len(members) < 4:
            what = "subjects" if rule == "subject" else f"videos of {mug_files.EXPRESSIONS[stratum]}"
            raise UserError(
                f"only {len(members)} usable {what} in this MUG folder: at least 4 are needed to train, "
                "validate and test."
            )
        shuffled = np.random.default_rng(derive("mug", rule, int(stratum))).permutation(members)
        n_test = max(1, round(len(members) / 4))
        n_validation = max(1, round((len(members) - n_test) / 10))
        splits[np.isin(groups, shuffled[:n_test])] = 2
        splits[np.isin(groups, shuffled[n_test : n_test + n_validation])] = 1
    return splits


def _save(
    writer: CacheWriter,
    videos: Videos,
    rule: str,
    clips_of: Callable[[NDArray[np.int64]], Pixels],
    size: int,
    progress: Progress | None,
) -> None:
    """Stores the clips of every video in its split; `clips_of(numbers)` gives those of some videos (n, 15, 3, S, S)."""
    splits = assign(videos, rule)
    done, total = 0, int(videos.n_clips.sum())
    for code, name in enumerate(SPLITS):
        numbers = np.flatnonzero(splits == code)
        each = np.repeat(numbers, videos.n_clips[numbers])
        stream = writer.stream(f"{name}_x", (len(each), mug_files.WINDOW, 3, size, size), np.uint8)
        labels = np.column_stack([videos.subject[each], videos.expression[each]])
        save_labels(
            writer,
            name,
            labels,
            videos.subject[each] if rule == "subject" else each,
            np.unique(each, return_inverse=True)[1],
        )
        if any(distances is not None for distances in videos.landmarks):
            missing = [np.full((n, mug_files.WINDOW, 3), np.nan, np.float32) for n in videos.n_clips]
            writer.save(
                f"{name}_landmarks",
                np.concatenate([missing[n] if (given := videos.landmarks[n]) is None else given for n in numbers]),
            )
        start = 0
        for part in range(0, len(numbers), 16):
            block = clips_of(numbers[part : part + 16])
            stream.write(start, block)
            start += len(block)
            done += len(block)
            if progress is not None:
                progress(done, total, f"MUG {size}x{size}: writing clips")


def _draw(writer: CacheWriter, rule: str, size: int, progress: Progress | None) -> None:
    subject, expression, take = (
        grid.ravel()
        for grid in np.meshgrid(
            np.arange(drawn.N_IDENTITIES), np.arange(drawn.N_EXPRESSIONS), np.arange(drawn.TAKES), indexing="ij"
        )
    )
    videos = Videos(subject, expression, np.full(len(subject), drawn.SEGMENTS), [None] * len(subject))

    def clips_of(numbers: NDArray[np.int64]) -> Pixels:
        clips = drawn.draw_videos(subject[numbers], expression[numbers], take[numbers], size)
        return clips.reshape(-1, *clips.shape[2:])

    writer.meta["videos"] = len(subject)
    _save(writer, videos, rule, clips_of, size, progress)


def _read(writer: CacheWriter, root: Path, rule: str, size: int, progress: Progress | None) -> None:
    """Reads the database once into a scratch file, then writes the splits from it: how many clips there are is only
    known at the end, and no more than a few videos are in memory at a time."""
    report = mug_files.Report()
    found = mug_files.find_videos(root, report)
    scratch = writer.folder / "scratch"
    kept: list[mug_files.Video] = []
    n_windows: list[int] = []
    landmarks: list[NDArray[np.float32] | None] = []
    seen: dict[str, Path] = {}
    with open(scratch, "wb") as out:
        for done, (video, clips) in enumerate(mug_files.read_videos(found)):
            if progress is not None:
                progress(done, len(found), f"MUG: reading videos of subject {video.subject}")
            report.merge(clips.report)
            if clips.windows is None:
                continue
            if clips.fingerprint in seen:
                report.skip(
                    "videos that repeat another",
                    f"{video.folder} was left out: the same frames as {seen[clips.fingerprint]}.",
                )
                continue
            seen[clips.fingerprint] = video.folder
            out.write(clips.windows.data)
            kept.append(video)
            n_windows.append(len(clips.windows))
            landmarks.append(clips.landmarks)
    if not kept:
        raise UserError(f"{root} holds no usable MUG video: {report.notes[0] if report.notes else 'no frames.'}")
    n_clips = np.array(n_windows)
    subjects = sorted({video.subject for video in kept})
    videos = Videos(
        np.array([subjects.index(video.subject) for video in kept]),
        np.array([video.expression for video in kept]),
        n_clips,
        landmarks,
    )
    pixels = np.memmap(
        scratch, np.uint8, "r", shape=(int(n_clips.sum()), mug_files.WINDOW, 3, mug_files.SIZE, mug_files.SIZE)
    )
    first = np.cumsum(n_clips) - n_clips

    def clips_of(numbers: NDArray[np.int64]) -> Pixels:
        block = np.concatenate([pixels[first[n] : first[n] + n_clips[n]] for n in numbers])
        return block if size == mug_files.SIZE else halve(block)

    writer.meta.update(
        subjects=subjects, videos=len(kept), skipped=dict(sorted(report.counts.items())), notes=report.notes
    )
    _save(writer, videos, rule, clips_of, size, progress)
    scratch.unlink()


def _halve_cache(native: Path, folder: Path, meta: dict[str, Any], progress: Progress | None) -> None:
    cache = open_cache(native, revision=meta["revision"], title="MUG", command="bench data prepare mug --from DIR")
    with writing_cache(
        folder, {**{key: value for key, value in cache.meta.items() if key not in ("arrays", "digest")}, **meta}
    ) as writer:
        for name in cache.arrays:
            array = cache.array(name)
            if not name.endswith("_x"):
                writer.save(name, array)
                continue
            stream = writer.stream(name, (*array.shape[:3], 32, 32), np.uint8)
            for start in range(0, len(array), 64):
                stream.write(start, halve(array[start : start + 64]))
                if progress is not None:
                    progress(start, len(array), "MUG 32x32: halving frames")


DATASETS: dict[str, type[DataSet]] = {"mug": Mug}
