"""Errors that a user can act on. They are shown as one sentence, with exit code 2 and no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from seqdis.bench.core.rules import shown

LONGEST_NAME = 200


class UserError(Exception):
    """Something the user can put right: the message says what is wrong and what to type or do next."""


class MissingDataError(UserError):
    """A data set is not on this machine. `command` gets it."""

    def __init__(self, message: str, command: str) -> None:
        super().__init__(f"{message} Get it with: {command}")
        self.command = command


def unknown_name(kind: str, name: str, known: Iterable[str], listing: str) -> UserError:
    """The error for a name that is not in `known`, with the nearest one that is.

    Args:
        kind: what the name stands for, such as "method".
        name: what the user typed.
        known: the valid names.
        listing: the command that lists them.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name[:LONGEST_NAME].lower(), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return UserError(f"unknown {kind} {shown(name)}{hint} '{listing}' shows all {len(known)}.")
