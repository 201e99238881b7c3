"""The field's tables, from records: comparison, augmentation, estimators, batch size, cost, ranks, and two of the
literature alone (published, audit). Imports no torch; SciPy only when there are seeds to test."""

from __future__ import annotations

import operator
from collections.abc import Collection as Names
from collections.abc import Sequence

from seqdis.bench.core.errors import unknown_name
from seqdis.bench.plan.studies import STUDIES, varies_batch
from seqdis.bench.records.collection import Collection
from seqdis.bench.tables import columns, footers, metrics, published, statistics
from seqdis.bench.tables.grouping import Arranged, Block, Group, arrange
from seqdis.bench.tables.layout import Cell, Column, Document, Row, Section, Table

LITERATURE = ("published", "audit")
WHOLE = ("cdsvae", "")
"""The method that ablations take parts from: its row stands below them, as in the paper."""
TABLES: dict[str, str] = {
    **{name: study.text for name, study in STUDIES.items()},
    "cost": "time, memory, parameters and energy of training",
    "seeds": "intervals over seeds, and every pair of rows with its test",
    "overrides": "rows whose settings were changed with --set; never ranked, and in no other table",
    "ranks": "ranks on each data set and averaged over data sets",
    "published": "the literature's numbers, with their sources",
    "audit": "published rows that are impossible, or off log IS = H(y) - H(y|x)",
}
"""What each table shows, by name. Those of a study show its rows, the others every row there is."""


def build(
    name: str,
    collection: Collection,
    *,
    datasets: Names[str] = (),
    presets: Names[str] = (),
    sources: Names[str] = (),
    unverified: bool = False,
) -> Document:
    """A table from records.

    Args:
        datasets, presets, sources: keep only records of these; empty keeps all.
        unverified: also list published numbers whose source was not read (`published` and `audit` only).

    Raises:
        UserError: an unknown table.
    """
    if name not in TABLES:
        raise unknown_name("table", name, TABLES, "bench list tables")
    if name in LITERATURE:
        from seqdis.bench.tables import literature

        numbers = [number for number in published.load() if number.verified or unverified]
        numbers = [number for number in numbers if not datasets or number.dataset in datasets]
        return literature.published_document(numbers) if name == "published" else literature.audit_document(numbers)
    arranged = arrange(
        collection,
        datasets=datasets,
        presets=presets,
        sources=sources,
        batches=varies_batch(name),
        by_device=name == "cost",
        overridden=name == "overrides",
    )
    if name in STUDIES and STUDIES[name].rows:
        arranged.blocks, absent = _ablated(name, arranged.blocks)
        arranged.apart += absent
    else:
        arranged.blocks = [block for block in arranged.blocks if block.groups]
    if name == "ranks":
        return _ranks_document(arranged, collection)
    tables: list[Table] = []
    for number, block in enumerate(arranged.blocks):
        if name == "seeds":
            from seqdis.bench.tables import evidence

            tables += evidence.tables(block, number)
        else:
            tables.append(_cost_table(block) if name == "cost" else _table(name, block, collection, number))
    return Document(
        name=name, tables=tables, notes=_document_notes(name, arranged, collection), excluded=arranged.excluded
    )


def _ablated(name: str, blocks: list[Block]) -> tuple[list[Block], list[str]]:
    """Blocks of a study's rows only, and a sentence for each that lacks what is varied: it would repeat the comparison
    under another name."""
    rows = STUDIES[name].rows
    kept, absent = [], []
    for block in blocks:
        block.groups = sorted(
            (group for group in block.groups if (group.method, group.variant) in rows),
            key=lambda group: (
                (group.method, group.variant) == WHOLE,
                rows.index((group.method, group.variant)),
                group.batch_size,
            ),
        )
        varied = any(group.variant for group in block.groups)
        if varied or (varies_batch(name) and len({group.batch_size for group in block.groups}) > 1):
            kept.append(block)
        elif block.groups:
            setting = block.setting
            lacking = "has one batch size only" if varies_batch(name) else "has none of the rows that are varied here"
            absent.append(
                f"{setting.dataset} ({setting.source}), {setting.preset}, {lacking}: "
                f"'bench run --table {name} --datasets {setting.dataset} --source {setting.source} --preset "
                f"{setting.preset}' plans them."
            )
    return kept, absent


def _document_notes(name: str, arranged: Arranged, collection: Collection) -> list[str]:
    notes = list(arranged.apart)
    if collection.problems:
        notes.append(f"{len(collection.problems)} files could not be used: {collection.problems[0]}")
    if collection.trials:
        notes.append(f"{collection.trials} trials of a search (bench tune) are left out: validation clips only.")
    if not arranged.blocks:
        notes.insert(0, f"No record fits the table {name!r}.")
    return notes


def _table(name: str, block: Block, collection: Collection, number: int) -> Table:
    view = columns.view_of(block)
    footnotes = footers.Footnotes(block)
    ranks = {} if name == "overrides" else _rank(block, view)
    for group in block.groups:  # the marks of labels before those of numbers, which not every format prints
        footnotes.for_group(group, view.headline_source)
    rows = {id(group): _row(name, group, block, view, ranks, footnotes) for group in block.groups}
    ranked = [rows[id(group)] for group in block.groups if not _stands_apart(group)]
    apart = [rows[id(group)] for group in block.groups if _stands_apart(group)]
    if name != "overrides":
        _mark_best([group for group in block.groups if group.is_ranked and group.entries], rows, view)
    sections = [Section(rows=ranked)] if ranked else []
    if apart:
        sections.append(Section(rows=apart, title="not ranked"))
        footnotes.texts["below the rule:"] = "controls of the protocol, and rows that were trained with labels"
    shown = [column for column in view.columns if column.key != "rank" or ranks]
    return Table(
        name=name,
        title=footers.title(name, block),
        columns=shown,
        sections=sections,
        panels=view.panels,
        footnotes=footnotes.ordered,
        notes=footers.notes(name, block, view, collection, bool(ranks)),
        about={"block": number, **block.setting._asdict()},
    )


def _stands_apart(group: Group) -> bool:
    return group.is_control or (bool(group.entries) and not group.is_ranked)


def _row(
    name: str,
    group: Group,
    block: Block,
    view: columns.View,
    ranks: dict[int, statistics.Rank],
    footnotes: footers.Footnotes,
) -> Row:
    cells = {
        column.key: measure(group, view.sources[column.key], column if column.key in view.headlines else None)
        for column in view.columns
        if column.key in view.sources
    }
    if group.protocol == "verification":
        _speaker_intervals(group, cells, view)
    marks = footnotes.for_group(group, view.headline_source)
    footnotes.mark_way(group, view, cells[view.headlines[0]])
    cells |= _published_cells(group, block, view, cells, name, footnotes)
    if group.entries:
        cells["n"] = Cell(mean=float(len(group.entries)), n=1, marks=("°",) if footnotes.provisional(group) else ())
    if id(group) in ranks:
        cells["rank"] = Cell(text=str(ranks[id(group)]))
    has_batch = varies_batch(name) and group.batch_size
    return Row(
        label=f"{group.label}, batch {group.batch_size}" if has_batch else group.label,
        cells=cells,
        marks=marks,
        about={
            "method": group.method,
            "variant": group.variant,
            "protocol_name": group.protocol,
            "config": group.config,
            "seeds": " ".join(str(entry.seed) for entry in group.entries),
            "batch": group.batch_size,
            "ranked": id(group) in ranks,
            "provisional": len(group.entries) < statistics.MIN_SEEDS,
        },
    )


def measure(group: Group, source: columns.Source, headline: Column | None = None) -> Cell:
    """Mean and deviation over seeds of what `source` reads from an entry; empty unless every seed has it.

    A headline also has an interval, within its column's limits.
    """
    values = group.values(source)
    if not values:
        return Cell()
    summary = statistics.summarise(values)
    interval = statistics.t_interval(values, limits=headline.limits) if headline else None
    return Cell(mean=summary.mean, std=summary.std, n=summary.n, values=values, interval=interval)


def _speaker_intervals(group: Group, cells: dict[str, Cell], view: columns.View) -> None:
    """A verification record brings its own intervals, over speakers; their ends are averaged over seeds."""
    for key in view.headlines:
        names = (f"{view.factor}/{key}_ci/{end}" for end in ("low", "high"))
        low, high = (group.values(operator.methodcaller("get", name)) for name in names)
        if low and high:
            bounds = statistics.summarise(low).mean, statistics.summarise(high).mean
            cells[f"{key}_ci"] = Cell(text=f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}", interval=bounds)


def _published_cells(
    group: Group, block: Block, view: columns.View, cells: dict[str, Cell], name: str, footnotes: footers.Footnotes
) -> dict[str, Cell]:
    found = {}
    for key in view.published:
        number = footers.published_number(name, group, block, key)
        if number is None:
            continue
        marks = (footnotes.number(f"published: {number.note}"),) if number.note else ()
        found[f"{key}_published"] = Cell(mean=number.value, n=1, marks=marks)
        ours = cells.get(key, Cell()).mean
        if footers.is_comparable(block.setting) and ours is not None:
            found[f"{key}_difference"] = Cell(mean=ours - number.value, n=1)
    return found


def _rank(block: Block, view: columns.View) -> dict[int, statistics.Rank]:
    """Ranks by the headline, within one protocol: rows that generate are never ranked with rows that encode."""
    ranks: dict[int, statistics.Rank] = {}
    for protocol in sorted({group.protocol for group in block.groups if group.entries}):
        rows = {}
        for group in block.groups:
            if group.is_ranked and group.entries and group.protocol == protocol:
                cell = measure(group, view.headline_source)
                if cell.mean is not None:
                    rows[str(id(group))] = cell.values
        ranks |= {
            int(key): value
            for key, value in statistics.rank(rows, higher_is_better=view.headline.better == "up").items()
        }
    return ranks


def _mark_best(groups: Sequence[Group], rows: dict[int, Row], view: columns.View) -> None:
    """Bold for the best mean of each column among ranked rows of one protocol with enough seeds to be ranked."""
    for protocol in {group.protocol for group in groups}:
        peers = [
            rows[id(group)]
            for group in groups
            if group.protocol == protocol and len(group.entries) >= statistics.MIN_SEEDS
        ]
        if len(peers) < 2:
            continue
        for column in view.columns:
            found = [row.cells[column.key] for row in peers if row.cell(column.key).mean is not None]
            if column.better and not column.panel and len(found) > 1 and column.key in view.sources:
                printed = [round((cell.mean or 0.0) * column.scale, column.digits) for cell in found]
                best = max(printed) if column.better == "up" else min(printed)
                for cell, value in zip(found, printed, strict=True):
                    cell.bold = value == best


def _cost_table(block: Block) -> Table:
    footnotes = footers.Footnotes(block)
    rows = []
    for group in block.groups:
        if group.method == "oracle":
            continue
        cells = {
            column.key: measure(group, columns.COST_SOURCES[column.key])
            for column in metrics.COST_TABLE
            if column.key in columns.COST_SOURCES
        }
        cells["device"] = Cell(text=group.device)
        cells["n"] = Cell(mean=float(len(group.entries)), n=1) if group.entries else Cell()
        rows.append(
            Row(
                label=group.label,
                cells=cells,
                marks=(*footnotes.for_group(group, None), *footnotes.shared_device(group)),
                about={
                    "method": group.method,
                    "variant": group.variant,
                    "config": group.config,
                    "device_name": group.device,
                    "seeds": " ".join(str(entry.seed) for entry in group.entries),
                },
            )
        )
    notes = [
        "Measured while other cells may have run on the same machine: compare rows of one device only, and read "
        "'bench perf' for throughput measured with care. Energy is printed where the machine can be asked for it.",
        *footers.code_notes(block),
    ]
    return Table(
        name="cost",
        title=footers.title("cost", block),
        columns=list(metrics.COST_TABLE),
        sections=[Section(rows=rows)],
        footnotes=footnotes.ordered,
        notes=notes,
        about=dict(block.setting._asdict()),
    )


def average_ranks(
    collection: Collection, *, datasets: Names[str] = (), presets: Names[str] = (), sources: Names[str] = ()
) -> dict[tuple[str, str], statistics.AcrossDatasets]:
    """Average ranks over data sets for each (source, preset): what `bench figure ranks` draws."""
    arranged = arrange(collection, datasets=datasets, presets=presets, sources=sources)
    return {place: _across(blocks) for place, blocks in _by_preset(arranged.blocks).items()}


def _by_preset(blocks: Sequence[Block]) -> dict[tuple[str, str], list[Block]]:
    found: dict[tuple[str, str], list[Block]] = {}
    for block in blocks:
        found.setdefault((block.setting.source, block.setting.preset), []).append(block)
    return dict(sorted(found.items()))


def _rankable(block: Block) -> dict[str, tuple[Group, statistics.Rank, float]]:
    """Rows of a block that may be ranked across data sets, by title: with their rank and score, higher is better."""
    view = columns.view_of(block)
    ranks = _rank(block, view)
    found = {}
    for group in block.groups:
        mean = measure(group, view.headline_source).mean
        if id(group) in ranks and not group.has_twin and group.protocol != "generator" and mean is not None:
            found[group.title] = (group, ranks[id(group)], mean if view.headline.better == "up" else -mean)
    return found


def _across(blocks: Sequence[Block]) -> statistics.AcrossDatasets:
    """Of several blocks on one data set (another judge, another revision) the fullest counts: it is one data set."""
    scores: dict[str, dict[str, float]] = {}
    for block in blocks:
        rows = {title: score for title, (_, _, score) in _rankable(block).items()}
        if len(rows) > len(scores.get(block.setting.dataset, {})):
            scores[block.setting.dataset] = rows
    return statistics.across_datasets(scores)


def _ranks_document(arranged: Arranged, collection: Collection) -> Document:
    tables = [_ranks_table(*place, blocks) for place, blocks in _by_preset(arranged.blocks).items()]
    return Document(
        name="ranks", tables=tables, notes=_document_notes("ranks", arranged, collection), excluded=arranged.excluded
    )


def _ranks_table(source: str, preset: str, blocks: list[Block]) -> Table:
    cells: dict[str, dict[str, Cell]] = {}
    found = []
    names = [block.setting.dataset for block in blocks]
    for number, (name, block) in enumerate(zip(names, blocks, strict=True)):
        key = f"rank_{number}"
        found.append(Column(key=key, title=name + (f" #{number}" if names.count(name) > 1 else "")))
        for title, (_, rank, _) in _rankable(block).items():
            cells.setdefault(title, {})[key] = Cell(text=str(rank))
    across = _across(blocks)
    for label, value in across.average.items():
        cells[label]["average"] = Cell(mean=value, n=1)
    rows = [
        Row(label=label, cells=row, about={"method": label})
        for label, row in sorted(cells.items(), key=lambda item: (across.average.get(item[0], float("inf")), item[0]))
    ]
    notes = [
        "Ranks on a data set: an interval, and letters of rows that seeds cannot separate (Welch tests with Holm's "
        "correction at 5 %). Only rows with three seeds or more are ranked."
    ]
    if len(set(names)) < len(names):
        notes.append("A data set that stands in several blocks counts once in the average: its block with most rows.")
    if not cells:
        notes.append("No row here has them.")
    elif across.critical_difference is not None:
        notes.append(
            f"Friedman test p = {across.p_value:.3g}; Nemenyi's critical difference of average ranks at 5 %: "
            f"{across.critical_difference:.2f} over {across.n_datasets} data sets."
        )
    else:
        notes.append(f"No critical difference: {across.reason}.")
    return Table(
        name="ranks",
        title=f"Ranks across data sets: {source}, preset {preset}",
        columns=[*found, Column(key="average", title="average rank", better="down", digits=2)],
        sections=[Section(rows=rows)],
        notes=notes,
        about={"source": source, "preset": preset},
    )
