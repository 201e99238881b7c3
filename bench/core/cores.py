"""Cores and threads: how many of the machine's are a process's own, and who says so. Standard library only."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path

SLURM_CORES = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
"""What a job may use; the first that is set counts."""


@dataclasses.dataclass(frozen=True)
class Counted:
    """A number of cores or threads, and who says so."""

    count: int
    says: str


def cores() -> int:
    """CPU cores that this process may use."""
    return granted().count


def granted(root: Path = Path("/")) -> Counted:
    """The cores that this process may use: the least of what SLURM, a cgroup's quota and the affinity grant.

    An affinity of all cores says nothing where a quota holds a container to two of them, and SLURM without cgroups
    confines nobody, so that a job must keep to what it asked for.

    Args:
        root: of the file system that cgroups are read from.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = [Counted(count, name) for name in SLURM_CORES if (count := _number(os.environ.get(name))) is not None][:1]
    # Less than one core is one thread that waits; of one and a half the half would only be waited for.
    found += [Counted(max(1, int(quota)), f"a cgroup's quota of {quota:g}") for quota in _quotas(root)]
    return min([*found, Counted(affinity, "affinity")], key=lambda one: one.count)


def cell_threads(asked: int | None = None, default: int = 1) -> Counted:
    """CPU threads of a cell: as many as were asked for, else OMP_NUM_THREADS, else one.

    The numbers of a cell hang on its threads, so the default is the same however many cells run at once and wherever.

    Args:
        asked: by --threads or by the launcher.
        default: where a cell's numbers do not hang on them, as on a GPU.
    """
    said = os.environ.get("OMP_NUM_THREADS", "")
    wanted, most = _number(said.partition(",")[0]), cores()
    if asked is not None:
        return Counted(asked, "as asked for")
    if wanted is not None:
        held = f", held to {most} cores" if wanted > most else ""
        return Counted(min(wanted, most), f"OMP_NUM_THREADS={wanted}{held}")
    return Counted(default, "the default")


def _number(text: str | None) -> int | None:
    """The number from 1 on that a variable says; None of another text."""
    text = (text or "").strip()
    return int(text) if re.fullmatch(r"0*[1-9]\d{0,5}", text) else None


def _quotas(root: Path) -> Iterator[float]:
    """Cores that this process's cgroups, and those above them, grant in the mean; none where there is no bound."""
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds and "cpu" not in kinds.split(","):
                continue
            mount = root / "sys/fs/cgroup" / kinds
            # Within a container the path may be the host's: what is mounted is then its own group.
            for folder in dict.fromkeys([mount / path.strip("/"), *(mount / path.strip("/")).parents, mount]):
                if folder.is_relative_to(mount):
                    yield from _version_1(folder) if kinds else _version_2(folder)


def _version_2(folder: Path) -> Iterator[float]:
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (folder / "cpu.max").read_text().split()
        if quota != "max":
            yield int(quota) / int(period)


def _version_1(folder: Path) -> Iterator[float]:
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        if quota > 0:
            yield quota / period
