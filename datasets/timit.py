"""Speech: TIMIT as licensed, any corpus with a folder for each speaker, spoken digits, and a generated stand-in.

The static factor is the speaker, scored by verification on speakers never heard in training; the dynamic one is what
is said, labelled frame by frame with 39 phones where there are transcripts. Features are 80 log-mel bands (or 200
log-spectrum bins), 25/10 ms, normalised band by band with the training speakers' mean and standard deviation.

Preparation streams: a block of about a minute of audio is read (in threads), turned into features in one piece, and
written; only counts grow with the corpus. Two copies of every training utterance in another voice (`wsola`) are kept
beside it: the motion views of contrastive methods.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.seeds import derive
from seqdis.datasets import corpora, wsola
from seqdis.datasets.audio import FeatureName, Features, Waveform, log_features, loud_frames, read_audio, read_header
from seqdis.datasets.base import AugmentPolicy, DataSet, Factor, Signal, Source, Spec
from seqdis.datasets.cache import (
    Cache,
    CacheWriter,
    Progress,
    Stream,
    cache_folder,
    open_cache,
    prepare_command,
    preparing,
    verify_cache,
    writing_cache,
)
from seqdis.datasets.corpora import SPLITS, UNLABELLED, Found, Utterance
from seqdis.datasets.segments import DB_PER_UNIT, LENGTH, Frames, SegmentSplit
from seqdis.datasets.synthetic import speech as synthetic

COPIES = 2
BLOCK_SECONDS = 60
READERS = 4
WORDS = tuple("0123456789")


@dataclasses.dataclass
class Recording:
    """One utterance to be prepared: how long it is, and where its waveform and phone labels come from."""

    speaker: str
    name: str
    split: str
    n_samples: int
    utterance: Utterance | None = None
    spoken: synthetic.Spoken | None = None

    def phones(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Ends in samples and classes of its phones, if they are known."""
        if self.spoken is not None:
            names = [synthetic.PHONES[i].name for i in self.spoken.score.phones]
            return self.spoken.score.ends, np.array([corpora.PHONE_NUMBER[name] for name in names])
        if self.utterance is not None and self.utterance.transcript is not None:
            return corpora.read_phones(self.utterance.transcript)
        return None


class Speech(DataSet):
    """Any corpus `speaker/utterance.(wav|flac|sph)`, at one sampling rate. The base of the named corpora below."""

    name: ClassVar[str] = "speech"
    title: ClassVar[str] = "Own speech corpus"
    sources: ClassVar[tuple[Source, ...]] = ("real",)
    revision: ClassVar[str] = "1"
    rate: ClassVar[int] = 0  # 0: whatever the first file has
    licence: ClassVar[str] = "the corpus' own"
    citation: ClassVar[str] = "a corpus of the user's"
    homepage: ClassVar[str] = ""
    attribution: ClassVar[str] = ""
    may_show: ClassVar[bool] = False
    cuts_speakers: ClassVar[bool] = True

    train: SegmentSplit
    validation: SegmentSplit
    test: SegmentSplit

    def __init__(self, cache: Cache, spec: Spec, augment: str) -> None:
        self.cache = cache
        self.digest = cache.digest
        self.spec = spec
        self.train, self.validation, self.test = (_split(cache, name, augment) for name in SPLITS)

    # What it is ------------------------------------------------------------------------------------------------------

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
        return prepare_command(cls.name, root, source, 0, *words)

    @classmethod
    def describe(cls, source: Source, size: int = 0, *, meta: dict[str, Any] | None = None, augment: str = "wsola",
                 **options: Any) -> Spec:
        """The spec. Without a cache's `meta` the speakers' names are not known yet."""
        known = meta or {}
        features = Features(known.get("features", "mel80"), known.get("rate", cls.rate or 16_000))
        factors = [Factor(name="speaker", classes=tuple(known.get("speakers", ())), role="static")]
        if known.get("words"):
            factors.append(Factor(name="digit", classes=WORDS, role="dynamic"))
        phones = Factor(name="phone", classes=corpora.PHONES, role="dynamic")
        is_real = source == "real"
        return Spec(
            name=cls.name, title=cls.title, source=source, modality="audio", frame=(features.size,), n_frames=LENGTH,
            factors=tuple(factors), frame_factors=(phones,) if known.get("phones") else (),
            headline=("verification", "speaker"), identity="speaker", split_rule=known.get("split_rule", "by speaker"),
            revision=cls.revision, licence=cls.licence if is_real else "MIT, as this suite",
            citation=cls.citation if is_real else "generated by this suite",
            homepage=cls.homepage if is_real else "", attribution=cls.attribution if is_real else "",
            augment=AugmentPolicy(audio=augment, db_per_unit=DB_PER_UNIT), may_show=cls.may_show or not is_real,
            signal=Signal(dim=1, kind="multilabel",
                          how="loud or not: log energy of the frame above the middle of its utterance's 5-95 % range"),
        )

    # Preparing and opening -------------------------------------------------------------------------------------------

    @classmethod
    def prepare(cls, root: Path, source: Source, size: int = 0, *, from_dir: Path | None = None,
                progress: Progress | None = None, features: FeatureName = "mel80", sa: bool = False,
                **options: Any) -> Path:
        """Builds the cache of features, labels and shifted voices.

        Args:
            size: not used.
            from_dir: the corpus' folder; needed for real data.
            features: `mel80`, or `spec200` (the log spectrum of 16 kHz audio).
            sa: TIMIT only: keep the sentences that everybody reads.

        Raises:
            UserError: files are missing, damaged, empty or of another sampling rate, speakers are in two parts, or
                transcripts are wrong; the message names the file.
        """
        folder = cls.folder(root, source, size, features=features, sa=sa)
        with preparing(folder, revision=cls.revision, progress=progress) as is_needed:
            if is_needed:
                corpus = cls._corpus(source, from_dir, sa, Features(features, cls.rate or 16_000), progress)
                with writing_cache(folder, corpus.meta(cls), needs_bytes=corpus.n_bytes) as writer:
                    corpus.write(writer, progress)
        return folder

    @classmethod
    def _corpus(cls, source: Source, from_dir: Path | None, sa: bool, features: Features,
                progress: Progress | None) -> Corpus:
        if source == "synthetic":
            recordings = [Recording(s.speaker, s.name, s.split, round(synthetic.SECONDS * synthetic.RATE), spoken=s)
                          for s in synthetic.script()]
            return Corpus(recordings, dataclasses.replace(features, rate=synthetic.RATE), {},
                          "by speaker: 24 train, 8 validation and 12 test voices")
        if from_dir is None:
            raise UserError(f"{cls.title} is made from files that you have: bench data prepare {cls.name} --from DIR.")
        found = cls.scan(from_dir, sa)
        return _headers(found, features, cls.rate, progress)

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
        cache = open_cache(cls.folder(root, source, size, **options), revision=cls.revision, title=cls.title,
                           command=cls.command(root, source, size, **options))
        return cls(cache, cls.describe(source, size, meta=cache.meta, augment=augment), augment)

    @classmethod
    def verify(cls, root: Path, source: Source, size: int = 0, *, progress: Progress | None = None,
               **options: Any) -> dict[str, str]:
        """Recomputes the cache's digests and compares. Returns array name -> SHA-256."""
        return verify_cache(cls.folder(root, source, size, **options), revision=cls.revision, title=cls.title,
                            command=cls.command(root, source, size, **options), progress=progress)

    def segmented(self) -> SegmentSplit:
        """The training split without utterances that give one segment only."""
        several = (self.train.n_segments > 1).nonzero().flatten()
        return self.train if len(several) == len(self.train) else self.train.subset(several)


class Timit(Speech):
    """TIMIT (LDC93S1), or voices generated in its likeness."""

    name: ClassVar[str] = "timit"
    title: ClassVar[str] = "TIMIT"
    sources: ClassVar[tuple[Source, ...]] = ("real", "synthetic")
    rate: ClassVar[int] = 16_000
    licence: ClassVar[str] = "LDC user agreement (LDC93S1): neither audio nor features may be passed on"
    citation: ClassVar[str] = ("Garofolo et al., TIMIT Acoustic-Phonetic Continuous Speech Corpus, LDC93S1, Linguistic Data "
                               "Consortium 1993")
    homepage: ClassVar[str] = "https://catalog.ldc.upenn.edu/LDC93S1"

    @classmethod
    def scan(cls, from_dir: Path, sa: bool) -> Found:
        return corpora.scan_timit(from_dir, with_sa=sa)


class LibriSpeechMini(Speech):
    """50 speakers of LibriSpeech: 40 train with an utterance each, the 10 others are verified. No transcripts."""

    name: ClassVar[str] = "librispeech-mini"
    title: ClassVar[str] = "LibriSpeech (50 speakers)"
    rate: ClassVar[int] = 16_000
    licence: ClassVar[str] = "CC BY 4.0"
    citation: ClassVar[str] = ("Panayotov, Chen, Povey and Khudanpur, Librispeech: an ASR corpus based on public domain "
                               "audio books, ICASSP 2015")
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


# Streaming preparation ------------------------------------------------------------------------------------------


def _headers(found: Found, features: Features, rate: int, progress: Progress | None) -> Corpus:
    """Lengths of all files from their headers; too short utterances are left out and counted."""
    skipped = dict(found.skipped)
    recordings = []
    for done, utterance in enumerate(found.utterances):
        header = read_header(utterance.path)
        rate = rate or header.rate
        if header.rate != rate:
            raise UserError(f"{utterance.path} is sampled at {header.rate} Hz where {rate} Hz is expected; resample it.")
        if header.n_samples <= 0:
            raise UserError(f"{utterance.path} has no samples; remove it.")
        if progress is not None and done % 50 == 0:
            progress(done, len(found.utterances), "reading headers")
        recordings.append(Recording(utterance.speaker, utterance.name, utterance.split, header.n_samples, utterance))
    features = dataclasses.replace(features, rate=rate)
    long_enough = [item for item in recordings if features.n_frames(item.n_samples) >= LENGTH]
    if len(long_enough) < len(recordings):
        skipped[f"utterances shorter than {LENGTH} frames"] = len(recordings) - len(long_enough)
    for split in SPLITS:
        if not any(item.split == split for item in long_enough):
            raise UserError(f"no {split} utterance is as long as {LENGTH} frames of 10 ms; longer recordings are needed.")
    return Corpus(long_enough, features, skipped, found.split_rule)


@dataclasses.dataclass
class Corpus:
    """Recordings in split order, and how they become a cache."""

    recordings: list[Recording]
    features: Features
    skipped: dict[str, int]
    split_rule: str

    @property
    def speakers(self) -> list[str]:
        return sorted({item.speaker for item in self.recordings})

    @property
    def n_bytes(self) -> int:
        """About how much will be written, the float32 scratch file included."""
        return sum(self.features.n_frames(item.n_samples) for item in self.recordings) * self.features.size * 12

    @property
    def has_words(self) -> bool:
        return all(item.utterance is not None and item.utterance.word >= 0 for item in self.recordings)

    @property
    def has_phones(self) -> bool:
        return all(item.spoken is not None or (item.utterance is not None and item.utterance.transcript is not None)
                   for item in self.recordings)

    def meta(self, cls: type[Speech]) -> dict[str, Any]:
        """What the cache notes beside its arrays."""
        seconds = {split: round(sum(item.n_samples for item in self.recordings if item.split == split)
                                / self.features.rate, 1) for split in SPLITS}
        return {"revision": cls.revision, "name": cls.name, "features": self.features.name, "rate": self.features.rate,
                "speakers": self.speakers, "words": self.has_words, "phones": self.has_phones, "seconds": seconds,
                "copies": COPIES, "skipped": self.skipped, "split_rule": self.split_rule}

    def write(self, writer: CacheWriter, progress: Progress | None) -> None:
        """Streams everything: training features to a scratch file first, for their mean and deviation."""
        number = {name: i for i, name in enumerate(self.speakers)}
        done, total = 0, sum(item.n_samples for item in self.recordings) * 2
        scratch = writer.folder / "scratch.bin"
        scale: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        for split in SPLITS:
            items = [item for item in self.recordings if item.split == split]
            lengths = np.array([self.features.n_frames(item.n_samples) for item in items])
            writer.save(f"{split}_lengths", lengths)
            writer.save(f"{split}_speaker", np.array([number[item.speaker] for item in items]))
            if self.has_words:
                writer.save(f"{split}_word", np.array([item.utterance.word for item in items if item.utterance]))
            sink = _Sink(writer, split, int(lengths.sum()), self.features.size, self.has_phones)
            if scale is None:
                with open(scratch, "wb") as file:
                    sums = np.zeros((2, self.features.size))
                    for block, values, energy in self._blocks(items):
                        sums += [values.sum(0, dtype=np.float64), (values.astype(np.float64) ** 2).sum(0)]
                        values.tofile(file)
                        sink.label(block, energy, self.features)
                        done = self._report(progress, done, block, total, split)
                scale = _scale(sums, int(lengths.sum()))
                with open(scratch, "rb") as file:
                    while len(values := np.fromfile(file, np.float32, self.features.size * 6000)):
                        sink.frames(_normalised(values.reshape(-1, self.features.size), scale))
                scratch.unlink()
                writer.save("mean", scale[0])
                writer.save("std", scale[1])
                done = self._write_shifted(writer, items, int(lengths.sum()), scale, progress, done, total)
            else:
                for block, values, energy in self._blocks(items):
                    sink.frames(_normalised(values, scale))
                    sink.label(block, energy, self.features)
                    done = self._report(progress, done, block, total, split)
        if progress is not None:
            progress(total, total, "speech: done")

    def _write_shifted(self, writer: CacheWriter, items: list[Recording], n_frames: int, scale: Any,
                       progress: Progress | None, done: int, total: int) -> int:
        """The training utterances in other voices, `COPIES` of each, frame by frame beside the originals."""
        stream = writer.stream("train_shifted", (COPIES * n_frames, self.features.size), np.float16)
        rng = np.random.default_rng(derive("speech", "voices", *self.speakers))
        written = 0
        for block, waveforms in self._waveforms(items):
            n = 0
            for copy in range(COPIES):
                factors = wsola.draw_factors(len(block), rng)
                shifted = wsola.shift_voices(waveforms, factors, self.features.rate)
                values = _normalised(log_features(shifted, self.features)[0].numpy(), scale)
                stream.write(copy * n_frames + written, values)
                n = len(values)
            written += n
            done = self._report(progress, done, block, total, "other voices")
        return done

    def _report(self, progress: Progress | None, done: int, block: list[Recording], total: int, text: str) -> int:
        done += sum(item.n_samples for item in block)
        if progress is not None:
            progress(done, total, f"speech: {text}")
        return done

    def _blocks(self, items: list[Recording]) -> Iterator[tuple[list[Recording], NDArray[np.float32], NDArray[np.float32]]]:
        """Blocks of recordings with the features and energies of all their frames."""
        for block, waveforms in self._waveforms(items):
            values, energy = log_features(waveforms, self.features)
            yield block, values.numpy(), energy.numpy()

    def _waveforms(self, items: list[Recording]) -> Iterator[tuple[list[Recording], list[Waveform]]]:
        """Blocks of recordings with their waveforms; the next block is read while this one is used."""
        limit = BLOCK_SECONDS * self.features.rate
        blocks: list[list[Recording]] = [[]]
        size = 0
        for item in items:
            if blocks[-1] and size + item.n_samples > limit:
                blocks.append([])
                size = 0
            blocks[-1].append(item)
            size += item.n_samples
        if items and items[0].spoken is not None:
            for block in blocks:
                yield block, list(synthetic.synthesise([item.spoken for item in block if item.spoken is not None]))
            return
        with ThreadPoolExecutor(READERS) as pool, contextlib.ExitStack() as stack:
            stack.callback(pool.shutdown, cancel_futures=True)
            coming = [pool.submit(self._read, item) for item in blocks[0]]
            for block, following in zip(blocks, [*blocks[1:], []], strict=True):
                current, coming = coming, [pool.submit(self._read, item) for item in following]
                yield block, [future.result() for future in current]

    def _read(self, item: Recording) -> Waveform:
        assert item.utterance is not None
        return read_audio(item.utterance.path, rate=self.features.rate)[0]


class _Sink:
    """The arrays of one split that have a row a frame."""

    def __init__(self, writer: CacheWriter, split: str, n_frames: int, n_features: int, has_phones: bool) -> None:
        self._x: Stream = writer.stream(f"{split}_frames", (n_frames, n_features), np.float16)
        self._loud: Stream = writer.stream(f"{split}_loud", (n_frames,), np.uint8)
        self._phone = writer.stream(f"{split}_phone", (n_frames,), np.int8) if has_phones else None
        self._n_x = self._n_labels = 0

    def frames(self, values: NDArray[np.float16]) -> None:
        """Writes the next frames' features."""
        self._x.write(self._n_x, values)
        self._n_x += len(values)

    def label(self, block: list[Recording], energy: NDArray[np.float32], features: Features) -> None:
        """Writes the next frames' loudness and phones: the phone at the middle of a frame is the frame's."""
        counts = [features.n_frames(item.n_samples) for item in block]
        loud = [loud_frames(part) for part in np.split(energy, np.cumsum(counts)[:-1])]
        self._loud.write(self._n_labels, np.concatenate(loud))
        if self._phone is not None:
            rows = [_frame_phones(item, n, features) for item, n in zip(block, counts, strict=True)]
            self._phone.write(self._n_labels, np.concatenate(rows))
        self._n_labels += sum(counts)


def _frame_phones(item: Recording, n_frames: int, features: Features) -> NDArray[np.int8]:
    found = item.phones()
    assert found is not None
    ends, phones = found
    middle = np.arange(n_frames) * features.hop + features.window // 2
    which = np.searchsorted(ends, middle, side="right")
    return np.where(which < len(ends), phones[np.minimum(which, len(ends) - 1)], UNLABELLED).astype(np.int8)


def _scale(sums: NDArray[np.float64], n: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    mean = sums[0] / n
    std = np.sqrt(np.maximum(sums[1] / n - mean**2, 1e-4))  # a silent band stays finite
    return mean.astype(np.float32), std.astype(np.float32)


def _normalised(values: NDArray[np.float32], scale: tuple[NDArray[np.float32], NDArray[np.float32]]
                ) -> NDArray[np.float16]:
    return ((values - scale[0]) / scale[1]).astype(np.float16)


def _split(cache: Cache, name: str, augment: str) -> SegmentSplit:
    names = cache.meta["arrays"]

    def optional(key: str) -> Tensor | None:
        return cache.tensor(key) if key in names else None

    shifted = cache.tensor("train_shifted") if name == "train" and augment == "wsola" else None
    frames = Frames(
        x=cache.tensor(f"{name}_frames"), lengths=cache.tensor(f"{name}_lengths").clone(),
        speaker=cache.tensor(f"{name}_speaker").clone(), loud=cache.tensor(f"{name}_loud"),
        mean=cache.tensor("mean").clone(), std=cache.tensor("std").clone(), phone=optional(f"{name}_phone"),
        word=optional(f"{name}_word"),
        shifted=None if shifted is None else shifted.unflatten(0, (int(cache.meta["copies"]), -1)),
    )
    return SegmentSplit(frames, is_random=name == "train")


DATASETS = {"timit": Timit, "librispeech-mini": LibriSpeechMini, "fsdd-mini": FsddMini, "speech": Speech}
