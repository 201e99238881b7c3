"""Corpora of speech beside TIMIT: any folder with one folder for each speaker, and two that are small and free.

See `audio/dataset` for features, factors and splits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from seqdis.datasets.audio import layouts
from seqdis.datasets.audio.dataset import SpeechDataSet
from seqdis.datasets.base import DataSet


class Speech(SpeechDataSet):
    """Any corpus `speaker/utterance.(wav|flac|sph)`, at one sampling rate."""

    name: ClassVar[str] = "speech"
    title: ClassVar[str] = "Own speech corpus"
    licence: ClassVar[str] = "the corpus' own"
    citation: ClassVar[str] = "a corpus of the user's"

    @classmethod
    def scan(cls, from_dir: Path, **options: Any) -> layouts.Found:
        return layouts.scan_speakers(from_dir)


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


class FsddMini(SpeechDataSet):
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
    def scan(cls, from_dir: Path, **options: Any) -> layouts.Found:
        return layouts.scan_digits(from_dir)


DATASETS: dict[str, type[DataSet]] = {"librispeech-mini": LibriSpeechMini, "fsdd-mini": FsddMini, "speech": Speech}
