"""`bench figure`: sheets of clips and curves of finished cells."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqdis.bench.core.errors import UserError, unknown_name
from seqdis.bench.core.exits import DONE, say

if TYPE_CHECKING:
    from seqdis.bench.figures.cells import Cell, Row

HELP = """Figures of finished cells, as PNG, PDF and GIF.

kinds:
  swap         every static code with every dynamic code
  fixed        one code kept, the other drawn from its prior
  samples      both codes drawn from their priors
  interpolate  straight lines in the static code
  audio        spectrograms and their cross-reconstruction
  compare      all methods on the same clips
  mi           I(s; x), I(z; x) and I(s; z) during training
  training     losses and validation scores during training
  ranks        average ranks over data sets with their critical difference (from six data sets up)

examples:
  bench figure swap runs/cells/sprites-synth-cdsvae-quick-s0-0123456789
  bench figure compare --dataset sprites --format png,gif
  bench figure mi --method cdsvae,dsvae:mws --dataset sprites"""

KINDS = ("swap", "fixed", "samples", "interpolate", "audio", "compare", "mi", "training", "ranks")
FORMATS = ("png", "pdf", "gif")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """What is to be drawn of which cells, and where it goes.

    Attributes:
        cells: as typed; empty for all below `runs`.
        filters: field of a record's cell -> its value. `rows` are methods with their variants, such as rwae:gan.
    """

    kind: str
    cells: tuple[str, ...]
    runs: tuple[Path, ...]
    filters: dict[str, str | int]
    rows: frozenset[str]
    folder: Path
    formats: tuple[str, ...]
    frames: int
    private: bool

    def still(self, what: str) -> list[str]:
        """The formats of a figure that does not move.

        Raises:
            UserError: there is none.
        """
        found = [kind for kind in self.formats if kind != "gif"]
        if not found:
            raise UserError(f"{what} do not move; choose --format png or pdf.")
        return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's own arguments."""
    parser.add_argument("kind", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("cells", nargs="*", metavar="CELL", help="folders or ids of cells (default: all that fit)")
    parser.add_argument(
        "--out",
        type=Path,
        action="append",
        metavar="RUNS",
        help="folder that 'bench run' wrote; may be repeated (default: ./runs)",
    )
    parser.add_argument("--dataset", help="only this data set")
    parser.add_argument("--method", help="only these rows, such as cdsvae,rwae:gan")
    parser.add_argument("--source", choices=("real", "synthetic"), help="only this source")
    parser.add_argument("--preset", help="only this preset")
    parser.add_argument("--seed", type=int, help="only this seed")
    parser.add_argument("--out-dir", type=Path, default=Path("figures"), help="where to write (default: ./figures)")
    parser.add_argument("--format", default="png", help="png, pdf, gif; several with commas (default: png)")
    parser.add_argument("--frames", type=int, default=4, help="frames a clip in PNG and PDF (default: 4)")
    parser.add_argument(
        "--private",
        action="store_true",
        help="draw data that may not be published (MUG, TIMIT) for your own eyes",
    )


def run(args: argparse.Namespace) -> int:
    """Draws the figures and prints their paths on stdout."""
    if args.kind not in KINDS:
        raise unknown_name("figure", args.kind, KINDS, "bench figure --help")
    formats = parse_formats(args.format)
    if not 1 <= args.frames <= 64:
        raise UserError(f"--frames {args.frames} is not between 1 and 64.")
    wanted = {name: getattr(args, name) for name in ("dataset", "source", "preset", "seed")}
    asked = Figures(
        kind=args.kind,
        cells=tuple(args.cells),
        runs=tuple(args.out or [Path("runs")]),
        filters={name: value for name, value in wanted.items() if value is not None},
        rows=frozenset(part.strip() for part in (args.method or "").split(",") if part.strip()),
        folder=args.out_dir,
        formats=tuple(formats),
        frames=args.frames,
        private=args.private,
    )
    for path in draw_ranks(asked) if asked.kind == "ranks" else draw_cells(asked):
        print(path)
    return DONE


def draw_cells(asked: Figures) -> list[Path]:
    """Every kind but ranks, which are of tables."""
    cells = list(chosen(asked))
    if not cells:
        raise UserError("no finished cell fits; 'bench status' shows what there is.")
    if not asked.cells and asked.kind in ("mi", "training", "compare"):
        cells = as_in_tables(cells)
    if asked.kind in ("mi", "training"):
        return draw_curves(asked, cells)
    return draw_comparisons(asked, cells) if asked.kind == "compare" else draw_sheets(asked, cells)


def as_in_tables(cells: list[Cell]) -> list[Cell]:
    """Without cells that tables leave out of their rows, unless there are no others."""
    kept = [cell for cell in cells if not cell.departures]
    if kept and len(kept) < len(cells):
        left = len(cells) - len(kept)
        print(
            f"bench: {left} cell{'s' if left > 1 else ''} with overridden settings or an unfinished schedule "
            f"{'are' if left > 1 else 'is'} left out, as of tables; name cells to draw them.",
            file=sys.stderr,
        )
    return kept or cells


def parse_formats(text: str) -> list[str]:
    """The formats in a comma-separated list.

    Raises:
        UserError: one is unknown.
    """
    formats = [part.strip().lower() for part in text.split(",") if part.strip()]
    for name in formats:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS, "bench figure --help")
    if not formats:
        raise UserError("no format named; try --format png,pdf,gif.")
    return list(dict.fromkeys(formats))


# Which cells


def chosen(asked: Figures) -> Iterator[Cell]:
    """The done cells that were named, or all below the run folders, and that fit the filters."""
    for path in record_paths(asked.cells, asked.runs):
        try:
            cell = read_cell(path)
        except UserError as error:
            if asked.cells:
                raise
            say(error)
            continue
        about = cell.record.cell
        row = f"{about.method}:{about.variant}" if about.variant else about.method
        fits = (
            cell.record.status == "done"
            and (not asked.rows or row in asked.rows)
            and all(getattr(about, name) == value for name, value in asked.filters.items())
        )
        if fits:
            yield cell
        elif asked.cells:
            print(
                f"bench: {path.parent} is left out: it is {cell.record.status} or does not fit the filters.",
                file=sys.stderr,
            )


def read_cell(path: Path) -> Cell:
    """A cell from its record.

    Raises:
        UserError: not a record, or one whose parts have the wrong type.
    """
    from seqdis.bench.core.schema import unchecked
    from seqdis.bench.figures.cells import Cell
    from seqdis.bench.records.record import Record, read_raw

    try:
        return Cell(path.parent, unchecked(Record, read_raw(path)))
    except (TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); 'bench validate {path}' says what is wrong.") from None


def record_paths(names: Sequence[str], outs: Sequence[Path]) -> Iterator[Path]:
    """Paths of records: of the named cells (a folder, a record, an id or its beginning), or of all.

    Raises:
        UserError: a name fits no cell, or several.
    """
    from seqdis.bench.records.search import find

    if not names:
        for out in outs:
            yield from (path for path in map(Path, find(out)) if os.path.isfile(path))
        return
    for name in names:
        path = Path(name)
        if (path / "record.json").is_file():
            yield path / "record.json"
        elif path.is_file():
            yield path
        else:
            yield by_id(name, outs)


def by_id(name: str, outs: Sequence[Path]) -> Path:
    """The record of the one cell whose id begins with `name`."""
    found = [
        path
        for out in outs
        for path in sorted((out / "cells").glob("*/record.json"))
        if path.parent.name.startswith(name)
    ]
    exact = [path for path in found if path.parent.name == name]
    if len(exact or found) != 1:
        what = "no finished cell" if not found else f"{len(found)} cells"
        raise UserError(f"{what} below {', '.join(map(str, outs))} begins with {name!r}; give a folder or a whole id.")
    return (exact or found)[0]


# What is drawn


def draw_sheets(asked: Figures, cells: Sequence[Cell]) -> list[Path]:
    """One sheet a cell. Without named cells, those that cannot be drawn are left out with a sentence."""
    from seqdis.bench.figures import drawing, sheets

    paths: list[Path] = []
    for cell in cells:
        try:
            grids = sheets.SHEETS[asked.kind](cell.clips(private=asked.private))
        except UserError as error:
            if asked.cells or len(cells) == 1:
                raise
            say(f"{cell.folder.name} is left out: {error}")
            continue
        files = drawing.sheet_files(grids, cell.full_title, cell.context, asked.formats, asked.frames)
        paths += drawing.write_files(asked.folder, f"{asked.kind}-{stem(cell.folder.name)}", files)
    if not paths:
        raise UserError(f"no {asked.kind} figure could be drawn from these cells.")
    return paths


def draw_comparisons(asked: Figures, cells: Sequence[Cell]) -> list[Path]:
    """One sheet for each data set, source, preset and size: the lowest seed of each row."""
    from seqdis.bench.figures import drawing, sheets
    from seqdis.bench.figures.cells import row_names

    groups: dict[tuple[str, ...], dict[Row, Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.record.cell.seed):
        groups.setdefault(cell.group, {}).setdefault(cell.row, cell)
    paths: list[Path] = []
    for group, rows in sorted(groups.items()):
        titled = []
        names = row_names(rows.values())
        for cell in (rows[key] for key in sorted(rows, key=row_order)):
            try:
                titled.append((names[cell.row], cell.clips(private=asked.private)))
            except UserError as error:  # a control has no clips, and is no reason to show nobody
                say(f"{cell.folder.name} is left out: {error}")
        if not titled:
            continue
        files = drawing.sheet_files(
            sheets.compare_sheet(titled),
            "All methods on the same clips",
            next(iter(rows.values())).context,
            asked.formats,
            asked.frames,
        )
        paths += drawing.write_files(asked.folder, stem(f"compare-{'-'.join(group)}"), files)
    if not paths:
        raise UserError("no comparison sheet could be drawn from these cells.")
    return paths


def row_order(row: Row) -> tuple[bool, int, Row]:
    """Rows as the tables have them: the literature's methods in its order, others by name, controls last."""
    from seqdis.bench.tables.grouping import CONTROLS, ORDER

    method = row[0]
    return method in CONTROLS, ORDER.index(method) if method in ORDER else len(ORDER), row


def draw_curves(asked: Figures, cells: Sequence[Cell]) -> list[Path]:
    """One figure for each data set, source, preset and size, with every method in it."""
    from seqdis.bench.figures import curves, drawing

    kinds = asked.still("curves")
    draw = curves.information_curves if asked.kind == "mi" else curves.training_curves
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.group, []).append(cell)
    paths: list[Path] = []
    for group, members in sorted(groups.items()):
        try:
            with drawing.house_style():
                figure = draw(members)
                files = {kind: drawing.figure_bytes(figure, kind) for kind in kinds}
        except UserError as error:
            if len(groups) == 1:
                raise
            say(f"{' '.join(group)} is left out: {error}")
            continue
        paths += drawing.write_files(asked.folder, stem(f"{asked.kind}-{'-'.join(group)}"), files)
    if not paths:
        raise UserError(f"no {asked.kind} curves could be drawn from these cells.")
    return paths


def draw_ranks(asked: Figures) -> list[Path]:
    """The critical-difference diagram of each source and preset that has enough data sets."""
    from seqdis.bench.figures import diagrams, drawing
    from seqdis.bench.records.collection import load
    from seqdis.bench.tables.build import average_ranks

    kinds = asked.still("ranks")
    if asked.cells or asked.rows or "seed" in asked.filters:
        raise UserError("ranks are of whole tables: choose with --dataset, --source and --preset only.")
    wanted = {f"{name}s": (str(value),) for name, value in asked.filters.items()}
    found = average_ranks(load(asked.runs), **wanted)
    paths: list[Path] = []
    reasons = []
    for (source, preset), across in found.items():
        try:
            with drawing.house_style():
                figure = diagrams.critical_difference(across, f"{source}, preset {preset}")
                files = {kind: drawing.figure_bytes(figure, kind) for kind in kinds}
        except UserError as error:
            reasons.append(str(error))
            continue
        paths += drawing.write_files(asked.folder, stem(f"ranks-{source}-{preset}"), files)
    if not paths:
        raise UserError(reasons[0] if reasons else "no finished cell fits; 'bench status' shows what there is.")
    for reason in reasons:
        say(reason)
    return paths


def stem(text: str) -> str:
    """A file name from a name that a record gave: letters, digits, dot, dash and underscore only."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".")[:120] or "cell"
