"""TIMIT (LDC93S1) as licensed, or voices generated in its likeness (`synthetic/speech`).

See `audio/dataset` for features, factors and splits, and `audio/timit_files` for the corpus' files.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from seqdis.datasets.audio import timit_files
from seqdis.datasets.audio.corpus import Corpus, Recording
from seqdis.datasets.audio.dataset import SpeechDataSet
from seqdis.datasets.audio.features import Features
from seqdis.datasets.audio.files import Waveform
from seqdis.datasets.audio.layouts import Found
from seqdis.datasets.audio.phones import PHONE_NUMBER, Phones
from seqdis.datasets.base import DataSet, Option, Source
from seqdis.datasets.cache import Progress
from seqdis.datasets.synthetic import speech as synthetic


class Timit(SpeechDataSet):
    """TIMIT, or its generated stand-in."""

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
        **SpeechDataSet.options,
        "sa": Option(default=False, choices=(False, True), stored=True, text="keep the sentences that everybody reads"),
    }

    @classmethod
    def tags(cls, *, sa: bool = False, **options: Any) -> tuple[str, ...]:
        return (*super().tags(**options), *(["sa"] if sa else []))

    @classmethod
    def scan(cls, from_dir: Path, *, sa: bool = False, **options: Any) -> Found:
        return timit_files.scan(from_dir, with_sa=sa)

    @classmethod
    def corpus(
        cls, source: Source, files: Path | None, features: Features, progress: Progress | None, **options: Any
    ) -> Corpus[Any]:
        if source == "synthetic":
            return _generated(features)
        return super().corpus(source, files, features, progress, **options)


def _generated(features: Features) -> Corpus[synthetic.Spoken]:
    n_samples = round(synthetic.SECONDS * synthetic.RATE)
    return Corpus(
        [
            Recording(spoken.speaker, spoken.split, n_samples, spoken, phones=functools.partial(_phones, spoken))
            for spoken in synthetic.script()
        ],
        dataclasses.replace(features, rate=synthetic.RATE),
        {},
        "by speaker: 24 train, 8 validation and 12 test voices",
        _synthesised,
    )


def _phones(spoken: synthetic.Spoken) -> Phones:
    names = [synthetic.PHONES[i].name for i in spoken.score.phones]
    return spoken.score.ends, np.array([PHONE_NUMBER[name] for name in names])


def _synthesised(blocks: list[list[synthetic.Spoken]]) -> Iterator[list[Waveform]]:
    return (list(synthetic.synthesise(block)) for block in blocks)


DATASETS: dict[str, type[DataSet]] = {"timit": Timit}
