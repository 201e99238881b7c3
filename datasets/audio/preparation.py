"""Speech into a cache, in flat memory: blocks of about a minute are read, turned into features, and written.

Files are read in threads while the block before is worked on; a block's frames are transformed in one piece. Training
features pass through a float32 scratch file, because their mean and deviation are known only at the end. Only counts
grow with the corpus.

Arrays: for each split `<split>_frames` (n, F) float16, `_loud` (n,), `_phone` (n,) where known, `_lengths` and
`_speaker` (U,), `_word` (U,) where known; `train_shifted` (K * n, F) float16; `mean` and `std` (F,).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.seeds import derive
from seqdis.datasets.audio import corpora, wsola
from seqdis.datasets.audio.corpora import SPLITS, UNLABELLED, Found, Utterance
from seqdis.datasets.audio.features import Features, Waveform, log_features, loud_frames, read_audio, read_header
from seqdis.datasets.audio.segments import LENGTH
from seqdis.datasets.cache import CacheWriter, Progress, Stream
from seqdis.datasets.synthetic import speech as synthetic

COPIES = 2
BLOCK_SECONDS = 60
READERS = 4

Floats = NDArray[np.float32]


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


def read_lengths(found: Found, features: Features, rate: int, progress: Progress | None) -> Corpus:
    """Lengths of all files from their headers; too short utterances are left out and counted."""
    skipped = dict(found.skipped)
    recordings = []
    for done, utterance in enumerate(found.utterances):
        header = read_header(utterance.path)
        rate = rate or header.rate
        if header.rate != rate:
            raise UserError(f"{utterance.path} is sampled at {header.rate} Hz, and {rate} Hz is expected; resample it.")
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
            raise UserError(f"no {split} utterance is as long as {LENGTH} frames of 10 ms; get longer recordings.")
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
        return all(
            item.spoken is not None or (item.utterance is not None and item.utterance.transcript is not None)
            for item in self.recordings
        )

    def meta(self) -> dict[str, Any]:
        """What the cache notes beside its arrays."""
        seconds = {
            split: round(sum(item.n_samples for item in self.recordings if item.split == split) / self.features.rate, 1)
            for split in SPLITS
        }
        return {
            "features": self.features.name,
            "rate": self.features.rate,
            "speakers": self.speakers,
            "words": self.has_words,
            "phones": self.has_phones,
            "seconds": seconds,
            "copies": COPIES,
            "skipped": self.skipped,
            "split_rule": self.split_rule,
        }

    def write(self, writer: CacheWriter, progress: Progress | None) -> None:
        """Streams everything: training features to a scratch file first, for their mean and deviation."""
        number = {name: i for i, name in enumerate(self.speakers)}
        done, total = 0, sum(item.n_samples for item in self.recordings) * 2
        scratch = writer.folder / "scratch.bin"
        scale: tuple[Floats, Floats] | None = None
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

    def _write_shifted(
        self,
        writer: CacheWriter,
        items: list[Recording],
        n_frames: int,
        scale: Any,
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

    def _report(self, progress: Progress | None, done: int, block: list[Recording], total: int, text: str) -> int:
        done += sum(item.n_samples for item in block)
        if progress is not None:
            progress(done, total, f"speech: {text}")
        return done

    def _blocks(self, items: list[Recording]) -> Iterator[tuple[list[Recording], Floats, Floats]]:
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
        pool = ThreadPoolExecutor(READERS)
        try:
            coming = [pool.submit(self._read, item) for item in blocks[0]]
            for block, following in zip(blocks, [*blocks[1:], []], strict=True):
                current: list[Future[Waveform]] = coming
                coming = [pool.submit(self._read, item) for item in following]
                yield block, [future.result() for future in current]
        finally:
            pool.shutdown(cancel_futures=True)  # after an error the rest need not be read

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

    def label(self, block: list[Recording], energy: Floats, features: Features) -> None:
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


def _scale(sums: NDArray[np.float64], n: int) -> tuple[Floats, Floats]:
    mean = sums[0] / n
    std = np.sqrt(np.maximum(sums[1] / n - mean**2, 1e-4))  # a silent band stays finite
    return mean.astype(np.float32), std.astype(np.float32)


def _normalised(values: Floats, scale: tuple[Floats, Floats]) -> NDArray[np.float16]:
    return ((values - scale[0]) / scale[1]).astype(np.float16)
