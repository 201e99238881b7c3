"""What a folder of speech holds: files, speakers and splits, found by name and checked before use.

Layouts: `speaker/utterance.(wav|flac|sph)` with or without folders of training and test speakers above, and the Free
Spoken Digit Dataset's flat folder. TIMIT's is in `timit_files`.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path

import numpy as np

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.seeds import derive
from seqdis.datasets.audio.files import SUFFIXES
from seqdis.datasets.base import SPLITS
from seqdis.datasets.folders import walk


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One recording. `transcript` is its .PHN file; `word` the number of the one word that it says, or -1."""

    path: Path
    speaker: str
    name: str
    split: str
    transcript: Path | None = None
    word: int = -1


@dataclasses.dataclass(frozen=True)
class Found:
    """Utterances sorted by split, speaker and name; what was passed over, with counts; how splits were made."""

    utterances: list[Utterance]
    skipped: dict[str, int]
    split_rule: str


def scan_speakers(root: Path) -> Found:
    """Any corpus with one folder a speaker: `speaker/utterance.wav`, at any depth.

    A folder `train...` above the speakers makes them training speakers, `dev...` or `valid...` validation, and
    `test...` test speakers; validation speakers are taken from the test speakers (two of five) where there are none
    of their own. Without such folders 70 % of the speakers train, the others are halved. Nobody is in two splits.

    Raises:
        UserError: no audio, a speaker in two parts, or too few speakers with two utterances to make trials.
    """
    parts: dict[str, set[str]] = {}
    found: list[tuple[str, str, Path]] = []
    files, skipped = walk(root)
    for path in files:
        relative = path.relative_to(root)
        if path.suffix.lower() not in SUFFIXES:
            skipped["files that are no audio"] += 1
            continue
        if len(relative.parts) < 2:
            skipped["audio files outside speakers' folders"] += 1
            continue
        speaker, part = relative.parts[-2], _part_of(relative.parts[:-2])
        parts.setdefault(speaker, set()).add(part)
        found.append((speaker, part, path))
    if not found:
        raise UserError(f"{root} holds no speaker/utterance.(wav|flac|sph); --from names the folder above.")
    twice = sorted(speaker for speaker, places in parts.items() if len(places) > 1)
    if twice:
        raise UserError(
            f"{root}: speaker {twice[0]} lies in two parts ({' and '.join(sorted(parts[twice[0]]))}); "
            "a speaker may be in one split only."
        )
    counts = Counter(speaker for speaker, _, _ in found)
    split_of, rule = _speaker_splits({speaker: next(iter(place)) for speaker, place in parts.items()}, counts)
    utterances = sorted(
        (Utterance(path, speaker, path.stem, split_of[speaker]) for speaker, _, path in found),
        key=lambda u: (SPLITS.index(u.split), u.speaker, u.name),
    )
    _check_trials(root, utterances)
    return Found(utterances, dict(skipped), rule)


def _part_of(folders: tuple[str, ...]) -> str:
    for folder in folders:
        for prefix, split in (("train", "train"), ("dev", "validation"), ("valid", "validation"), ("test", "test")):
            if folder.lower().startswith(prefix):
                return split
    return ""


def _speaker_splits(parts: dict[str, str], counts: Counter[str]) -> tuple[dict[str, str], str]:
    speakers = sorted(parts)
    rng = np.random.default_rng(derive("speakers", *speakers))
    named = set(parts.values())
    if {"train", "test"} <= named and "" not in named:
        split_of = dict(parts)
        if "validation" not in named:
            testers = [speaker for speaker in speakers if parts[speaker] == "test"]
            for i in rng.permutation(len(testers))[: max(2, 2 * len(testers) // 5)]:
                split_of[testers[i]] = "validation"
            return split_of, "by speaker: the corpus' training part; its test speakers, two of five for validation"
        return split_of, "by speaker: the corpus' own parts"
    # Speakers with one utterance make no target trials: they train.
    heard_twice = [speaker for speaker in speakers if counts[speaker] > 1]
    n_held = max(2, round(0.15 * len(speakers)))
    held = [heard_twice[i] for i in rng.permutation(len(heard_twice))[: 2 * n_held]]
    split_of = dict.fromkeys(speakers, "train")
    split_of.update(dict.fromkeys(held[::2], "validation"))
    split_of.update(dict.fromkeys(held[1::2], "test"))
    return split_of, "by speaker: about 70 % train, the others are halved into validation and test"


def _check_trials(root: Path, utterances: list[Utterance]) -> None:
    for split in SPLITS:
        counts = Counter(utterance.speaker for utterance in utterances if utterance.split == split)
        if len(counts) < 2 or (split != "train" and max(counts.values()) < 2):
            raise UserError(
                f"{root}: {len(counts)} {split} speakers, {sum(counts.values())} utterances, are too few: "
                "training, validation and test need two speakers each, of whom one is heard twice."
            )


_DIGIT_FILE = re.compile(r"(?P<digit>[0-9])_(?P<speaker>[a-z]+)_(?P<recording>[0-9]+)", re.IGNORECASE)
_DIGIT_TEST = range(5)


def scan_digits(root: Path) -> Found:
    """The Free Spoken Digit Dataset, `digit_speaker_recording.wav`: recordings 0-4 test (its own rule), 5 validates.

    Six speakers are too few to keep apart, so every split has all of them: verification is closed-set here.

    Raises:
        UserError: no such files.
    """
    utterances = []
    files, skipped = walk(root)
    for path in files:
        match = _DIGIT_FILE.fullmatch(path.stem)
        if match is None or path.suffix.lower() not in SUFFIXES:
            skipped["files with another name"] += 1
            continue
        recording = int(match["recording"])
        split = "test" if recording in _DIGIT_TEST else "validation" if recording == 5 else "train"
        utterances.append(Utterance(path, match["speaker"].lower(), path.stem, split, word=int(match["digit"])))
    if not utterances:
        raise UserError(f"{root} holds no digit_speaker_recording.wav; --from names the folder of these files.")
    utterances.sort(key=lambda u: (SPLITS.index(u.split), u.speaker, u.name))
    _check_trials(root, utterances)
    return Found(
        utterances,
        dict(skipped),
        "by recording: 0-4 test, 5 validates, the others train; the six speakers are in every split",
    )
