"""Data sets that are prepared into a cache of ours: where it lies, opening it and verifying it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from seqdis.bench.core.errors import UserError
from seqdis.datasets.base import DataSet, Source, Spec
from seqdis.datasets.cache import Cache, Progress, open_cache, verify_cache


class PreparedDataSet(DataSet):
    """A data set with a cache folder for each source, size and choice of its stored options.

    Subclasses say where that folder lies and what prepares it; `describe`, `prepare`, `open` and the splits are theirs.
    """

    title: ClassVar[str]
    cache: Cache

    def __init__(self, cache: Cache, spec: Spec) -> None:
        self.cache = cache
        self.digest = cache.digest
        self.spec = spec

    @classmethod
    def folder(cls, root: Path, source: Source, size: int = 64, **options: Any) -> Path:
        """The cache folder.

        Raises:
            UserError: a source, size or option that the data set does not have.
        """
        raise NotImplementedError

    @classmethod
    def command(cls, root: Path, source: Source, size: int = 64, **options: Any) -> str:
        """The command that prepares it."""
        raise NotImplementedError

    @classmethod
    def current_revision(cls, source: Source, size: int = 64, **options: Any) -> str:
        """The revision that a cache must be of."""
        return cls.describe(source, size, **options).revision

    @classmethod
    def label(cls, source: Source, size: int) -> str:
        """What messages call the cache."""
        return cls.title

    @classmethod
    def check_source(cls, source: Source) -> None:
        """Refuses a source that the data set does not have.

        Raises:
            UserError: with those that it has.
        """
        if source not in cls.sources:
            raise UserError(f"{cls.name} has no source {source!r}; it has {' and '.join(cls.sources)}.")

    @classmethod
    def open_prepared(cls, root: Path, source: Source, size: int = 64, **options: Any) -> Cache:
        """The prepared cache.

        Raises:
            MissingDataError: it is not there; the error holds the command that makes it.
        """
        return open_cache(
            cls.folder(root, source, size, **options),
            revision=cls.current_revision(source, size, **options),
            title=cls.label(source, size),
            command=cls.command(root, source, size, **options),
        )

    @classmethod
    def verify(
        cls, root: Path, source: Source, size: int = 64, *, progress: Progress | None = None, **options: Any
    ) -> dict[str, str]:
        """Recomputes the cache's digests and compares. Returns array name -> SHA-256."""
        return verify_cache(
            cls.folder(root, source, size, **options),
            revision=cls.current_revision(source, size, **options),
            title=cls.label(source, size),
            command=cls.command(root, source, size, **options),
            progress=progress,
        )
