"""What a process inherits and would stumble over, put right when it starts. Standard library only."""

from __future__ import annotations

import codecs
import getpass
import io
import os
import sys
import unicodedata

_PLAIN = {
    **{"↑": "^", "↓": "v", "→": "->", "±": "+-", "×": "x", "≥": ">=", "≤": "<=", "·": ".", "…": "...", "°": "o"},
    **{"–": "-", "—": "-", "−": "-", "“": '"', "”": '"', "‘": "'", "’": "'", "†": "#", "‡": "##", "§": "section "},
    **{**dict.fromkeys("─━", "-"), **dict.fromkeys("│┃", "|")},
    **{"α": "alpha", "β": "beta", "γ": "gamma", "Δ": "delta "},
}
"""What stands for a sign where the encoding has none."""
_ERRORS = "seqdis-plain"
SLEEPING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""OpenMP's threads sleep while they wait for one another, and do not spin: beside a busy neighbour a step of two spinning
threads takes many times as long as one of a single thread. Read when torch is loaded."""


def settle() -> None:
    """Makes the process independent of where it was started; each process of the suite calls it first.

    - A user id without a name (a container with an arbitrary one) gets a name: torch asks for it when it trains.
    - matplotlib draws into files: the backend of a notebook, inherited by `!bench`, need not exist here.
    - Threads sleep while they wait, unless the user's variables say otherwise.
    - Printing never fails on an encoding that has no arrows: ASCII stands for them.
    """
    os.environ["MPLBACKEND"] = "agg"
    for name, value in SLEEPING.items():
        os.environ.setdefault(name, value)
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"uid{os.getuid()}"
    codecs.register_error(_ERRORS, _plain)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors=_ERRORS)


def _plain(error: UnicodeError) -> tuple[str, int]:
    """A codec's error handler: ASCII for what cannot be encoded; letters lose their accents, the rest becomes '?'."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign) or _stripped(sign) for sign in signs), error.end


def _stripped(sign: str) -> str:
    plain = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return plain or ("" if unicodedata.combining(sign) else "?")
