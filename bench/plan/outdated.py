"""Results that today's code, data, judge or settings would not give: which they are, and in what words that is said.

Nothing is done about them unasked: what is done counts as done, and says so. No torch, but for data with options.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import canonical_json, read_json
from seqdis.bench.core.places import data_root
from seqdis.bench.plan import catalog
from seqdis.bench.plan.today import method_code, suite_code
from seqdis.bench.records.collection import Collection, Entry, Loader
from seqdis.bench.records.config import Source
from seqdis.bench.records.record import RECORD
from seqdis.bench.records.store import CONFIG, Store
from seqdis.judges.cards import read_card, shipped_folder, trained_folder

Reason = Literal["method", "suite", "data", "judge"]
OTHER_CODE: dict[Reason, str] = {"method": "the method's", "suite": "the suite's"}
REMEDY, _REMEDIES = "'bench run --again' repeats it", "'bench run --again' repeats them"


def other_code(method: str, dataset: str, codes: tuple[str, str]) -> tuple[Reason, ...]:
    """Which code of a record is another than today's.

    Args:
        codes: digests of the method's and of the suite's; empty where nothing is known of it, as of a plug-in's, whose
            id says which code it is.
    """
    found: list[Reason] = []
    with contextlib.suppress(OSError):  # what cannot be read cannot be compared
        if codes[0] and method_code(method) not in ("", codes[0]):
            found.append("method")
        if codes[1] and dataset in _datasets() and suite_code(dataset) != codes[1]:
            found.append("suite")
    return tuple(found)


def code_words(reasons: Iterable[Reason]) -> str:
    """For people: "made by other code (the method's)"; empty if the code is today's."""
    whose = [OTHER_CODE[reason] for reason in reasons if reason in OTHER_CODE]
    return f"made by other code ({' and '.join(whose)})" if whose else ""


@functools.cache
def _datasets() -> frozenset[str]:
    return frozenset(catalog.dataset_names())


@dataclasses.dataclass(frozen=True)
class Outdated:
    """Of results that were looked at, those that would not come out so today.

    Attributes:
        reasons: cell -> what is another.
        entries: of those cells.
        unsaid: cell -> version, of records that do not say which code made them.
    """

    reasons: dict[str, tuple[Reason, ...]]
    entries: tuple[Entry, ...]
    unsaid: dict[str, str]

    @property
    def cells(self) -> list[str]:
        """What `--again` repeats."""
        return [*self.reasons, *(cell for cell in self.unsaid if cell not in self.reasons)]

    def words(self, cell: str) -> str:
        """For people: what is another of one cell; empty if nothing is, as far as is known."""
        found = self.reasons.get(cell, ())
        parts = [code_words(found)]
        parts += ["from other data than are prepared here"] if "data" in found else []
        parts += ["scored by another judge"] if "judge" in found else []
        parts += [f"made by version {self.unsaid[cell]}"] if cell in self.unsaid else []
        return ", ".join(filter(None, parts))

    def lines(self) -> list[str]:
        """A line that counts them, and one for those that do not say what made them."""
        lines = []
        if self.reasons:
            parts = [f"made by other code ({'; '.join(self._code())})"] if self._code() else []
            for reason, text in (("data", "from other data than are prepared here"), ("judge", "by another judge")):
                names = Counter(entry.setting.dataset for entry in self._with(cast(Reason, reason)))
                parts += [f"{text} ({_counts(names)})"] if names else []
            lines.append(f"{_results(len(self.reasons))} {', '.join(parts)}; {_remedy(len(self.reasons))}.")
        if self.unsaid:
            versions = ", ".join(sorted({version or "unknown" for version in self.unsaid.values()}))
            lines.append(
                f"{_results(len(self.unsaid))} made by version {versions}, which did not record its code; {_REMEDIES}."
            )
        return lines

    def _with(self, reason: Reason) -> list[Entry]:
        return [entry for entry in self.entries if reason in self.reasons[entry.cell]]

    def _code(self) -> list[str]:
        methods = Counter(entry.method for entry in self._with("method"))
        found = [f"of the method: {_counts(methods)}"] if methods else []
        return found + ([f"of the suite: {len(self._with('suite'))}"] if self._with("suite") else [])


def _results(count: int) -> str:
    return "1 result was" if count == 1 else f"{count} results were"


def _remedy(count: int) -> str:
    return f"{REMEDY} and keeps the old record" if count == 1 else f"{_REMEDIES} and keeps the old records"


def _counts(names: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(names.items()))


def of_cells(store: Store, cells: Iterable[str], data_dir: Path | None = None) -> Outdated:
    """Looks at the records of cells that are done. One that cannot be read is passed over: `bench validate` names it.

    Args:
        data_dir: prepared data and judges; None is the usual folder.
    """
    loader = Loader()
    for cell in cells:
        loader.add(str(store.folder(cell) / RECORD))
    found = loader.collection
    # A record whose cell is not that of its folder is another's, and none of this store's to repeat.
    found.entries = [entry for entry in found.entries if os.path.basename(os.path.dirname(entry.path)) == entry.cell]
    root = data_dir
    if root is None:
        with contextlib.suppress(UserError):  # no home folder, so none of data
            root = data_root()
    return of_collection(found, root)


def of_collection(collection: Collection, root: Path | None) -> Outdated:
    """Looks at records that were read; see `of_cells`. Without a folder of data and judges, at their code alone."""
    reasons, unsaid, entries = {}, {}, []
    prepared = functools.cache(functools.partial(_prepared, root))
    judges = _judges(root)
    for entry in collection.entries:
        if entry.status == "failed":
            continue
        found = [*other_code(entry.method, entry.setting.dataset, entry.codes)]
        setting, about = entry.setting, collection.about[entry.setting]
        options = (collection.configs.get(entry.config) or {}).get("data") or {}
        place = (setting.dataset, setting.source, setting.size, setting.revision, canonical_json(options))
        if setting.digest and prepared(*place) not in ("", setting.digest):
            found.append("data")
        if about.judge is not None and judges.get((about.judge.name, setting.revision), setting.judge) != setting.judge:
            found.append("judge")
        if found:
            reasons[entry.cell] = tuple(found)
            entries.append(entry)
        if not entry.codes[1]:
            unsaid[entry.cell] = setting.version
    return Outdated(reasons, tuple(entries), unsaid)


def _prepared(root: Path | None, dataset: str, source: str, size: int, revision: str, options: str) -> str:
    """The digest of the data of a revision that are prepared in `root`; empty if there are none.

    Where they lie is known without their class, unless options were chosen.
    """
    if root is None or dataset not in _datasets() or source not in get_args(Source):
        return ""
    names = [f"{dataset}-{source}-{size}" if size else "", f"{dataset}-{source}"]
    folders = [root / name for name in names if name]
    if json.loads(options):
        kind: Any = catalog.load_dataset(dataset)
        with contextlib.suppress(UserError, AttributeError, TypeError):  # a plug-in may keep its data where it likes
            folders = [kind.folder(root, source, size, **json.loads(options))]
    for folder in folders:
        with contextlib.suppress(UserError):
            meta = read_json(folder / "meta.json")
            if isinstance(meta, dict) and meta.get("revision") == revision:
                return str(meta.get("digest") or "")
    return ""


def _judges(root: Path | None) -> dict[tuple[str, str], str]:
    """SHA-256 of the weights of each judge by its name and the revision of its data, the shipped ones first."""
    found: dict[tuple[str, str], str] = {}
    trained = trained_folder(root).glob("*.json") if root is not None else ()
    for path in (*sorted(shipped_folder().glob("*.json")), *sorted(trained)):
        with contextlib.suppress(UserError):
            card = read_card(path, "")
            found.setdefault((card.name, card.data.revision), card.sha256)
    return found


def other_settings(store: Store, cells: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Cells that another result of the same row and seed stands beside, whose settings are others.

    Returns:
        Each such cell, and the settings that differ from the first other one, as "training.steps".
    """
    by_name: dict[str, list[str]] = {}
    for cell in sorted(store.ids()):
        by_name.setdefault(cell.rpartition("-")[0], []).append(cell)
    wanted, found = set(cells), {}
    for alike in by_name.values():
        if len(alike) < 2 or not wanted.intersection(alike):
            continue
        configs = {cell: config for cell in alike if (config := _config(store, cell)) is not None}
        rows: dict[str, list[str]] = {}
        for cell in filter(store.is_done, configs):
            rows.setdefault(configs[cell].row, []).append(cell)
        for cell in sorted(wanted.intersection(configs)):
            own = configs[cell]
            beside = next((other for other in rows.get(own.row, ()) if other != cell), None)
            if beside is not None:
                theirs = configs[beside].settings
                names = dict.fromkeys((*own.settings, *theirs))
                found[cell] = tuple(name for name in names if own.settings.get(name) != theirs.get(name))
    return found


def settings_line(found: dict[str, tuple[str, ...]]) -> list[str]:
    """The line that says so; none if there is nothing to say."""
    if not found:
        return []
    names = list(dict.fromkeys(name for differing in found.values() for name in differing))
    listed = f"{', '.join(names[:4])}{' and others' if len(names) > 4 else ''}"
    return [
        f"{len(found)} cell{'s stand' if len(found) > 1 else ' stands'} beside a result of the same row and seed under "
        f"other settings ({listed}): it stays, and tables show it apart."
    ]


class _Config(NamedTuple):
    """Of a config.json of any version: its row and seed, and its settings by name."""

    row: str
    settings: dict[str, Any]


def _config(store: Store, cell: str) -> _Config | None:
    with contextlib.suppress(UserError, AttributeError, TypeError, KeyError, RecursionError):  # damaged
        config = read_json(store.folder(cell) / CONFIG)
        parts = {part: config[part] for part in ("method", "training", "evaluation", "data", "versions")}
        settings = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
        settings["the plug-in's code"] = config.get("plugin_digest")
        return _Config(json.dumps(config["cell"], sort_keys=True), settings)
    return None
