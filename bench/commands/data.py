"""`bench data`: prepares, verifies and shows data sets."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.bench.core.exits import DONE, say
from seqdis.bench.plan import catalog

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from seqdis.datasets.base import DataSet, Source, Value

HELP = """Data sets: prepared once into a folder of arrays that later opens at once.

  bench data prepare sprites                 download the sheets (pinned, checked) and compose the clips
  bench data prepare sprites --from DIR      the same from your copy of YingzhenLi/Sprites
  bench data prepare mug --from DIR          from your licensed copy: a folder, or a zip or tar archive of it
  bench data prepare mug --source synthetic  draw the stand-in
  bench data prepare timit --from DIR --set data.features=spec200
  bench data verify sprites                  recompute every digest
  bench data preview sprites --out FILE.png  a contact sheet"""

SIZES = (64, 32)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("prepare", "verify", "preview"), help="what to do")
    parser.add_argument("dataset", metavar="NAME", help="data set ('bench list datasets')")
    parser.add_argument(
        "--from",
        dest="from_dir",
        type=Path,
        metavar="DIR",
        help="your copy of the files: a folder, or a zip or tar archive, which is unpacked with care",
    )
    parser.add_argument("--source", choices=("real", "synthetic"), default="real", help="default: real")
    parser.add_argument("--size", type=int, help="side of the frames in pixels: 64 or 32 (default: both)")
    parser.add_argument(
        "--split", choices=("video", "subject"), help="mug: what the splits keep apart (default: video)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="data.NAME=VALUE",
        dest="options",
        help="an option of the data set, such as data.features=spec200 ('bench describe NAME' lists them)",
    )
    parser.add_argument("--data-dir", type=Path, help="prepared data (default: $SEQDIS_DATA or the user's cache)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="preview: the PNG (default: NAME-SOURCE.png)")
    parser.add_argument(
        "--part",
        choices=("train", "validation", "test"),
        default="train",
        help="preview: which split to show (default: train)",
    )


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The data set that is meant, in all the sizes that are asked for.

    Attributes:
        sizes: of frames in pixels, the preferred one first.
        root: where prepared data are.
        options: what opening it takes beside source and size.
    """

    name: str
    kind: type[DataSet]
    source: Source
    sizes: tuple[int, ...]
    root: Path
    options: Mapping[str, Value]

    def open(self, size: int) -> DataSet:
        """Raises MissingDataError if it is not prepared."""
        return self.kind.open(self.root, self.source, size, **self.options)

    def open_any(self) -> DataSet:
        """In the first size that is prepared. Raises MissingDataError if none is."""
        for size in self.sizes[:-1]:
            with contextlib.suppress(MissingDataError):
                return self.open(size)
        return self.open(self.sizes[-1])


def run(args: argparse.Namespace) -> int:
    wanted = _wanted(args)
    if args.action == "verify":
        return _verify(wanted)
    if args.action == "preview":
        return _preview(wanted, args.part, args.out or Path(f"{wanted.kind.name}-{wanted.source}.png"))
    with _files(args.from_dir, wanted) as files:
        return _prepare(wanted, files)


def _wanted(args: argparse.Namespace) -> Wanted:
    from seqdis.bench.core.places import data_root

    name = catalog.parse_datasets(args.dataset)[0]
    kind = catalog.load_dataset(name)
    if args.split and "split" not in kind.options:
        raise UserError(f"--split chooses how mug is split; {args.dataset} has one split.")
    if args.from_dir is not None:
        _check_files(args.from_dir)
    if args.source not in kind.sources:
        raise UserError(f"{args.dataset} has no {args.source} source; it has {' and '.join(kind.sources)}.")
    sizes = (args.size,) if args.size else SIZES
    options = _options(name, kind, args.options, args.split)
    return Wanted(name, kind, args.source, sizes, args.data_dir or data_root(), options)


def _options(name: str, kind: type[DataSet], typed: Sequence[str], split: str | None) -> dict[str, Value]:
    """What opening the data set takes beside source and size; what is the default anyway is left out."""
    from seqdis.bench.plan import settings
    from seqdis.bench.plan.cells import data_options

    given = settings.parse_overrides(typed)
    wrong = next((key for key in given if not key.startswith(settings.DATA)), None)
    if wrong is not None:
        raise UserError(
            f"--set {wrong} is no option of the data; write data.NAME=VALUE ('bench describe {name}' lists them)."
        )
    found: dict[str, Value] = data_options(name, given)
    if split:
        found["split"] = split
    return {option: value for option, value in found.items() if value != kind.options[option].default}


def _check_files(path: Path) -> None:
    from seqdis.bench.core.archive import SUFFIXES, is_archive

    if not path.exists():
        raise UserError(f"--from {path} is not there.")
    if not path.is_dir() and not is_archive(path):
        raise UserError(f"--from {path} is not a folder, and not an archive ({', '.join(SUFFIXES)}).")


@contextlib.contextmanager
def _files(given: Path | None, wanted: Wanted) -> Iterator[Path | None]:
    """The folder of the user's files. An archive is unpacked once for all sizes, if one of them is not there yet."""
    from seqdis.bench.core import archive

    if given is None or given.is_dir():
        yield given
        return
    try:
        for size in wanted.sizes:
            wanted.open(size)
    except UserError:
        say(f"unpacking {given}")
        with archive.opened(given, wanted.root) as folder:
            yield folder
    else:
        yield None


def _prepare(wanted: Wanted, files: Path | None) -> int:
    folders: set[Path] = set()
    for size in wanted.sizes:
        started = time.monotonic()
        with Progress() as progress:
            folder = wanted.kind.prepare(
                wanted.root, wanted.source, size, from_dir=files, progress=progress, **wanted.options
            )
        if folder in folders:  # one cache serves every size (audio, generated digits)
            continue
        folders.add(folder)
        dataset = wanted.open(size)
        counts = ", ".join(
            f"{len(split)} {name}"
            for name, split in (("training", dataset.train), ("validation", dataset.validation), ("test", dataset.test))
        )
        took = f" in {time.monotonic() - started:.1f} s" if progress.was_used else " (was there)"
        print(
            f"{dataset.spec.title} ({wanted.source}): {counts} clips of {dataset.spec.n_frames} frames in {folder}{took}"
        )
        _tell_skipped(dataset)
        if dataset.spec.attribution:
            print(f"  {dataset.spec.attribution}")
    return DONE


def _tell_skipped(dataset: DataSet) -> None:
    from seqdis.datasets.cache import META

    cache = dataset.cache
    if cache is None:
        return
    for reason, count in cache.skipped.items():
        print(f"  left out: {count} {reason}")
    for note in cache.notes[:10]:
        print(f"  {note}")
    if len(cache.notes) > 10:
        print(f"  and more, listed in {cache.folder / META}")


def _verify(wanted: Wanted) -> int:
    missing: list[MissingDataError] = []
    seen: set[tuple[tuple[str, str], ...]] = set()
    for size in wanted.sizes:
        try:
            checked = wanted.kind.verify(wanted.root, wanted.source, size, **wanted.options)
        except MissingDataError as error:
            missing.append(error)
            continue
        if tuple(checked.items()) in seen:
            continue
        seen.add(tuple(checked.items()))
        print(f"{wanted.kind.name} ({wanted.source}, {size}): every digest matches")
        for name, sha in checked.items():
            print(f"  {name:32} {sha}")
    if not seen:
        raise missing[0]
    return DONE


def _preview(wanted: Wanted, part: str, out: Path) -> int:
    from seqdis.bench.core.files import write_output
    from seqdis.datasets.preview import contact_sheet

    dataset = wanted.open_any()
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: a contact sheet is a PNG; give a name that ends with .png.")
    if not dataset.spec.may_show:
        print(
            f"{dataset.spec.title} may not be published: keep {out} to yourself ({dataset.spec.licence}).",
            file=sys.stderr,
        )
    write_output(out, contact_sheet(dataset.splits[part], dataset.spec))
    print(out)
    return DONE


class Progress:
    """Shows a bar on a terminal, else a line each quarter. Called with (done, total, text)."""

    def __init__(self) -> None:
        self.was_used = False
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._quarter = (-1, "")

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int, text: str) -> None:
        self.was_used = True
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(text, total=total)
            self._bar.update(self._task, completed=done, total=total, description=text)
            return
        quarter = (4 * done // max(total, 1), text.partition(":")[0])
        if quarter != self._quarter:
            self._quarter = quarter
            print(f"{text} ({done}/{total})", file=sys.stderr, flush=True)
