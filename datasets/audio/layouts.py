"""What a folder of speech holds: files, speakers and splits, found by name and checked before use.

Layouts: `speaker/utterance.(wav|flac|sph)` with or without folders of training and test speakers above, the same with
folders of chapters or videos below the speakers (LibriSpeech, VoxCeleb), and the Free Spoken Digit Dataset's flat
folder. TIMIT's is in `timit_files`.
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
    """Any corpus with one folder a speaker: `speaker/utterance.wav`, at any depth (see `_speakers`).

    A folder `train...` above the speakers makes them training speakers, `dev...` or `valid...` validation, and
    `test...` test speakers; validation speakers are taken from the test speakers (two of five) where there are none
    of their own. Without such folders 70 % of the speakers train, the others are halved. Nobody is in two splits.

    Raises:
        UserError: no audio, folders that do not say who speaks, a speaker in two parts, or too few speakers with two
            utterances to make trials.
    """
    parts: dict[str, set[str]] = {}
    audio: list[Path] = []
    files, skipped = walk(root)
    for path in files:
        relative = path.relative_to(root)
        if path.suffix.lower() not in SUFFIXES:
            skipped["files that are no audio"] += 1
            continue
        if len(relative.parts) < 2:
            skipped["audio files outside speakers' folders"] += 1
            continue
        audio.append(relative)
    if not audio:
        raise UserError(f"{root} holds no speaker/utterance.(wav|flac|sph); --from names the folder above.")
    speakers = _speakers(root, audio)
    for speaker, path in zip(speakers, audio, strict=True):
        parts.setdefault(speaker, set()).add(_part_of(path.parts[:-2]))
    twice = sorted(speaker for speaker, places in parts.items() if len(places) > 1)
    if twice:
        raise UserError(
            f"{root}: speaker {twice[0]} lies in two parts ({' and '.join(sorted(parts[twice[0]]))}); "
            "a speaker may be in one split only."
        )
    counts = Counter(speakers)
    split_of, rule = _speaker_splits({speaker: next(iter(place)) for speaker, place in parts.items()}, counts)
    utterances = sorted(
        (Utterance(root / path, who, path.stem, split_of[who]) for who, path in zip(speakers, audio, strict=True)),
        key=lambda u: (SPLITS.index(u.split), u.speaker, u.name),
    )
    _check_trials(root, utterances)
    return Found(utterances, dict(skipped), rule)


_LIBRISPEECH = re.compile(r"(?P<speaker>[0-9]+)-(?P<chapter>[0-9]+)-[0-9]+")
_VOXCELEB = re.compile(r"id[0-9]+")
_GROUP = re.compile(r"(fe)?males?|[mf]|(wo)?men|dr[1-8]", re.IGNORECASE)


def _speakers(root: Path, audio: list[Path]) -> list[str]:
    """Who speaks in each file (paths below `root`).

    Names like LibriSpeech's say it. Else it is the file's folder, where no folders but parts, groups (sex, dialect) and
    what all files share lie around it. Where folders lie in folders, it is the one with whose name every file's begins
    (LibriTTS), or VoxCeleb's `id10001`.

    Raises:
        UserError: nothing of that tells.
    """
    named = [_LIBRISPEECH.fullmatch(path.stem) for path in audio]
    if all(m and path.parts[-2] in m.groups() for m, path in zip(named, audio, strict=True)):
        return [m["speaker"] for m in named if m]
    chains = [
        [*(name for name in path.parts[:-2] if not _part_of((name,)) and not _GROUP.fullmatch(name)), path.parts[-2]]
        for path in audio
    ]
    for end in (0, -1):
        while len({chain[end] for chain in chains}) == 1 and all(len(chain) > 1 for chain in chains):
            for chain in chains:
                chain.pop(end)
    if all(len(chain) == 1 for chain in chains):
        speakers = [chain[0] for chain in chains]
        if all(_part_of((name,)) for name in speakers):
            raise UserError(f"{root} has no folders of speakers: {audio[0]} lies directly in a part of the corpus.")
        return speakers
    for told in (
        lambda name, stem: re.match(re.escape(name) + r"[\W_]", stem),
        lambda name, _: _VOXCELEB.fullmatch(name),
    ):
        first = [next((name for name in c if told(name, p.stem)), "") for c, p in zip(chains, audio, strict=True)]
        if all(first):
            return first
    deep = max(range(len(audio)), key=lambda i: len(chains[i]))
    raise UserError(
        f"{root}: {audio[deep]} lies in folders of folders, and neither they nor its name say whether "
        f"{' or '.join(chains[deep])} is the speaker; give each speaker one folder with all its files."
    )


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
