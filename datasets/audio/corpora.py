"""What a folder of speech holds: files, speakers, splits and transcripts, found by name and checked before use.

Layouts: the TIMIT licence's, `speaker/utterance.(wav|flac|sph)` with or without folders of training and test
speakers above, and the Free Spoken Digit Dataset's flat folder.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.seeds import derive
from seqdis.datasets.audio.features import SUFFIXES

SPLITS = ("train", "validation", "test")
UNLABELLED = -1

_DEV = """
    FADG0 FAKS0 FCAL1 FCMH0 FDAC1 FDMS0 FDRW0 FEDW0 FGJD0 FJEM0 FJMG0 FJSJ0 FKMS0 FMAH0 FMML0 FNMR0 FREW0 FSEM0 MAJC0
    MBDG0 MBNS0 MBWM0 MCSH0 MDLF0 MDLS0 MDVC0 MERS0 MGJF0 MGLB0 MGWT0 MJAR0 MJFC0 MJSW0 MMDB1 MMDM2 MMJR0 MMWH0 MPDF0
    MRCS0 MREB0 MRJM4 MRJR0 MROA0 MRTK0 MRWS1 MTAA0 MTDT0 MTEB0 MTHC0 MWJG0"""
_CORE_TEST = """
    FDHC0 FELC0 FJLM0 FMGD0 FMLD0 FNLP0 FPAS0 FPKT0 MBPM0 MCMJ0 MDAB0 MGRT0 MJDH0 MJLN0 MJMP0 MKLT0 MLLL0 MLNT0 MNJM0
    MPAM0 MTAS1 MTLS0 MWBT0 MWEW0"""
DEV_SPEAKERS = frozenset(_DEV.split())
CORE_TEST_SPEAKERS = frozenset(_CORE_TEST.split())
N_TRAIN_SPEAKERS = 462
SENTENCES, SENTENCES_WITH_SA = 8, 10

# The usual folding of TIMIT's 61 symbols (Lee and Hon 1989); q, the glottal stop, is left out.
_FOLDED = {
    "ao": "aa",
    "ax": "ah",
    "ax-h": "ah",
    "axr": "er",
    "hv": "hh",
    "ix": "ih",
    "el": "l",
    "em": "m",
    "en": "n",
    "nx": "n",
    "eng": "ng",
    "zh": "sh",
    "ux": "uw",
    "pcl": "sil",
    "tcl": "sil",
    "kcl": "sil",
    "bcl": "sil",
    "dcl": "sil",
    "gcl": "sil",
    "h#": "sil",
    "pau": "sil",
    "epi": "sil",
}
_CLASSES = """aa ae ah aw ay b ch d dh dx eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh sil t th uh uw v w y z"""
PHONES = tuple(_CLASSES.split())
PHONE_NUMBER = {
    **{name: i for i, name in enumerate(PHONES)},
    **{name: PHONES.index(folded) for name, folded in _FOLDED.items()},
    "q": UNLABELLED,
}


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


def walk(root: Path) -> list[Path]:
    """Every file below `root`, sorted; folder links are not followed.

    Raises:
        UserError: it is no folder, or a folder in it cannot be read.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; name the corpus' folder with --from.")

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}); make it readable and run again.")

    return sorted(Path(folder) / name for folder, _, names in os.walk(root, onerror=refuse) for name in names)


def is_riff(path: Path) -> bool:
    """Whether a file begins like an ordinary WAV file."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"RIFF"
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error


def scan_timit(root: Path, *, with_sa: bool = False) -> Found:
    """TIMIT as it comes from the LDC: 462 training, 50 development and 24 core-test speakers.

    Names match in any case, `TIMIT/` or `data/` may lie above, and of `SA1.WAV` and `SA1.WAV.wav` the RIFF file is
    taken. The other 94 speakers of the TEST folder are not used, as in the usual recipe.

    Args:
        with_sa: keep the two sentences that everybody reads; they let text pass for a speaker.

    Raises:
        UserError: not TIMIT, a speaker in both folders, speakers or sentences missing, or some transcripts missing.
    """
    audio: dict[tuple[str, str, str], list[Path]] = {}
    transcripts: dict[tuple[str, str, str], Path] = {}
    for path in walk(root):
        parts = [part.upper() for part in path.relative_to(root).parts]
        if len(parts) < 4 or parts[-4] not in ("TRAIN", "TEST") or not re.fullmatch(r"DR[1-8]", parts[-3]):
            continue
        key = (parts[-4], parts[-2], parts[-1].split(".")[0])
        if parts[-1].endswith(".PHN"):
            transcripts[key] = path
        elif parts[-1].endswith((".WAV", ".SPH", ".FLAC")):
            audio.setdefault(key, []).append(path)
    _check_timit_speakers(root, audio)
    skipped = Counter[str]()
    utterances = []
    for (part, speaker, sentence), paths in sorted(audio.items()):
        split = _timit_split(part, speaker)
        if not split or (sentence.startswith("SA") and not with_sa):
            skipped["speakers outside the core test" if not split else "SA sentences"] += 1
            continue
        skipped["second copies of a file"] += len(paths) - 1
        path = min(paths, key=lambda candidate: (not is_riff(candidate), len(candidate.name)))
        utterances.append(Utterance(path, speaker, sentence, split, transcripts.get((part, speaker, sentence))))
    _check_timit_sentences(root, utterances, SENTENCES_WITH_SA if with_sa else SENTENCES)
    utterances.sort(key=lambda utterance: (SPLITS.index(utterance.split), utterance.speaker, utterance.name))
    return Found(
        utterances,
        {key: n for key, n in skipped.items() if n},
        "by speaker: the 462 of TRAIN, 50 development and 24 core-test speakers of TEST"
        + ("" if with_sa else "; SA sentences left out"),
    )


def _timit_split(part: str, speaker: str) -> str:
    if part == "TRAIN":
        return "train"
    return "validation" if speaker in DEV_SPEAKERS else "test" if speaker in CORE_TEST_SPEAKERS else ""


def _check_timit_speakers(root: Path, audio: dict[tuple[str, str, str], list[Path]]) -> None:
    found = {part: {speaker for folder, speaker, _ in audio if folder == part} for part in ("TRAIN", "TEST")}
    if not any(found.values()):
        raise UserError(
            f"{root} is not TIMIT: no TRAIN/DR1/SPEAKER/*.WAV below it. --from names the folder that holds "
            "TRAIN and TEST (corpus LDC93S1)."
        )
    twice = sorted(found["TRAIN"] & found["TEST"])
    if twice:
        raise UserError(f"{root}: speaker {twice[0]} lies in both TRAIN and TEST ({len(twice)} such); remove one copy.")
    if len(found["TRAIN"]) != N_TRAIN_SPEAKERS:
        raise UserError(
            f"{root}/TRAIN has {len(found['TRAIN'])} speakers instead of {N_TRAIN_SPEAKERS}; copy the corpus again."
        )
    missing = sorted((DEV_SPEAKERS | CORE_TEST_SPEAKERS) - found["TEST"])
    if missing:
        raise UserError(f"{root}/TEST lacks {len(missing)} speakers, {missing[0]} first; copy the corpus again.")


def _check_timit_sentences(root: Path, utterances: list[Utterance], expected: int) -> None:
    counts = Counter(utterance.speaker for utterance in utterances)
    wrong = next((speaker for speaker, n in sorted(counts.items()) if n != expected), None)
    if wrong is not None:
        raise UserError(f"{root}: speaker {wrong} has {counts[wrong]} of {expected} sentences; copy the corpus again.")
    without = [utterance for utterance in utterances if utterance.transcript is None]
    if without and len(without) < len(utterances):
        raise UserError(
            f"{without[0].path} has no .PHN file beside it ({len(without)} of {len(utterances)} lack one); "
            "copy the transcripts again, or remove them all to go without phone labels."
        )


def read_phones(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ends (P,) in samples and classes (P,) of a .PHN file, folded to 39 (-1 for the glottal stop).

    Raises:
        UserError: a line that is not `start end phone`, times that run backwards, or an unknown phone.
    """
    ends: list[int] = []
    phones: list[int] = []
    try:
        lines = path.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a transcript ({error}).") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            start, end, phone = line.split()
            if not 0 <= int(start) <= int(end) or (ends and int(end) < ends[-1]):
                raise ValueError("times run backwards")
            ends.append(int(end))
            phones.append(PHONE_NUMBER[phone.lower()])
        except (ValueError, KeyError) as error:
            raise UserError(f"{path}, line {number}: {line.strip()!r} is not 'start end phone' ({error}).") from None
    if not ends:
        raise UserError(f"{path} is empty: a transcript has a line for each phone.")
    return np.asarray(ends), np.asarray(phones)


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
    skipped = Counter[str]()
    for path in walk(root):
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
    utterances, skipped = [], Counter[str]()
    for path in walk(root):
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


Scan = Callable[[Path], Found]
