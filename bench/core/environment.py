"""The environment that every worker gets, whoever starts it."""

from __future__ import annotations

import os
import re

from seqdis.bench.core.errors import UserError

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


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_environment(threads: int | None = None) -> dict[str, str]:
    """Variables for a worker process: allocator, threads, and a path that our folders are not on.

    Args:
        threads: CPU threads of the worker; None leaves the choice to torch.
    """
    # Without PYTHONSAFEPATH a worker started from the checkout would import our `datasets` in place of another's.
    extra = {**MALLOC, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    if threads is not None:
        extra |= {"SEQDIS_THREADS": str(threads), "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return {**os.environ, **extra}
