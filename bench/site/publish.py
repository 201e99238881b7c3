"""The static site: tables, cells, methods and metrics as files that open from disk, with no network and no server.

    <out>/index.html            comparison tables, bars, filters
          more.html             ablations, costs, ranks, the literature and its audit
          cells.html            every cell, from assets/cells.js
          tables/<table>.html   one table with all rows and columns, and all methods on the same clips
                          .tex .csv
          cells/<cell>.html     a cell's scores, clips, curves and provenance
          cells/<cell>/         its record, config and clips
          methods.html  metrics.html  licences.html  licences/
          leaderboard.json  leaderboard.md
          assets/

Everything is written aside and then put in place. Every string of a record is escaped by the templates; every file
name is made of letters, digits and dashes. No torch.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import read_json
from seqdis.bench.core.provenance import suite_version
from seqdis.bench.figures import media
from seqdis.bench.figures.cells import is_showable
from seqdis.bench.formats.render import render
from seqdis.bench.records.clips import load_clips
from seqdis.bench.records.collection import Collection, Entry, load
from seqdis.bench.records.record import Json, read_raw
from seqdis.bench.site import boards, cell_page, licences
from seqdis.bench.site.boards import Board, Link
from seqdis.bench.site.render import CAPTION, environment, json_text, package, safe_json
from seqdis.bench.site.replace import MARKER, replacing
from seqdis.bench.tables.build import TABLES, build
from seqdis.bench.tables.columns import headline
from seqdis.bench.tables.layout import clean
from seqdis.bench.tables.metrics import TIPS

HEADING = "Sequential disentanglement"
ROW_LIMIT = 40
CLIP_CELLS = 200
MORE = (
    *("ranks", "seeds", "augmentation", "estimators", "published-weights", "batch-size", "overrides"),
    *("cost", "published", "audit"),
)
DAMAGED = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError, MemoryError)

Progress = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Published:
    """What was written, and one sentence for each thing that was left out."""

    out: Path
    n_cells: int
    n_tables: int
    problems: tuple[str, ...]


@dataclasses.dataclass
class Page:
    """A cell and where its page is. `record` is None for a cell that failed before it had one."""

    entry: Entry
    slug: str
    folder: Path | None
    shows: bool = False


def publish(
    runs: Sequence[Path],
    out: Path,
    *,
    heading: str = HEADING,
    clips: str = "auto",
    progress: Progress = lambda text: None,
) -> Published:
    """Writes the site.

    Args:
        runs: folders that `bench run` wrote, or folders of records.
        out: the site's folder; made, or replaced if an earlier site is in it.
        heading: the site's name.
        clips: which cells bring clips: `all`, the `first` seed of each row, `none`, or `auto` (all, unless there
            are more than CLIP_CELLS cells).
        progress: called with one line now and then.

    Raises:
        UserError: no record, or `out` holds files that are not an earlier site.
    """
    collection = load(runs)
    if not collection.entries:
        raise UserError(
            f"no record below {', '.join(map(str, runs))}; run 'bench run' first, or name another folder with --runs."
        )
    with replacing(out) as aside:
        site = Site(aside, collection, heading, clips, progress)
        site.write()
    return Published(out, len(collection.entries), len(site.boards), tuple(site.problems))


class Site:
    """The site while it is written."""

    def __init__(self, root: Path, collection: Collection, heading: str, clips: str, progress: Progress) -> None:
        self.root = root
        self.collection = collection
        self.progress = progress
        self.problems = list(collection.problems)
        self.pages = self._pages(clips)
        self.links = self._links()
        comparison = build("comparison", collection)
        self.documents = {"comparison": comparison, **{name: build(name, collection) for name in MORE}}
        self.boards = boards.boards(comparison, self.links)
        self.more = {name: boards.boards(self.documents[name], self.links) for name in MORE}
        self.environment = environment()
        self.shared = {
            "heading": clean(heading, 80),
            "version": suite_version(),
            "n_cells": len(collection.entries),
            "tips": TIPS,
            "row_limit": ROW_LIMIT,
            "caption": CAPTION,
        }

    def _pages(self, clips: str) -> list[Page]:
        taken: set[str] = set()
        pages = []
        for entry in self.collection.entries:
            name = boards.unique(boards.slug(entry.cell), taken)
            taken.add(name)
            path = Path(entry.path)
            pages.append(Page(entry, name, path.parent if path.name == "record.json" else None))
        if clips == "auto":
            clips = "all" if len(pages) <= CLIP_CELLS else "first"
        seen: set[tuple[Any, ...]] = set()
        for page in sorted(pages, key=lambda page: page.entry.seed):
            key = row_key(page.entry)
            page.shows = clips == "all" or (clips == "first" and key not in seen)
            seen.add(key)
        return pages

    def _links(self) -> dict[boards.Key, list[Link]]:
        links: dict[boards.Key, list[Link]] = {}
        for page in sorted(self.pages, key=lambda page: page.entry.seed):
            if page.entry.status == "done":
                links.setdefault(row_key(page.entry), []).append(Link(page.entry.seed, page.slug))
        return links

    # Writing

    def write(self) -> None:
        """Every file of the site."""
        self.write_assets()
        listed = self.write_cells()
        self.write_tables()
        about = {board.slug: board.panels[0].title for board in self.boards}
        real = [board for board in self.boards if board.source == "real"]
        self.page(
            "index.html",
            "index",
            boards=self.boards,
            abouts=about,
            remarks=self.remarks(),
            n_synthetic=len(self.boards) - len(real),
            n_methods=len({(e.method, e.variant) for e in self.collection.entries}),
            n_datasets=len({entry.setting.dataset for entry in self.collection.entries}),
        )
        self.page(
            "more.html",
            "more",
            groups=[(TABLES[name], self.documents[name].notes, found) for name, found in self.more.items() if found],
        )
        self.page("cells.html", "cells")
        self.write_script("assets/cells.js", "seqdisCells", listed)
        from seqdis.bench.site import method_docs

        self.page("methods.html", "methods", methods=method_docs.all_methods())
        self.page("metrics.html", "metrics")
        self.page("licences.html", "licences", data=licences.data_sets(self.collection))
        self.write_leaderboard()
        (self.root / MARKER).write_text(
            f"written by seqdis-bench {suite_version()}; 'bench publish' may replace this folder\n"
        )
        (self.root / ".nojekyll").write_text("")

    def page(self, path: str, template: str, *, root: str = "", **values: Any) -> None:
        """One HTML file from its template; `root` is the way back to the site's folder."""
        html = self.environment.get_template(f"{template}.html").render(self.shared, page=template, root=root, **values)
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(html, encoding="utf-8")

    def write_script(self, path: str, name: str, value: Any) -> None:
        """A script that only assigns data: a page opened from disk may load it, and may not fetch JSON."""
        (self.root / path).write_text(f"window.{name} = {safe_json(value)};\n", encoding="utf-8")

    def write_assets(self) -> None:
        """Style, scripts and licence texts."""
        assets, licences = self.root / "assets", self.root / "licences"
        assets.mkdir()
        licences.mkdir()
        for name in ("style.css", "page.js", "theme.js", "icon.svg"):
            (assets / name).write_bytes((package() / name).read_bytes())
        for name in ("CC-BY-SA-3.0.txt", "GPL-3.0.txt", "ATTRIBUTION.txt"):
            (licences / name).write_bytes((package() / f"licence-{name}").read_bytes())

    def write_leaderboard(self) -> None:
        """The tables for other leaderboards."""
        content = {
            "generator": "seqdis-bench",
            "version": suite_version(),
            "tables": {name: json.loads(render(document, "json")) for name, document in self.documents.items()},
        }
        (self.root / "leaderboard.json").write_text(
            json_text(content, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )
        (self.root / "leaderboard.md").write_text(
            render(self.documents["comparison"], "markdown").decode(), encoding="utf-8"
        )

    # Tables

    def write_tables(self) -> None:
        """A page, a LaTeX and a CSV file for each table."""
        for board in [*self.boards, *(board for found in self.more.values() for board in found)]:
            folder = self.root / "tables"
            folder.mkdir(exist_ok=True)
            (folder / f"{board.slug}.tex").write_text(board.latex, encoding="utf-8")
            (folder / f"{board.slug}.csv").write_text(board.csv, encoding="utf-8")
        for board in self.boards:
            sheets, attribution = self.comparison(board)
            self.page(
                f"tables/{board.slug}.html",
                "board",
                root="../",
                board=board,
                sheets=sheets,
                about=board.panels[0].title,
                media=f"tables/{board.slug}",
                attribution=attribution,
            )

    def comparison(self, board: Board) -> tuple[list[Any], str]:
        """All methods of a table on the same clips, and whose clips they are."""
        by_slug = {page.slug: page for page in self.pages}
        titled, attribution = [], ""
        for row in board.rows:
            for link in row.links[:1]:
                page = by_slug[link.slug]
                found = self.read(page) if page.shows and page.folder is not None else None
                if page.folder is None or found is None:
                    continue
                try:
                    clips = load_clips(page.folder) if may_show(found) else {}
                    credit = licences.credit(found)
                except (UserError, *DAMAGED) as error:
                    self.problems.append(f"{page.folder}: no clips ({error})")
                    continue
                if clips:
                    titled.append((row.label, clips))
                    attribution = attribution or credit
        if len(titled) < 2:
            return [], ""
        try:
            made = media.comparison(titled)
        except (UserError, *DAMAGED) as error:
            self.problems.append(f"{board.title}: no comparison of clips ({error})")
            return [], ""
        for picture, _ in made:
            self.write_files(f"tables/{board.slug}", picture.files)
        return made, attribution

    def write_files(self, folder: str, content: Mapping[str, bytes]) -> None:
        """Files of one folder."""
        target = self.root / folder
        target.mkdir(parents=True, exist_ok=True)
        for name, data in content.items():
            (target / name).write_bytes(data)

    # Cells

    def write_cells(self) -> dict[str, Any]:
        """A page for each cell, and what cells.html lists."""
        columns = [
            "href",
            "method",
            "dataset",
            "source",
            "preset",
            "seed",
            "status",
            "measure",
            "value",
            "seconds",
            "finished",
        ]
        rows = []
        for count, page in enumerate(self.pages, start=1):
            record = self.read(page)
            try:
                self.write_cell(page, record)
                rows.append(self.listing(page, record))
            except (UserError, *DAMAGED) as error:
                self.problems.append(f"{page.entry.path}: no page ({type(error).__name__}: {error})")
                continue
            if count % 250 == 0:
                self.progress(f"{count} of {len(self.pages)} cells")
        return {"columns": columns, "rows": rows}

    def read(self, page: Page) -> Json | None:
        """A cell's record; None for one that failed before it had one, or whose record is damaged."""
        try:
            return read_raw(Path(page.entry.path)) if os.path.exists(page.entry.path) else None
        except UserError as error:
            self.problems.append(str(error))
            return None

    def write_cell(self, page: Page, record: Json | None) -> None:
        """One cell's page and files."""
        folder = f"cells/{page.slug}"
        view = cell_page.cell_view(record if record is not None else blank(page.entry))
        content: dict[str, bytes] = {}
        if record is not None:
            content["record.json"] = (json_text(record, indent=1) + "\n").encode()
        config = self.config(page)
        if config is not None:
            content["config.json"] = (json_text(config, indent=1) + "\n").encode()
        pictures, why = self.pictures(page, record)
        for picture in pictures:
            content |= picture.files
        attribution = licences.credit(record) if record is not None and pictures else ""
        if attribution:
            content["ATTRIBUTION.txt"] = (
                f"{attribution}\nLicence texts, where they apply: ../../licences/CC-BY-SA-3.0.txt and "
                "../../licences/GPL-3.0.txt (see ../../licences/ATTRIBUTION.txt)\n"
            ).encode()
        if content:
            self.write_files(folder, content)
        self.page(
            f"{folder}.html",
            "cell",
            root="../",
            cell=view,
            slug=page.slug,
            has_record=record is not None,
            has_config=config is not None,
            pictures=pictures,
            why_no_clips=why,
            attribution=attribution,
            moves=any(picture.moving != picture.still for picture in pictures),
            curves=cell_page.record_curves(record) if record is not None and view.status == "done" else [],
        )

    def config(self, page: Page) -> Any:
        """The config file beside the record, if there is a readable one."""
        path = page.folder / "config.json" if page.folder is not None else None
        if path is None or not os.path.isfile(path) or path.is_symlink():
            return None
        try:
            return read_json(path, max_bytes=1 << 20)
        except UserError as error:
            self.problems.append(str(error))
            return None

    def pictures(self, page: Page, record: Json | None) -> tuple[list[media.Picture], str]:
        """A cell's clips, or why it shows none."""
        if record is None or record["status"] != "done" or page.folder is None:
            return [], ""
        if not may_show(record):
            return [], ("No clips are shown: frames and audio of this data set may not be published, decoded or not.")
        if not page.shows:
            return [], "No clips are shown here: the page of the row's first seed has them."
        try:
            clips = load_clips(page.folder)
            return (media.pictures(clips, page.entry.title) if clips else []), ""
        except (UserError, *DAMAGED) as error:
            self.problems.append(f"{page.folder}: no clips ({error})")
            return [], "The clips of this cell could not be read."

    def listing(self, page: Page, record: Json | None) -> list[Any]:
        """A cell's row in cells.html, in the order of its columns."""
        entry = page.entry
        measure, value = headline(entry, self.collection.about[entry.setting].data)
        seconds = entry.get("cost/train_seconds")
        finished = cell_page.text(record.get("finished"))[:10] if record is not None else ""
        title = clean(
            ", ".join(filter(None, (named(entry), f"batch {entry.batch}" if entry.batch else "", *entry.overrides))),
            160,
        )
        return [
            f"cells/{page.slug}.html",
            title,
            entry.setting.dataset,
            entry.setting.source,
            entry.setting.preset,
            entry.seed,
            entry.status,
            measure,
            None if value is None else round(100 * value, 1),
            None if seconds is None else round(seconds),
            finished,
        ]

    # Small things

    def remarks(self) -> list[str]:
        """What stands in no table, and why; at most fifty sentences."""
        document = self.documents["comparison"]
        found = [clean(text, 800) for text in [*document.notes, *document.excluded, *self.problems]]
        found = list(dict.fromkeys(found))
        return found[:50] + ([f"And {len(found) - 50} more."] if len(found) > 50 else [])


# What a page is made from


def row_key(entry: Entry) -> tuple[Any, ...]:
    """What all seeds of one row share."""
    return (*entry.setting, entry.method, entry.variant, entry.config)


def named(entry: Entry) -> str:
    """Its title; of a cell that failed before it had one, its method and variant."""
    return entry.title or f"{entry.method} {entry.variant}".strip()


def may_show(record: Json) -> bool:
    """Whether frames or audio of a cell may be published."""
    return is_showable(str(record["cell"]["dataset"]), record["cell"]["source"], record["data"].get("may_show"))


def blank(entry: Entry) -> Json:
    """A record's outline for a cell that failed before it had one."""
    setting = entry.setting
    return {
        "title": named(entry),
        "status": entry.status,
        "config": {},
        "cell": {
            "id": entry.cell,
            "seed": entry.seed,
            "source": setting.source,
            "preset": setting.preset,
            "dataset": setting.dataset,
        },
        "error": {"reason": entry.reason},
    }
