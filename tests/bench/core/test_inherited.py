"""What a process inherits: a user without a name, a notebook's backend, an encoding without arrows."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

NAMES = ("USER", "LOGNAME", "LNAME", "USERNAME")
SETTLED = "from seqdis.bench.core.inherited import settle; settle(); "


def python(code: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    line = [sys.executable, "-P", "-c", code]
    return subprocess.run(line, env={**kept, **environment}, capture_output=True, timeout=120, check=False)


def test_user_id_without_a_name_gets_one_that_torch_can_use() -> None:
    nameless = "import pwd\ndef none(uid): raise KeyError(uid)\npwd.getpwuid = none\n"
    ask = "import getpass; print(getpass.getuser())"
    assert b"KeyError" in python(nameless + ask).stderr
    done = python(f"{nameless}{SETTLED}{ask}")
    assert done.stdout.strip() == f"uid{os.getuid()}".encode(), done.stderr
    assert python(SETTLED + ask, LOGNAME="somebody").stdout.strip() == b"somebody"


def test_backend_of_a_notebook_is_not_inherited() -> None:
    draw = "import matplotlib.figure; matplotlib.figure.Figure().savefig('/dev/null', format='png')"
    done = python(SETTLED + draw, MPLBACKEND="module://there_is_no_such_backend")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "Acc ↑ 4±2† ─ z̄ é \N{SNOWMAN}".encode()),
        ("latin-1", b"Acc ^ 4\xb12# - z \xe9 ?"),
        ("ascii", b"Acc ^ 4+-2# - z e ?"),
    ],
)
def test_printing_takes_ascii_for_what_an_encoding_has_not(encoding: str, shown: bytes) -> None:
    text = "Acc ↑ 4±2† ─ z̄ é \N{SNOWMAN}"
    done = python(f"{SETTLED}print({text!r})", PYTHONIOENCODING=encoding)
    assert done.stdout.rstrip(b"\n") == shown, done.stderr
