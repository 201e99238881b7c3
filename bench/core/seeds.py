"""Seeds derived from names, so that adding a run, a step or a purpose never shifts the numbers of another."""

from __future__ import annotations

import hashlib


def derive(*parts: str | int) -> int:
    """A seed in [0, 2**63) from the parts, the same on every machine and in every Python.

    Example: `derive(0, "sprites", "initialise")`.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
