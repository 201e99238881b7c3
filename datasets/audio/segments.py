"""Speech as 20-frame segments of utterances whose frames stay resident as float16.

Training segments start at random: an utterance of L frames has floor((L - 20) / 8) + 1 of them in each epoch.
Evaluation segments lie end to end (shift 20) and what remains behind the last is dropped. (FHVAE's recipe.)

Shape legend: U utterances, n frames of all utterances, N segments, B batch, T = 20 frames, F features, K copies.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from seqdis.datasets import augment
from seqdis.datasets.base import Drawn, Split

LENGTH = 20
TRAIN_SHIFT = 8
DB_PER_UNIT = 8.685889638  # 20 / ln 10: features are natural logarithms of magnitudes


@dataclasses.dataclass(frozen=True)
class Frames:
    """All frames of one split, utterance after utterance.

    Attributes:
        x: (n, F) float16, normalised by the training split's mean and standard deviation.
        lengths: (U,) frames of each utterance, at least 20.
        speaker: (U,) number of its speaker.
        loud: (n,) uint8, whether a frame is loud for its utterance.
        phone: (n,) int8, -1 where a frame has no label; None without transcripts.
        word: (U,) the one word that is said; None where utterances are sentences.
        shifted: (K, n, F) float16, the frames of other voices saying the same (see `wsola`); None without.
        mean, std: (F,) float32, of the training split before normalisation.
    """

    x: Tensor
    lengths: Tensor
    speaker: Tensor
    loud: Tensor
    mean: Tensor
    std: Tensor
    phone: Tensor | None = None
    word: Tensor | None = None
    shifted: Tensor | None = None


class SegmentSplit(Split):
    """Segments of utterances. With `is_random` a clip's start is drawn whenever it is asked for with a generator.

    `sequence` numbers the utterances, `identity` and `labels["speaker"]` the speakers.
    """

    def __init__(
        self, frames: Frames, *, is_random: bool, chosen: Tensor | None = None, sequence: Tensor | None = None
    ) -> None:
        self.frames = frames.x
        self.lengths, self.speaker_of, self.word_of = frames.lengths, frames.speaker, frames.word
        self.loud, self.phone, self.shifted = frames.loud, frames.phone, frames.shifted
        self.mean, self.std = frames.mean, frames.std
        self.is_random = is_random
        self.offset = frames.lengths.cumsum(0) - frames.lengths
        shift = TRAIN_SHIFT if is_random else LENGTH
        counts = (frames.lengths - LENGTH) // shift + 1
        utterance = torch.repeat_interleave(counts)
        start = shift * (torch.arange(len(utterance)) - (counts.cumsum(0) - counts)[utterance])
        if chosen is not None:
            chosen = chosen.cpu()
            utterance, start = utterance[chosen], start[chosen]
        self.utterance_of, self.start = utterance, start
        self.labels = {"speaker": frames.speaker[utterance]}
        if frames.word is not None:
            self.labels["digit"] = frames.word[utterance]
        self.identity = frames.speaker[utterance]
        self._chosen = chosen
        # Utterances that lost all their segments to `chosen` leave no gap in the numbers.
        self._number_sequences(torch.unique(utterance, return_inverse=True)[1] if sequence is None else sequence)

    def __len__(self) -> int:
        return len(self.utterance_of)

    @property
    def device(self) -> torch.device:
        return self.frames.device

    @property
    def x(self) -> Tensor:
        """All segments (N, T, F) float16, at their fixed (or, for training, nominal) starts: a copy."""
        return self.frames[self._rows(torch.arange(len(self), device=self.device), None)]

    @property
    def signal(self) -> Tensor | None:
        """(N, T, 1) loudness of fixed segments; None where starts are drawn (see `draw`)."""
        if self.is_random:
            return None
        return self.loudness(self._rows(torch.arange(len(self), device=self.device), None))

    @property
    def frame_labels(self) -> dict[str, Tensor]:
        """Labels of single frames, (N, T) int64 with -1 for none; empty where starts are drawn or nothing is known."""
        if self.is_random or self.phone is None:
            return {}
        return {"phone": self.phone[self._rows(torch.arange(len(self), device=self.device), None)].long()}

    def clips(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Segments (B, T, F) float32. Random starts need a generator; without, the nominal ones are taken."""
        return self.frames[self._rows(index, generator)].float()

    def draw(self, index: Tensor, generator: torch.Generator) -> DrawnSegments:
        """Segments (B, T, F) with where their frames lie."""
        rows = self._rows(index, generator)
        return DrawnSegments(self, index, self.frames[rows].float(), rows)

    def utterance(self, number: int) -> Tensor:
        """All frames (L, F) of one utterance."""
        return self.frames[self.offset[number] : self.offset[number] + self.lengths[number]]

    def fixed(self) -> SegmentSplit:
        """The same utterances in fixed segments, end to end; of a whole split, not of a subset."""
        if not self.is_random:
            return self
        if self._chosen is not None:
            raise ValueError("fixed segments are those of a whole split")
        return SegmentSplit(self._source(), is_random=False).to(self.device)

    def subset(self, index: Tensor) -> SegmentSplit:
        """A split of the segments at `index`; utterances are numbered anew in `sequence`."""
        chosen = index if self._chosen is None else self._chosen.to(index.device)[index]
        return SegmentSplit(self._source(), is_random=self.is_random, chosen=chosen).to(self.device)

    def _source(self) -> Frames:
        return Frames(
            x=self.frames,
            lengths=self.lengths.cpu(),
            speaker=self.speaker_of.cpu(),
            loud=self.loud,
            mean=self.mean,
            std=self.std,
            phone=self.phone,
            word=None if self.word_of is None else self.word_of.cpu(),
            shifted=self.shifted,
        )

    def _rows(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        """Positions (B, T) of the segments' frames."""
        utterance, start = self.utterance_of[index], self.start[index]
        if self.is_random and generator is not None:
            draw = torch.rand(len(index), generator=generator, device=generator.device).to(self.device)
            room = self.lengths[utterance] - LENGTH + 1
            start = (draw * room).long().clamp(max=room - 1)
        return (self.offset[utterance] + start)[:, None] + torch.arange(LENGTH, device=self.device)

    def loudness(self, rows: Tensor) -> Tensor:
        """Whether the frames at `rows` (B, T) are loud, (B, T, 1) float32."""
        return self.loud[rows].float()[..., None]


@dataclasses.dataclass(frozen=True)
class DrawnSegments(Drawn):
    """Segments of speech, with the positions (B, T) of their frames among all of the split."""

    split: SegmentSplit
    rows: Tensor

    def signal(self) -> Tensor:
        """Loudness (B, T, 1)."""
        return self.split.loudness(self.rows)

    def motion_view(self, generator: torch.Generator) -> Tensor:
        """The same words at the same times in another voice, like x.

        From a cached copy of the utterance (WSOLA), where there are copies; else the frequency axis is warped and
        tilted (`augment.vtlp`), on the features as they were before normalisation.
        """
        split = self.split
        if split.shifted is not None:
            copy = torch.randint(len(split.shifted), (len(self.x), 1), generator=generator, device=generator.device)
            return split.shifted[copy.to(split.device), self.rows].float()
        view = augment.vtlp(self.x * split.std + split.mean, generator, db_per_unit=DB_PER_UNIT)
        return (view - split.mean) / split.std
