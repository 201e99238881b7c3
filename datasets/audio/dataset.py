"""What the data sets of speech share: one cache of features, speakers as the static factor, segments as clips.

The static factor is the speaker, scored by verification on speakers never heard in training; the dynamic one is what
is said, labelled frame by frame with 39 phones where there are transcripts. Features are 80 log-mel bands (or 200
log-spectrum bins), 25/10 ms, normalised band by band with the training speakers' mean and standard deviation.

Two copies of every training utterance in another voice (`wsola`) are kept beside it: the motion views of contrastive
methods. `corpus` prepares, `segments` serves.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from seqdis.bench.core.errors import UserError
from seqdis.datasets import folders
from seqdis.datasets.audio.corpus import Corpus, Facts, read_lengths
from seqdis.datasets.audio.features import FeatureName, Features
from seqdis.datasets.audio.layouts import Found
from seqdis.datasets.audio.phones import PHONES
from seqdis.datasets.audio.segments import DB_PER_UNIT, LENGTH, Frames, SegmentSplit
from seqdis.datasets.base import SPLITS, AugmentPolicy, Factor, Option, Signal, Source, Spec, Split, of_several
from seqdis.datasets.cache import Cache, Progress, cache_folder, prepare_command, preparing, writing_cache
from seqdis.datasets.prepared import PreparedDataSet

WORDS = tuple("0123456789")


class SpeechDataSet(PreparedDataSet):
    """A corpus of utterances at one sampling rate. Subclasses find its files (`scan`) and say what it is."""

    sources: ClassVar[tuple[Source, ...]] = ("real",)
    revision: ClassVar[str] = "2"
    rate: ClassVar[int] = 0
    """In Hz; 0: whatever the first file has."""
    licence: ClassVar[str]
    citation: ClassVar[str]
    homepage: ClassVar[str] = ""
    attribution: ClassVar[str] = ""
    may_show: ClassVar[bool] = False
    options: ClassVar[dict[str, Option]] = {
        "features": Option(
            default="mel80",
            choices=("mel80", "spec200"),
            stored=True,
            text="80 log-mel bands, or 200 bins of the log spectrum (16 kHz audio)",
        ),
        "augment": Option(
            default="wsola",
            choices=("wsola", "vtlp"),
            text="motion views: prepared copies in another voice, or a warp of the features",
        ),
    }

    train: SegmentSplit
    validation: SegmentSplit
    test: SegmentSplit

    def __init__(self, cache: Cache, spec: Spec, augment: str) -> None:
        super().__init__(cache, spec)
        self.train, self.validation, self.test = (_split(cache, name, augment) for name in SPLITS)

    @classmethod
    def scan(cls, from_dir: Path, **options: Any) -> Found:
        """The corpus' utterances and splits.

        Raises:
            UserError: files are missing or not where they should be; the message names them.
        """
        raise NotImplementedError

    @classmethod
    def corpus(
        cls, source: Source, files: Path | None, features: Features, progress: Progress | None, **options: Any
    ) -> Corpus[Any]:
        """What is to be prepared."""
        if files is None:
            raise UserError(f"{cls.title} is made from files that you have: bench data prepare {cls.name} --from DIR.")
        return read_lengths(cls.scan(files, **options), features, cls.rate, progress)

    @classmethod
    def tags(cls, *, features: FeatureName = "mel80", **options: Any) -> tuple[str, ...]:
        """Parts of the folder's name, for options that change what is stored."""
        return () if features == "mel80" else (features,)

    @classmethod
    def folder(cls, root: Path, source: Source, size: int = 0, **options: Any) -> Path:
        """The cache folder; audio has no frame size."""
        cls.check_source(source)
        return cache_folder(root, cls.name, source, 0, *cls.tags(**options))

    @classmethod
    def command(cls, root: Path, source: Source, size: int = 0, **options: Any) -> str:
        words = ["--from DIR"] if source == "real" else []
        words += [
            f"--set data.{name}={json.dumps(value)}".replace('"', "")
            for name, value in sorted(options.items())
            if name in cls.options and cls.options[name].stored and value != cls.options[name].default
        ]
        return prepare_command(cls.name, root, source, 0, *words)

    @classmethod
    def current_revision(cls, source: Source, size: int = 0, **options: Any) -> str:
        return cls.revision

    @classmethod
    def describe(
        cls,
        source: Source,
        size: int = 0,
        *,
        facts: Facts | None = None,
        augment: str = "wsola",
        features: FeatureName = "mel80",
        **options: Any,
    ) -> Spec:
        """The spec. Without the `facts` of a cache the speakers' names and what is labelled are not known yet."""
        layout = Features(features, cls.rate or 16_000) if facts is None else Features(facts.features, facts.rate)
        factors = [Factor(name="speaker", classes=() if facts is None else tuple(facts.speakers), role="static")]
        if facts is not None and facts.words:
            factors.append(Factor(name="digit", classes=WORDS, role="dynamic"))
        phones = Factor(name="phone", classes=PHONES, role="dynamic")
        is_real = source == "real"
        return Spec(
            name=cls.name,
            title=cls.title,
            source=source,
            modality="audio",
            frame=(layout.size,),
            n_frames=LENGTH,
            factors=tuple(factors),
            frame_factors=(phones,) if facts is not None and facts.phones else (),
            headline=("verification", "speaker"),
            identity="speaker",
            split_rule="by speaker" if facts is None else facts.split_rule,
            revision=cls.revision,
            licence=cls.licence if is_real else "MIT, as this suite",
            citation=cls.citation if is_real else "generated by this suite",
            homepage=cls.homepage if is_real else "",
            attribution=cls.attribution if is_real else "",
            augment=AugmentPolicy(audio=augment, db_per_unit=DB_PER_UNIT),
            may_show=cls.may_show or not is_real,
            signal=Signal(
                dim=1,
                kind="multilabel",
                how="loud or not: log energy of the frame above the middle of its utterance's 5-95 % range",
            ),
        )

    @classmethod
    def prepare(
        cls,
        root: Path,
        source: Source,
        size: int = 0,
        *,
        from_dir: Path | None = None,
        progress: Progress | None = None,
        features: FeatureName = "mel80",
        **options: Any,
    ) -> Path:
        """Builds the cache of features, labels and shifted voices.

        Args:
            size: not used.
            from_dir: the corpus' folder, or an archive of it; needed for real data.
            features: `mel80`, or `spec200` (the log spectrum of 16 kHz audio).

        Raises:
            UserError: files are missing, damaged, empty or of another sampling rate, speakers are in two parts, or
                transcripts are wrong; the message names the file.
        """
        folder = cls.folder(root, source, size, features=features, **options)
        with preparing(folder, revision=cls.revision, progress=progress) as is_needed:
            if is_needed:
                with folders.opened(from_dir, root) as files:
                    layout = Features(features, cls.rate or 16_000)
                    corpus = cls.corpus(source, files, layout, progress, **options)
                    meta = {"revision": cls.revision, "name": cls.name, **dataclasses.asdict(corpus.facts())}
                    with writing_cache(folder, meta, needs_bytes=corpus.n_bytes) as writer:
                        corpus.write(writer, progress)
        return folder

    @classmethod
    def open(
        cls, root: Path, source: Source, size: int = 0, *, augment: str = "wsola", **options: Any
    ) -> SpeechDataSet:
        """Opens the prepared cache.

        Args:
            augment: motion views: `wsola`, the cached copies in another voice, or `vtlp`, a warp of the features.

        Raises:
            MissingDataError: it is not there; the error holds the command that makes it.
        """
        if augment not in ("wsola", "vtlp"):
            raise UserError(f"unknown voice shift {augment!r}; it is wsola or vtlp.")
        cache = cls.open_prepared(root, source, size, **options)
        return cls(cache, cls.describe(source, size, facts=Facts.read(cache.meta), augment=augment), augment)

    def load_signal(self) -> None:
        """Nothing to measure: loudness is prepared with the features."""

    def segmented(self) -> Split:
        """The training split without utterances that give one segment only.

        Raises:
            UserError: there are no others.
        """
        return of_several(
            self.train,
            f"{self.name}: every training utterance has one segment of {LENGTH} frames; it takes 28 frames to make two.",
        )


def _split(cache: Cache, name: str, augment: str) -> SegmentSplit:
    def optional(key: str) -> Tensor | None:
        return cache.tensor(key) if key in cache.arrays else None

    shifted = cache.tensor("train_shifted") if name == "train" and augment == "wsola" else None
    frames = Frames(
        x=cache.tensor(f"{name}_frames"),
        lengths=cache.tensor(f"{name}_lengths").clone(),
        speaker=cache.tensor(f"{name}_speaker").clone(),
        loud=cache.tensor(f"{name}_loud"),
        mean=cache.tensor("mean").clone(),
        std=cache.tensor("std").clone(),
        phone=optional(f"{name}_phone"),
        word=optional(f"{name}_word"),
        shifted=None if shifted is None else shifted.unflatten(0, (int(cache.meta["copies"]), -1)),
    )
    return SegmentSplit(frames, is_random=name == "train")
