"""TIMIT's files (LDC93S1): utterances, splits and transcripts, found by name and checked before use.

    [TIMIT/]<TRAIN or TEST>/DR<1-8>/<speaker>/<sentence>.(WAV|SPH|FLAC|PHN)

Names match in any case.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from seqdis.bench.core.errors import UserError
from seqdis.datasets.audio.layouts import Found, Utterance
from seqdis.datasets.base import SPLITS
from seqdis.datasets.folders import walk

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


def is_riff(path: Path) -> bool:
    """Whether a file begins like an ordinary WAV file."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"RIFF"
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error


def scan(root: Path, *, with_sa: bool = False) -> Found:
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
    files, skipped = walk(root)
    for path in files:
        parts = [part.upper() for part in path.relative_to(root).parts]
        if len(parts) < 4 or parts[-4] not in ("TRAIN", "TEST") or not re.fullmatch(r"DR[1-8]", parts[-3]):
            continue
        key = (parts[-4], parts[-2], parts[-1].split(".")[0])
        if parts[-1].endswith(".PHN"):
            transcripts[key] = path
        elif parts[-1].endswith((".WAV", ".SPH", ".FLAC")):
            audio.setdefault(key, []).append(path)
    _check_speakers(root, audio)
    utterances = []
    for (part, speaker, sentence), paths in sorted(audio.items()):
        split = _split_of(part, speaker)
        if not split or (sentence.startswith("SA") and not with_sa):
            skipped["speakers outside the core test" if not split else "SA sentences"] += 1
            continue
        skipped["second copies of a file"] += len(paths) - 1
        path = min(paths, key=lambda candidate: (not is_riff(candidate), len(candidate.name)))
        utterances.append(Utterance(path, speaker, sentence, split, transcripts.get((part, speaker, sentence))))
    _check_sentences(root, utterances, SENTENCES_WITH_SA if with_sa else SENTENCES)
    utterances.sort(key=lambda utterance: (SPLITS.index(utterance.split), utterance.speaker, utterance.name))
    return Found(
        utterances,
        {key: n for key, n in skipped.items() if n},
        "by speaker: the 462 of TRAIN, 50 development and 24 core-test speakers of TEST"
        + ("" if with_sa else "; SA sentences left out"),
    )


def _split_of(part: str, speaker: str) -> str:
    if part == "TRAIN":
        return "train"
    return "validation" if speaker in DEV_SPEAKERS else "test" if speaker in CORE_TEST_SPEAKERS else ""


def _check_speakers(root: Path, audio: dict[tuple[str, str, str], list[Path]]) -> None:
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


def _check_sentences(root: Path, utterances: list[Utterance], expected: int) -> None:
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
