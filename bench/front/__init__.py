"""The benchmark suite for sequential disentanglement, as a library: the front door. Nothing is imported before it is used.

What is here: `run`, `records`, `table`, `load`, `judge`, `evaluate` (each documented in `seqdis.bench.commands.library`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqdis.bench.commands.library import evaluate, judge, load, records, run, table

__all__ = ["evaluate", "judge", "load", "records", "run", "table"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'seqdis' has no attribute {name!r}")
    from seqdis.bench.commands import library

    return getattr(library, name)


def __dir__() -> list[str]:
    return [*__all__]
