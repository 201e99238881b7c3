"""The environment that every worker gets, whoever starts it."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator, Mapping

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.inherited import SLEEPING
from seqdis.bench.core.rules import shown

# Keeps glibc from giving every activation back to the kernel: 1.04 to 1.35 times faster steps on a CPU.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "17179869184", "MALLOC_TRIM_THRESHOLD_": "17179869184"}


def check_device(name: str) -> None:
    """Whether it is the name of a device that the suite computes on, wherever that is.

    Raises:
        UserError: it is not (mps, xpu and other accelerators too: nothing here was checked on them).
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", name):
        raise UserError(
            f"unknown device {name!r}: the suite runs on a CPU or on GPUs; use --device auto, cpu, cuda or cuda:0."
        )


@contextlib.contextmanager
def variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Sets variables of this process's environment, which its workers inherit, and puts them back."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def number(name: str, default: float, least: float, most: float) -> float:
    """A variable's number, or the default where it is not set or empty.

    Raises:
        UserError: it is no number in [least, most].
    """
    text = os.environ.get(name) or str(default)
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not least <= found <= most:
        raise UserError(f"{name} is {shown(text)}: it is a number from {least:g} to {most:g}.")
    return found


WEIGHTS = "SEQDIS_WEIGHTS"
WEIGHTS_MIB = 512
TRACK = "SEQDIS_TRACK"
"""Trackers that cells tell of their numbers, by name."""


def weights_limit() -> int:
    """Bytes of weights that a finished cell may keep: $SEQDIS_WEIGHTS in MiB, or `no` for none (default: 512 MiB).

    Raises:
        UserError: it is neither.
    """
    text = os.environ.get(WEIGHTS, "") or str(WEIGHTS_MIB)
    if text == "no":
        return 0
    if not re.fullmatch(r"\d{1,6}", text):
        raise UserError(f"{WEIGHTS} is {text[:40]!r}: it is a number of MiB, or no.")
    return int(text) << 20


def worker_environment(threads: int) -> dict[str, str]:
    """Variables for a worker process: allocator, threads that sleep while they wait, and a path that our folders are not
    on.
    """
    # Without PYTHONSAFEPATH a worker started from the checkout would import our `datasets` in place of another's.
    counts = dict.fromkeys(("SEQDIS_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**SLEEPING, **os.environ, **MALLOC, **counts, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
