"""The 39 phones that frames of speech are labelled with, and transcripts in TIMIT's .PHN files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.rules import shown

Phones = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Ends (P,) in samples and classes (P,) of an utterance's phones."""

UNLABELLED = -1
LAST_SAMPLE = 1 << 40

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


def read_phones(path: Path) -> Phones:
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
            if int(end) > LAST_SAMPLE:
                raise ValueError("no utterance is that long")
            if not 0 <= int(start) <= int(end) or (ends and int(end) < ends[-1]):
                raise ValueError("times run backwards")
            ends.append(int(end))
            phones.append(PHONE_NUMBER[phone.lower()])
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{path}, line {number}: {shown(line.strip())} is not 'start end phone' ({error})."
            ) from None
    if not ends:
        raise UserError(f"{path} is empty: a transcript has a line for each phone.")
    return np.asarray(ends), np.asarray(phones)
