"""Speech into a cache, in flat memory: blocks of about a minute are read, turned into features, and written.

The next block is read while one is worked on; a block's frames are transformed in one piece. Training
features pass through a float32 scratch file, because their mean and deviation are known only at the end. Only counts
grow with the corpus.

Arrays: for each split `<split>_frames` (n, F) float16, `_loud` (n,), `_phone` (n,) where known, `_lengths` and
`_speaker` (U,), `_word` (U,) where known; `train_shifted` (K * n, F) float16; `mean` and `std` (F,).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.seeds import derive
from seqdis.datasets.audio import wsola
from seqdis.datasets.audio.features import FeatureName, Features, log_features, loud_frames
from seqdis.datasets.audio.files import Waveform, read_blocks, read_header
from seqdis.datasets.audio.layouts import Found
from seqdis.datasets.audio.phones import UNLABELLED, Phones, read_phones
from seqdis.datasets.audio.segments import LENGTH
from seqdis.datasets.base import SPLITS
from seqdis.datasets.cache import CacheWriter, Progress, Stream

COPIES = 2
BLOCK_SECONDS = 60

Floats = NDArray[np.float32]
Scale = tuple[Floats, Floats]
"""Mean and standard deviation (F,) of the training frames."""

Origin = TypeVar("Origin")


@dataclasses.dataclass(frozen=True)
class Recording(Generic[Origin]):
    """One utterance to be prepared.

    Attributes:
        origin: what its waveform is made from: a file, or a score.
        word: number of the one word that it says, or -1.
        phones: gives its phones; None where they are not known.
    """

    speaker: str
    split: str
    n_samples: int
    origin: Origin
    word: int = -1
    phones: Callable[[], Phones] | None = None


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a cache of speech notes in its meta.json, beside what every cache does.

    Attributes:
        rate: of the waveforms, in Hz.
        speakers: names, in label order.
        words: whether each utterance is one word with a label.
        phones: whether frames have phone labels.
        seconds: of speech in each split.
        copies: training utterances in other voices, of each.
        skipped: what was left out, by reason.
    """

    features: FeatureName
    rate: int
    speakers: list[str]
    words: bool
    phones: bool
    seconds: dict[str, float]
    copies: int
    skipped: dict[str, int]
    split_rule: str

    @classmethod
    def read(cls, meta: Mapping[str, Any]) -> Facts:
        """From the content of a meta.json."""
        return cls(**{field.name: meta[field.name] for field in dataclasses.fields(cls)})


def read_lengths(found: Found, features: Features, rate: int, progress: Progress | None) -> Corpus[Path]:
    """The corpus of some files, with their lengths from their headers; too short utterances are left out and counted.

    Args:
        rate: what each file's must be, in Hz; 0: the first file's.
        progress: called with (done, total, text), if given.

    Raises:
        UserError: a file is unreadable, empty or of another rate, or a split has no long enough utterance.
    """
    skipped = dict(found.skipped)
    recordings = []
    for done, utterance in enumerate(found.utterances):
        header = read_header(utterance.path)
        rate = rate or header.rate
        if header.rate != rate:
            raise UserError(f"{utterance.path} is sampled at {header.rate} Hz, and {rate} Hz is expected; resample it.")
        if progress is not None and done % 50 == 0:
            progress(done, len(found.utterances), "reading headers")
        phones = None if utterance.transcript is None else functools.partial(read_phones, utterance.transcript)
        recordings.append(
            Recording(
                utterance.speaker, utterance.split, header.n_samples, utterance.path, word=utterance.word, phones=phones
            )
        )
    features = dataclasses.replace(features, rate=rate)
    long_enough = [item for item in recordings if features.n_frames(item.n_samples) >= LENGTH]
    if len(long_enough) < len(recordings):
        skipped[f"utterances shorter than {LENGTH} frames"] = len(recordings) - len(long_enough)
    for split in SPLITS:
        if not any(item.split == split for item in long_enough):
            raise UserError(f"no {split} utterance is as long as {LENGTH} frames of 10 ms; get longer recordings.")
    return Corpus(long_enough, features, skipped, found.split_rule, functools.partial(read_blocks, rate=rate))


@dataclasses.dataclass(frozen=True)
class Corpus(Generic[Origin]):
    """Recordings in split order, and how they become a cache.

    Attributes:
        skipped: what was left out, by reason.
        waveforms: gives the waveforms of blocks of origins, block by block.
    """

    recordings: list[Recording[Origin]]
    features: Features
    skipped: dict[str, int]
    split_rule: str
    waveforms: Callable[[list[list[Origin]]], Iterator[list[Waveform]]]

    @property
    def speakers(self) -> list[str]:
        return sorted({item.speaker for item in self.recordings})

    @property
    def n_bytes(self) -> int:
        """About how much will be written, the float32 scratch file included."""
        return sum(self.features.n_frames(item.n_samples) for item in self.recordings) * self.features.size * 12

    @property
    def has_words(self) -> bool:
        return all(item.word >= 0 for item in self.recordings)

    @property
    def has_phones(self) -> bool:
        return all(item.phones is not None for item in self.recordings)

    def facts(self) -> Facts:
        """What the cache notes beside its arrays."""
        seconds = {
            split: round(sum(item.n_samples for item in self.recordings if item.split == split) / self.features.rate, 1)
            for split in SPLITS
        }
        return Facts(
            features=self.features.name,
            rate=self.features.rate,
            speakers=self.speakers,
            words=self.has_words,
            phones=self.has_phones,
            seconds=seconds,
            copies=COPIES,
            skipped=self.skipped,
            split_rule=self.split_rule,
        )

    def write(self, writer: CacheWriter, progress: Progress | None) -> None:
        """Streams everything: training features to a scratch file first, for their mean and deviation."""
        number = {name: i for i, name in enumerate(self.speakers)}
        done, total = 0, sum(item.n_samples for item in self.recordings) * 2
        scratch = writer.folder / "scratch.bin"
        scale: Scale | None = None
        for split in SPLITS:
            items = [item for item in self.recordings if item.split == split]
            lengths = np.array([self.features.n_frames(item.n_samples) for item in items])
            writer.save(f"{split}_lengths", lengths)
            writer.save(f"{split}_speaker", np.array([number[item.speaker] for item in items]))
            if self.has_words:
                writer.save(f"{split}_word", np.array([item.word for item in items]))
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

    def _write_shifted(
        self,
        writer: CacheWriter,
        items: list[Recording[Origin]],
        n_frames: int,
        scale: Scale,
        progress: Progress | None,
        done: int,
        total: int,
    ) -> int:
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

    def _report(
        self, progress: Progress | None, done: int, block: list[Recording[Origin]], total: int, text: str
    ) -> int:
        done += sum(item.n_samples for item in block)
        if progress is not None:
            progress(done, total, f"speech: {text}")
        return done

    def _blocks(self, items: list[Recording[Origin]]) -> Iterator[tuple[list[Recording[Origin]], Floats, Floats]]:
        """Blocks of recordings with the features and energies of all their frames."""
        for block, waveforms in self._waveforms(items):
            values, energy = log_features(waveforms, self.features)
            yield block, values.numpy(), energy.numpy()

    def _waveforms(self, items: list[Recording[Origin]]) -> Iterator[tuple[list[Recording[Origin]], list[Waveform]]]:
        """Blocks of recordings with their waveforms."""
        limit = BLOCK_SECONDS * self.features.rate
        blocks: list[list[Recording[Origin]]] = [[]]
        size = 0
        for item in items:
            if blocks[-1] and size + item.n_samples > limit:
                blocks.append([])
                size = 0
            blocks[-1].append(item)
            size += item.n_samples
        origins = [[item.origin for item in block] for block in blocks]
        yield from zip(blocks, self.waveforms(origins), strict=True)


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

    def label(self, block: Sequence[Recording[Any]], energy: Floats, features: Features) -> None:
        """Writes the next frames' loudness and phones: the phone at the middle of a frame is the frame's."""
        counts = [features.n_frames(item.n_samples) for item in block]
        loud = [loud_frames(part) for part in np.split(energy, np.cumsum(counts)[:-1])]
        self._loud.write(self._n_labels, np.concatenate(loud))
        if self._phone is not None:
            known = [item.phones() for item in block if item.phones is not None]
            rows = [_frame_phones(phones, n, features) for phones, n in zip(known, counts, strict=True)]
            self._phone.write(self._n_labels, np.concatenate(rows))
        self._n_labels += sum(counts)


def _frame_phones(known: Phones, n_frames: int, features: Features) -> NDArray[np.int8]:
    ends, phones = known
    middle = np.arange(n_frames) * features.hop + features.window // 2
    which = np.searchsorted(ends, middle, side="right")
    return np.where(which < len(ends), phones[np.minimum(which, len(ends) - 1)], UNLABELLED).astype(np.int8)


def _scale(sums: NDArray[np.float64], n: int) -> Scale:
    mean = sums[0] / n
    std = np.sqrt(np.maximum(sums[1] / n - mean**2, 1e-4))  # a silent band stays finite
    return mean.astype(np.float32), std.astype(np.float32)


def _normalised(values: Floats, scale: Scale) -> NDArray[np.float16]:
    return ((values - scale[0]) / scale[1]).astype(np.float16)
