"""What a hostile case is, and texts and values that several kinds of cases share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

TAKEN = ""
"""What is expected of a case that is no fault."""

HUGE = "9" * 400
DEEP = "[" * 3000
LONG = "x" * 100_000
ESCAPE = "\x1b]0;owned\x07\x1b[2J"
TURNED = "\u202egnp.exe\u2066"
EVIL = f"{ESCAPE}{TURNED}<script>alert(1)</script>\\input{{/etc/passwd}}=1+1;$(touch owned)`touch owned`"

Lay = Callable[[Path], object]


def nothing(root: Path) -> None:
    """Lays no file."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One hostile thing and the answer to it.

    Attributes:
        name: unique within its kind.
        line: the command line's words; "{root}" stands for the case's folder, where the process is.
        answer: a pattern of the sentence that refuses it; `TAKEN` where it is taken.
        lay: writes the case's files into its folder.
        variables: of the environment.
    """

    kind: str
    name: str
    line: tuple[str, ...]
    answer: str
    lay: Lay = nothing
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind}-{self.name}"


def written(name: str, content: str | bytes) -> Lay:
    """Lays one file."""

    def lay(root: Path) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))

    return lay


def short(value: Any) -> str:
    """A value as part of a test's name."""
    text = "".join(char if char.isalnum() or char in "._=-" else "_" for char in str(value))
    return f"{text[:30]}{f'~{len(text)}' if len(text) > 30 else ''}"
