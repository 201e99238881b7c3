"""Speech: TIMIT as licensed, any corpus with a folder for each speaker, spoken digits, and a generated stand-in.

The static factor is the speaker, scored by verification on speakers never heard in training; the dynamic one is what
is said, labelled frame by frame with 39 phones where there are transcripts. Features are 80 log-mel bands (or 200
log-spectrum bins), 25/10 ms, normalised band by band with the training speakers' mean and standard deviation.

Two copies of every training utterance in another voice (`wsola`) are kept beside it: the motion views of contrastive
methods. `speech.py` prepares, `segments.py` serves.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from seqdis.bench.core import archive
from seqdis.bench.core.errors import UserError
from seqdis.datasets.audio import corpora
from seqdis.datasets.audio.corpora import SPLITS, Found
from seqdis.datasets.audio.features import FeatureName, Features
from seqdis.datasets.audio.preparation import Corpus, Recording, read_lengths
from seqdis.datasets.audio.segments import DB_PER_UNIT, LENGTH, Frames, SegmentSplit
from seqdis.datasets.base import AugmentPolicy, DataSet, Factor, Option, Signal, Source, Spec
from seqdis.datasets.cache import (
    Cache,
    Progress,
    cache_folder,
    open_cache,
    prepare_command,
    preparing,
    verify_cache,
    writing_cache,
)
from seqdis.datasets.synthetic import speech as synthetic

WORDS = tuple("0123456789")


class Speech(DataSet):
    """Any corpus `speaker/utterance.(wav|flac|sph)`, at one sampling rate. The base of the named corpora below."""

    name: ClassVar[str] = "speech"
    title: ClassVar[str] = "Own speech corpus"
    sources: ClassVar[tuple[Source, ...]] = ("real",)
    revision: ClassVar[str] = "2"
    rate: ClassVar[int] = 0  # 0: whatever the first file has
    licence: ClassVar[str] = "the corpus' own"
    citation: ClassVar[str] = "a corpus of the user's"
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

    cache: Cache
    train: SegmentSplit
    validation: SegmentSplit
    test: SegmentSplit

    def __init__(self, cache: Cache, spec: Spec, augment: str) -> None:
        self.cache = cache
        self.digest = cache.digest
        self.spec = spec
        self.train, self.validation, self.test = (_split(cache, name, augment) for name in SPLITS)

    @classmethod
    def tags(cls, features: FeatureName = "mel80", sa: bool = False, **options: Any) -> tuple[str, ...]:
        """Parts of the folder's name, for options that change what is stored."""
        return tuple(([] if features == "mel80" else [features]) + (["sa"] if sa else []))

    @classmethod
    def folder(cls, root: Path, source: Source, size: int = 0, **options: Any) -> Path:
        """The cache folder; audio has no frame size."""
        if source not in cls.sources:
            raise UserError(f"{cls.name} has no source {source!r}; it has {' and '.join(cls.sources)}.")
        return cache_folder(root, cls.name, source, 0, *cls.tags(**options))

    @classmethod
    def command(cls, root: Path, source: Source, size: int = 0, **options: Any) -> str:
        """The command that prepares it."""
        words = ["--from DIR"] if source == "real" else []
        words += [
            f"--set data.{name}={json.dumps(value)}".replace('"', "")
            for name, value in sorted(options.items())
            if name in cls.options and cls.options[name].stored and value != cls.options[name].default
        ]
        return prepare_command(cls.name, root, source, 0, *words)

    @classmethod
    def describe(
        cls,
        source: Source,
        size: int = 0,
        *,
        meta: dict[str, Any] | None = None,
        augment: str = "wsola",
        features: FeatureName = "mel80",
        **options: Any,
    ) -> Spec:
        """The spec. Without a cache's `meta` the speakers' names are not known yet."""
        known = meta or {}
        layout = Features(known.get("features", features), known.get("rate", cls.rate or 16_000))
        factors = [Factor(name="speaker", classes=tuple(known.get("speakers", ())), role="static")]
        if known.get("words"):
            factors.append(Factor(name="digit", classes=WORDS, role="dynamic"))
        phones = Factor(name="phone", classes=corpora.PHONES, role="dynamic")
        is_real = source == "real"
        return Spec(
            name=cls.name,
            title=cls.title,
            source=source,
            modality="audio",
            frame=(layout.size,),
            n_frames=LENGTH,
            factors=tuple(factors),
            frame_factors=(phones,) if known.get("phones") else (),
            headline=("verification", "speaker"),
            identity="speaker",
            split_rule=known.get("split_rule", "by speaker"),
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
        sa: bool = False,
        **options: Any,
    ) -> Path:
        """Builds the cache of features, labels and shifted voices.

        Args:
            size: not used.
            from_dir: the corpus' folder, or an archive of it; needed for real data.
            features: `mel80`, or `spec200` (the log spectrum of 16 kHz audio).
            sa: TIMIT only: keep the sentences that everybody reads.

        Raises:
            UserError: files are missing, damaged, empty or of another sampling rate, speakers are in two parts, or
                transcripts are wrong; the message names the file.
        """
        folder = cls.folder(root, source, size, features=features, sa=sa)
        with preparing(folder, revision=cls.revision, progress=progress) as is_needed:
            if is_needed:
                with contextlib.nullcontext() if from_dir is None else archive.opened(from_dir, root) as files:
                    corpus = cls._corpus(source, files, sa, Features(features, cls.rate or 16_000), progress)
                    meta = {"revision": cls.revision, "name": cls.name, **corpus.meta()}
                    with writing_cache(folder, meta, needs_bytes=corpus.n_bytes) as writer:
                        corpus.write(writer, progress)
        return folder

    @classmethod
    def _corpus(
        cls, source: Source, from_dir: Path | None, sa: bool, features: Features, progress: Progress | None
    ) -> Corpus:
        if source == "synthetic":
            recordings = [
                Recording(s.speaker, s.name, s.split, round(synthetic.SECONDS * synthetic.RATE), spoken=s)
                for s in synthetic.script()
            ]
            return Corpus(
                recordings,
                dataclasses.replace(features, rate=synthetic.RATE),
                {},
                "by speaker: 24 train, 8 validation and 12 test voices",
            )
        if from_dir is None:
            raise UserError(f"{cls.title} is made from files that you have: bench data prepare {cls.name} --from DIR.")
        found = cls.scan(from_dir, sa)
        return read_lengths(found, features, cls.rate, progress)

    @classmethod
    def scan(cls, from_dir: Path, sa: bool) -> Found:
        """The corpus' utterances and splits."""
        return corpora.scan_speakers(from_dir)

    @classmethod
    def open(cls, root: Path, source: Source, size: int = 0, *, augment: str = "wsola", **options: Any) -> Speech:
        """Opens the prepared cache.

        Args:
            augment: motion views: `wsola`, the cached copies in another voice, or `vtlp`, a warp of the features.

        Raises:
            MissingDataError: it is not there; the error holds the command that makes it.
        """
        if augment not in ("wsola", "vtlp"):
            raise UserError(f"unknown voice shift {augment!r}; it is wsola or vtlp.")
        cache = open_cache(
            cls.folder(root, source, size, **options),
            revision=cls.revision,
            title=cls.title,
            command=cls.command(root, source, size, **options),
        )
        return cls(cache, cls.describe(source, size, meta=cache.meta, augment=augment), augment)

    @classmethod
    def verify(
        cls, root: Path, source: Source, size: int = 0, *, progress: Progress | None = None, **options: Any
    ) -> dict[str, str]:
        """Recomputes the cache's digests and compares. Returns array name -> SHA-256."""
        return verify_cache(
            cls.folder(root, source, size, **options),
            revision=cls.revision,
            title=cls.title,
            command=cls.command(root, source, size, **options),
            progress=progress,
        )

    def load_signal(self) -> None:
        """Nothing to measure: loudness is prepared with the features."""

    def segmented(self) -> SegmentSplit:
        """The training split without utterances that give one segment only.

        Raises:
            UserError: there are no others.
        """
        several = (self.train.n_segments > 1).nonzero().flatten()
        if not len(several):
            raise UserError(
                f"{self.name}: every training utterance has one segment of {LENGTH} frames; it takes 28 "
                "frames to make two."
            )
        return self.train if len(several) == len(self.train) else self.train.subset(several)


class Timit(Speech):
    """TIMIT (LDC93S1), or voices generated in its likeness."""

    name: ClassVar[str] = "timit"
    title: ClassVar[str] = "TIMIT"
    sources: ClassVar[tuple[Source, ...]] = ("real", "synthetic")
    rate: ClassVar[int] = 16_000
    licence: ClassVar[str] = "LDC user agreement (LDC93S1): neither audio nor features may be passed on"
    citation: ClassVar[str] = (
        "Garofolo et al., TIMIT Acoustic-Phonetic Continuous Speech Corpus, LDC93S1, Linguistic Data Consortium 1993"
    )
    homepage: ClassVar[str] = "https://catalog.ldc.upenn.edu/LDC93S1"
    options: ClassVar[dict[str, Option]] = {
        **Speech.options,
        "sa": Option(default=False, choices=(False, True), stored=True, text="keep the sentences that everybody reads"),
    }

    @classmethod
    def scan(cls, from_dir: Path, sa: bool) -> Found:
        return corpora.scan_timit(from_dir, with_sa=sa)


class LibriSpeechMini(Speech):
    """50 speakers of LibriSpeech: 40 train with an utterance each, the 10 others are verified. No transcripts."""

    name: ClassVar[str] = "librispeech-mini"
    title: ClassVar[str] = "LibriSpeech (50 speakers)"
    rate: ClassVar[int] = 16_000
    licence: ClassVar[str] = "CC BY 4.0"
    citation: ClassVar[str] = (
        "Panayotov, Chen, Povey and Khudanpur, Librispeech: an ASR corpus based on public "
        "domain audio books, ICASSP 2015"
    )
    homepage: ClassVar[str] = "https://www.openslr.org/12"
    attribution: ClassVar[str] = "audio: LibriSpeech (c) 2014 Vassil Panayotov, CC BY 4.0"
    may_show: ClassVar[bool] = True


class FsddMini(Speech):
    """Spoken digits of six speakers at 8 kHz, all of them in every split; what is said has a label for each clip."""

    name: ClassVar[str] = "fsdd-mini"
    title: ClassVar[str] = "Spoken digits (6 speakers)"
    rate: ClassVar[int] = 8_000
    licence: ClassVar[str] = "CC BY-SA 4.0"
    citation: ClassVar[str] = "Jackson et al., Free Spoken Digit Dataset, 2018"
    homepage: ClassVar[str] = "https://github.com/Jakobovski/free-spoken-digit-dataset"
    attribution: ClassVar[str] = "audio: Free Spoken Digit Dataset, Z. Jackson and contributors, CC BY-SA 4.0"
    may_show: ClassVar[bool] = True

    @classmethod
    def scan(cls, from_dir: Path, sa: bool) -> Found:
        return corpora.scan_digits(from_dir)


def _split(cache: Cache, name: str, augment: str) -> SegmentSplit:
    names = cache.meta["arrays"]

    def optional(key: str) -> Tensor | None:
        return cache.tensor(key) if key in names else None

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


DATASETS = {"timit": Timit, "librispeech-mini": LibriSpeechMini, "fsdd-mini": FsddMini, "speech": Speech}
