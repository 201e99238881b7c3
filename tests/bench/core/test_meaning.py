"""Digests of what Python files do."""

from __future__ import annotations

import pytest

from seqdis.bench.core.meaning import parsed

TEXT = b"""
def f(a, *, b=1):
    return {**a, 'b': f'{b:>{3}} of {a!r}'}
"""
SAME = (
    b'"""A module."""\ndef f(a, *, b=1):\n    "what it does"\n    return {**a, "b": f"{b:>{3}} of {a!r}"}  # c\n',
    TEXT.replace(b"'b': f'{b:>{3}} of {a!r}'", b"'b': f'{b:>{3}} ' 'o' f'f {a!r}'"),
    TEXT.replace(b"a, *, b=1", b"\n    a,\n    *,\n    b=(1),\n"),
)
OTHER = (
    TEXT.replace(b"b=1", b"b=1.0"),
    TEXT.replace(b"b=1", b"b=True"),
    TEXT.replace(b"'b':", b"b'b':"),
    TEXT.replace(b"a!r", b"a!s"),
    TEXT.replace(b"**a,", b"a: a,"),
    TEXT.replace(b"*, ", b""),
    TEXT.replace(b" of ", b" or "),
    TEXT + b"\nf(1)\n",
    b"no Python: \x00",
    b"def def",
)


def test_what_does_nothing_is_left_out() -> None:
    assert {parsed(text).digest for text in SAME} == {parsed(TEXT).digest}


def test_what_does_something_else_has_another_digest() -> None:
    assert len({parsed(text).digest for text in (TEXT, *OTHER)}) == 1 + len(OTHER)


def test_a_digest_is_what_it_was_whatever_the_version_of_python() -> None:
    """What a record says must mean the same to another Python: this is how trees are written."""
    assert parsed(TEXT).digest == "fa8dc4bd359345b7fe591b4bcdb341d477697988e2b725db23958a19b57b2e09"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b"import a.b, c as d", ("a.b", "c")),
        (b"from a import b, c\nfrom a import b", ("a.b", "a.c")),
        (b"from . import a\nfrom ..b import c", (".a", "..b.c")),
        (b"def f():\n    import a", ("a",)),
        (b"import a\nimport", ()),
    ],
)
def test_imports_are_told_as_they_are_written(text: bytes, names: tuple[str, ...]) -> None:
    assert parsed(text).imports == names
