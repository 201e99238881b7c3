"""Which records may stand together: blocks of one setting, rows of one method, and what stays out, with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Collection as Names
from typing import Any

from seqdis.bench.plan import catalog
from seqdis.bench.records.collection import About, Collection, Entry, Setting
from seqdis.bench.tables.published import TITLES

ORDER = ("fhvae", "mocogan", "dsvae", "rwae", "s3vae", "cdsvae")
"""Of the rows, as the literature prints them; other methods follow by name."""
CONTROLS = frozenset(name.partition(":")[0] for name in catalog.CONTROLS)
_PRESETS = ("paper", "paper-long", "compact", "demo", "quick")
_FIELDS = {
    "revision": "data revision",
    "digest": "data digest",
    "judge": "judge",
    "protocol": "protocol version",
    "sample": "how codes are drawn",
    "draws": "number of prior draws",
    "version": "version of this suite",
}


@dataclasses.dataclass
class Group:
    """The records of one row: same method, variant, config and protocol, one a seed. `missing` failed or is n/a.

    `is_outside` says that the method is none of this suite, whatever it is called.
    """

    method: str
    variant: str
    config: str
    protocol: str
    batch_size: int
    device: str
    title: str
    is_outside: bool = False
    entries: list[Entry] = dataclasses.field(default_factory=list)
    missing: list[Entry] = dataclasses.field(default_factory=list)
    has_twin: bool = False

    @property
    def label(self) -> str:
        """The title, with the first digits of the config where another row has the same title."""
        return f"{self.title} [{self.config[:6]}]" if self.has_twin else self.title

    @property
    def is_control(self) -> bool:
        return self.method in CONTROLS

    @property
    def is_ranked(self) -> bool:
        return not self.is_control and all(entry.ranked for entry in self.entries)

    def values(self, source: Callable[[Entry], float | None]) -> tuple[float, ...]:
        """What `source` reads from an entry, by seed; empty unless every seed has it."""
        found = [source(entry) for entry in self.entries]
        return tuple(value for value in found if value is not None) if None not in found else ()


@dataclasses.dataclass
class Block:
    """All rows of one setting, and what is known of that."""

    setting: Setting
    about: About
    groups: list[Group]

    @property
    def entries(self) -> list[Entry]:
        return [entry for group in self.groups for entry in group.entries]


@dataclasses.dataclass
class Arranged:
    """Blocks in printing order, records that stand in no block (one sentence each), and why blocks are apart."""

    blocks: list[Block]
    excluded: list[str]
    apart: list[str]


def arrange(
    collection: Collection,
    *,
    datasets: Names[str] = (),
    presets: Names[str] = (),
    sources: Names[str] = (),
    batches: bool = False,
    by_device: bool = False,
    overridden: bool = False,
) -> Arranged:
    """Puts records into blocks and rows.

    Args:
        datasets, presets, sources: keep only these; empty keeps all.
        batches: keep records of any batch size (the batch-size table), else only the preset's own.
        by_device: records of different devices are different rows (costs).
        overridden: only records whose settings were changed with --set, each change a row; else they stand in none.
    """
    chosen = [
        entry
        for entry in collection.entries
        if (not datasets or entry.setting.dataset in datasets)
        and (not presets or entry.setting.preset in presets)
        and (not sources or entry.setting.source in sources)
        and (batches or not entry.batch)
        and (bool(entry.overrides) or not overridden)
    ]
    titles = {
        (entry.method, entry.variant, _outside_code(entry.config, collection)): entry.title
        for entry in chosen
        if entry.status == "done"
    }
    blocks: dict[Setting, dict[tuple[str, ...], Group]] = {}
    taken: set[tuple[Setting, tuple[str, ...], int]] = set()
    excluded, missing = [], []
    for entry in sorted(chosen, key=lambda entry: (entry.cell, entry.path)):
        if entry.status != "done":
            missing.append(entry)
            continue
        reason = _reason_to_exclude(entry, collection, overridden)
        key = (entry.method, entry.variant, entry.config, entry.protocol, entry.device if by_device else "")
        place = (entry.setting, key, entry.seed)
        if not reason and place in taken:
            reason = "another record of the same row and seed stands in it"
        if reason:
            excluded.append(f"{_name(entry)}, is not in the table: {reason} ({entry.cell}).")
            continue
        taken.add(place)
        groups = blocks.setdefault(entry.setting, {})
        if key not in groups:
            groups[key] = _group(entry, titles, by_device, collection)
        groups[key].entries.append(entry)
    for entry in missing:
        _attach(entry, blocks, titles, by_device, collection)
    arranged = [
        Block(setting, collection.about[setting], _sorted(list(groups.values())))
        for setting, groups in sorted(blocks.items(), key=lambda item: _block_order(item[0]))
    ]
    return Arranged(arranged, excluded, _apart([block.setting for block in arranged]))


def _reason_to_exclude(entry: Entry, collection: Collection, overridden: bool) -> str:
    if entry.overrides and not overridden:
        reason = f"settings were overridden ({', '.join(entry.overrides)}; 'bench table overrides' has its row)"
    elif not entry.complete:
        reason = f"its schedule was not finished ({entry.steps} of {entry.planned_steps} steps)"
    else:
        return ""
    return reason + _headline(entry, collection.about[entry.setting])


def _headline(entry: Entry, about: About) -> str:
    """The main score, so that a run with other settings is not mute."""
    value = entry.get(f"{'/'.join(map(str, about.data.headline[:2]))}/acc") if about.data is not None else None
    return "" if value is None else f"; Acc {100 * value:.1f} %"


def _name(entry: Entry) -> str:
    setting = entry.setting
    return f"{entry.title} on {setting.dataset} ({setting.source}), {setting.preset}, seed {entry.seed}"


def _group(entry: Entry, titles: dict[tuple[str, str, str], str], by_device: bool, collection: Collection) -> Group:
    code = _outside_code(entry.config, collection)  # two plug-ins may have one name
    title = titles.get((entry.method, entry.variant, code)) or TITLES.get(entry.method, entry.method) + (
        f" ({entry.variant})" if entry.variant else ""
    )
    return Group(
        entry.method,
        entry.variant,
        entry.config,
        entry.protocol,
        entry.batch_size,
        entry.device if by_device else "",
        title,
        catalog.is_outside(entry.method, code),
    )


def _outside_code(config: str, collection: Collection) -> str:
    """The digest of a plug-in's code in a config; empty for other methods."""
    return str((collection.configs.get(config) or {}).get("plugin_digest") or "")


def _attach(
    entry: Entry,
    blocks: dict[Setting, dict[tuple[str, ...], Group]],
    titles: dict[tuple[str, str, str], str],
    by_device: bool,
    collection: Collection,
) -> None:
    """A cell without numbers knows neither judge nor revision: it goes to the fullest block of its data and preset."""
    where = ("dataset", "source", "size", "preset")
    fitting = [
        setting
        for setting in blocks
        if all(getattr(setting, field) == getattr(entry.setting, field) for field in where)
    ]
    home = max(
        fitting,
        key=lambda setting: (sum(len(group.entries) for group in blocks[setting].values()), setting),
        default=entry.setting,
    )
    groups = blocks.setdefault(home, {})
    code = _outside_code(entry.config, collection)
    for group in groups.values():
        if (
            (group.method, group.variant) == (entry.method, entry.variant)
            and (not entry.batch or group.batch_size == entry.batch)
            and _outside_code(group.config, collection) == code
        ):
            group.missing.append(entry)
            return
    group = _group(entry, titles, by_device, collection)
    group.missing.append(entry)
    groups[(entry.method, entry.variant, code, "", str(entry.batch))] = group


def _sorted(groups: list[Group]) -> list[Group]:
    for group in groups:
        group.entries.sort(key=lambda entry: entry.seed)
        group.missing.sort(key=lambda entry: entry.seed)
        same = [
            other
            for other in groups
            if (other.method, other.variant, other.device, other.batch_size)
            == (group.method, group.variant, group.device, group.batch_size)
            and other.entries
        ]
        group.has_twin = len(same) > 1 and bool(group.entries)
    return sorted(
        (group for group in groups if group.entries or group.missing),
        key=lambda group: (
            ORDER.index(group.method) if group.method in ORDER else len(ORDER),
            group.method,
            group.variant,
            group.batch_size,
            group.device,
            group.config,
        ),
    )


def _block_order(setting: Setting) -> tuple[Any, ...]:
    def place(value: str, known: tuple[str, ...]) -> tuple[int, str]:
        return (known.index(value) if value in known else len(known), value)

    return (
        place(setting.dataset, catalog.ALL_DATASETS),
        setting.source != "real",
        place(setting.preset, _PRESETS),
        setting,
    )


def _apart(settings: list[Setting]) -> list[str]:
    """Why blocks with the same data, source, preset and size are not one."""
    sentences = []
    alike: dict[tuple[Any, ...], list[Setting]] = {}
    for setting in settings:
        alike.setdefault((setting.dataset, setting.source, setting.preset, setting.size), []).append(setting)
    for (dataset, source, preset, _), group in alike.items():
        if len(group) < 2:
            continue
        differing = [
            f"{text} ({' / '.join(dict.fromkeys(_short(getattr(setting, field)) for setting in group))})"
            for field, text in _FIELDS.items()
            if len({getattr(setting, field) for setting in group}) > 1
        ]
        sentences.append(
            f"{dataset} ({source}), {preset}, stands in {len(group)} blocks because records differ in "
            f"{', '.join(differing)}: numbers across blocks are not comparable."
        )
    return sentences


def _short(value: Any) -> str:
    text = str(value)
    return text[:8] if len(text) >= 32 else text or "none"
