"""The words of a process that a launcher starts: FOLDER [--name VALUE ...]. People type at `bench`, which has more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.rules import shown


def folder_and_options(argv: Sequence[str], names: Sequence[str]) -> tuple[Path, dict[str, str]]:
    """The folder, and the values by option name ("data-dir") of those that are given.

    Args:
        argv: the words after the program's name.
        names: the options there are.

    Raises:
        UserError: no folder, another option, or one without a value.
    """
    folder, flags, values = argv[:1], argv[1::2], argv[2::2]
    known = [f"--{name}" for name in names]
    if not folder or folder[0].startswith("-") or len(flags) != len(values) or not set(flags) <= set(known):
        wanted = " ".join(f"[{flag} VALUE]" for flag in known)
        raise UserError(f"{' '.join(argv) or 'nothing'!r} is not of the form FOLDER {wanted}.")
    return Path(folder[0]), {flag.removeprefix("--"): value for flag, value in zip(flags, values, strict=True)}


def check_range(flag: str, number: float | None, least: float, most: float) -> None:
    """Looks whether a number that may have been typed is in [least, most].

    Raises:
        UserError: it is not.
    """
    if number is not None and not least <= number <= most:
        why = "runs nothing" if number < least == 1 else "is out of range"
        raise UserError(f"{flag} {shown(number)} {why}; give {least} to {most}.")
