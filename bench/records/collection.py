"""Many records as rows, fast: each record is read once, reduced to what tables need, and forgotten.

A record that `write_record` wrote has each top-level key on a line of its own with one blank before it, so that the
parts a table never looks at (losses, logs of validation) are skipped as text and parts that many records share (the
data, the judge, the config) are parsed once. Any other valid JSON is parsed whole. Standard library only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import json
import os
import sys
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.rules import MOST_COUNTED, printable, shown
from seqdis.bench.core.schema import keys, problems, unchecked
from seqdis.bench.records.config import describe_config
from seqdis.bench.records.flatten import Shapes, flatten, headline_of
from seqdis.bench.records.record import REQUIRED, SCHEMA, Config, Data, Json, JudgeCard, Protocol
from seqdis.bench.records.search import find, read_bytes
from seqdis.bench.records.sections import OWN, SHARED, Sections, sections_of
from seqdis.judges.cards import shipped_cards

MANY = 4000
_CHUNK = 500
_MOST_SHARED = 4000
_CONFIG = tuple(field.key for field in keys(Config))
_DECODER = json.JSONDecoder()


class Setting(NamedTuple):
    """What must agree before two numbers may stand in one table: nothing else is ever averaged or ranked together.

    `judge` is the SHA-256 of its weights, empty where none is used; `sample` and `draws` say how codes are drawn.
    """

    dataset: str
    source: str
    size: int
    preset: str
    revision: str
    digest: str
    judge: str
    protocol: int
    sample: str
    draws: int
    version: str


class RowFields(TypedDict):
    """The fields of an `Entry` that are the same for all seeds of a row."""

    title: str
    supervision: str
    ranked: bool
    notes: tuple[str, ...]
    protocol: str
    config: str
    batch_size: int
    device: str
    threads: int
    commit: str
    dirty: bool
    codes: tuple[str, str]


class Common(NamedTuple):
    """What the seeds of a row share: the parts of their records, fields of their entries, and settings by place."""

    parts: Json
    headline: tuple[str, str]
    fields: RowFields
    settings: dict[tuple[str, str, int, str, bool], Setting]


@dataclasses.dataclass(slots=True)
class Entry:
    """One record, reduced. `names` is shared by all entries with the same metrics; `values` holds their numbers.

    `troubles` are kinds of the warnings that held at the step whose weights were judged.

    `codes` are the digests of the method's and of the suite's code: empty in records of version 0.1.0, the method's also
    of a plug-in, whose id says which code it is.
    """

    path: str
    cell: str
    method: str
    variant: str
    seed: int
    batch: int
    status: str
    title: str
    supervision: str
    signal: str
    ranked: bool
    notes: tuple[str, ...]
    overrides: tuple[str, ...]
    complete: bool
    steps: int
    planned_steps: int
    setting: Setting
    protocol: str
    config: str
    batch_size: int
    device: str
    threads: int
    commit: str
    dirty: bool
    codes: tuple[str, str]
    reason: str
    troubles: tuple[str, ...]
    names: dict[str, int]
    values: array[float]

    def get(self, name: str) -> float | None:
        """A metric by its flat name, such as `fix_dynamic/action/acc`; None if the record has none."""
        position = self.names.get(name)
        return None if position is None else self.values[position]


@dataclasses.dataclass(frozen=True)
class About:
    """What was scored in a setting, and by which judge, their texts and numbers unchecked; None where no record of it
    is done, or nothing was judged. `is_shipped_judge`: its weights are those of a judge that comes with the suite."""

    data: Data | None = None
    judge: JudgeCard | None = None
    is_shipped_judge: bool = False


@dataclasses.dataclass
class Collection:
    """All that was read.

    Attributes:
        entries: in the order of their paths.
        about: data and judge of each setting.
        problems: one sentence for each file that could not be read.
        configs: digest -> resolved config.
        trials: records of trials of a search, which stand in no table.
    """

    entries: list[Entry] = dataclasses.field(default_factory=list)
    about: dict[Setting, About] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)
    configs: dict[str, Json] = dataclasses.field(default_factory=dict)
    trials: int = 0


def load(folders: Iterable[Path], *, workers: int = 1) -> Collection:
    """Reads every record below the folders. A cell that several folders hold is taken from the first.

    Args:
        workers: processes that read very many records (decoding numbers is nearly all of the work). They start
            afresh and import the main module, which must therefore do nothing when imported.

    Raises:
        UserError: a folder does not exist.
    """
    paths = [path for folder in folders for path in find(folder)]
    if workers < 2 or len(paths) < MANY:
        return _load(paths)
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    loader = Loader()
    with _no_collection(), ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for part in pool.map(_load, chunks):
            loader.merge(part)
    return loader.collection


def _load(paths: Iterable[str]) -> Collection:
    loader = Loader()
    with _no_collection():
        for path in paths:
            loader.add(path)
    return loader.collection


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """What is read lives on and holds no cycles: looking for them costs a tenth of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class Loader:
    """Reads records one by one and shares what they have in common."""

    def __init__(self) -> None:
        self.collection = Collection()
        self._known: dict[tuple[bytes, bytes], Common] = {}
        self._shapes = Shapes()
        self._settings: dict[Setting, Setting] = {}
        self._layouts: dict[tuple[str, ...], dict[str, int]] = {}
        self._texts: dict[str, str] = {}
        self._seen: set[str] = set()

    @functools.cached_property
    def _shipped(self) -> dict[str, str]:
        """Names of the judges that come with the suite, by the digest of their weights."""
        return {card.sha256: card.name for card in shipped_cards().values()}

    def add(self, path: str) -> None:
        """Reads one record, or why the cell failed where there is none; notes what cannot be read."""
        try:
            raw = read_bytes(path)
            if raw is None:
                self._add_failure(path)
                return
            record = self._read(raw)
            if record.get("schema") != SCHEMA:
                raise UserError(f"{path} is not a record of schema {SCHEMA}; run the cell again with this version.")
            missing = [key for key in REQUIRED if key not in record]
            if missing:
                raise UserError(f"{path} lacks {', '.join(missing)}; run the cell again.")
            if "tuning" in record:
                self.collection.trials += 1
                return
            entry = self._entry(path, record)
        except UserError as error:
            self.collection.problems.append(str(error))
            return
        except (ArithmeticError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            self.collection.problems.append(
                f"{path} is damaged ({type(error).__name__}: {error}); 'bench validate {path}' says where."
            )
            return
        self._keep(entry)

    def merge(self, part: Collection) -> None:
        """Takes over what another process has read, and shares again what its entries have in common."""
        for setting, about in part.about.items():
            self._describe(self._settings.setdefault(setting, setting), about)
        self.collection.problems += part.problems
        self.collection.trials += part.trials
        for digest_, config in part.configs.items():
            self.collection.configs.setdefault(digest_, config)
        # Within a part they are shared already, so that each needs to be looked up once.
        settings = {
            key: self._settings[setting]
            for key, setting in {id(entry.setting): entry.setting for entry in part.entries}.items()
        }
        layouts = {
            key: self._layouts.setdefault(tuple(names), names)
            for key, names in {id(entry.names): entry.names for entry in part.entries}.items()
        }
        for entry in part.entries:
            entry.setting, entry.names = settings[id(entry.setting)], layouts[id(entry.names)]
            self._keep(entry)

    def _keep(self, entry: Entry) -> None:
        if entry.cell in self._seen:
            return
        self._seen.add(entry.cell)
        self.collection.entries.append(entry)

    def _text(self, value: Any) -> str:
        text = value if isinstance(value, str) else "" if value is None else str(value)
        return self._texts.setdefault(text, text)

    def _read(self, raw: bytes) -> Json:
        """The record, less the logs of its training; parts that many records share are parsed once."""
        sections = sections_of(raw)
        if sections is None:
            return _object(raw)
        try:
            record = {name: _DECODER.decode(sections.values[name].decode()) for name in OWN if name in sections.values}
            common = self._common_of(sections)
            record |= common.parts
            record["common"] = common
            record["metrics"] = None
            record["numbers"] = self._shapes.read(sections.values["metrics"], common.headline, record["cost"])
            if record["numbers"] is None:
                record["metrics"] = _DECODER.decode(sections.values["metrics"].decode())
        except ValueError:  # laid out otherwise than it looked
            return _object(raw)
        return record

    def _common_of(self, sections: Sections) -> Common:
        """What a row's records share, parsed when it is first seen."""
        found = self._known.get(sections.shared)
        if found is None:
            texts = sections.values
            parts = {name: _DECODER.decode(texts[name].decode()) for name in SHARED if name in texts}
            found = self._common(parts)
            if len(self._known) < _MOST_SHARED:
                self._known[sections.shared] = found
        return found

    def _common(self, record: Json) -> Common:
        code, protocol, environment = record["code"] or {}, record["protocol"] or {}, record["environment"] or {}
        digests, outside = code.get("digests") or {}, record["config"].get("plugin_digest")
        if record["config"] != {}:  # as of a cell that failed before it had a record
            _check(Config, record["config"], "config")
        config, batch_size = describe_config(record["config"])
        self.collection.configs.setdefault(config, record["config"])
        fields: RowFields = {
            "title": self._text(record["title"]),
            "supervision": self._text(record["supervision"]),
            "ranked": bool(record["ranked"]),
            "notes": tuple(self._text(note) for note in record["notes"]),
            "protocol": self._text(protocol.get("name")),
            "config": self._text(config),
            "batch_size": _whole(batch_size),
            "device": self._text(environment.get("device")),
            "threads": _whole(environment.get("threads")),
            "commit": self._text(code.get("commit")),
            "dirty": bool(code.get("dirty")),
            "codes": ("" if outside else self._text(digests.get("method")), self._text(digests.get("suite"))),
        }
        return Common({name: record.get(name) for name in SHARED}, headline_of(record["data"]), fields, {})

    def _entry(self, path: str, record: Json) -> Entry:
        cell, training = record["cell"], record["training"] or {}
        common = record.get("common") or self._common(record)
        names, values = record.get("numbers") or flatten(record)
        return Entry(
            path=path,
            cell=str(cell["id"]),
            method=self._text(cell["method"]),
            variant=self._text(cell["variant"]),
            seed=_whole(cell["seed"]),
            batch=_whole(cell.get("batch")),
            status=self._text(record["status"]),
            signal=self._text(record.get("signal")),
            overrides=tuple(f"{key}={value}" for key, value in sorted(cell["overrides"].items())),
            complete=bool(training.get("complete", False)),
            steps=_whole(training.get("steps")),
            planned_steps=_whole(training.get("planned_steps")),
            setting=self._setting(cell, common, record["status"] == "done"),
            reason=self._text((record.get("error") or {}).get("reason")),
            troubles=_troubles(record.get("warnings"), _whole(training.get("selected_step"))),
            names=self._layout(names),
            values=values,
            **common.fields,
        )

    def _layout(self, names: tuple[str, ...]) -> dict[str, int]:
        if names not in self._layouts:
            self._layouts[names] = {self._text(name): position for position, name in enumerate(names)}
        return self._layouts[names]

    def _setting(self, cell: Json, common: Common, is_done: bool) -> Setting:
        place = (cell["dataset"], cell["source"], cell["size"], cell["preset"], is_done)
        found = common.settings.get(place)
        if found is not None:
            return found
        data, judge = common.parts["data"] or {}, common.parts["judge"] or {}
        protocol, code = common.parts["protocol"] or {}, common.parts["code"] or {}
        setting = Setting(
            dataset=self._text(cell["dataset"]),
            source=self._text(cell["source"]),
            size=_whole(cell["size"]),
            preset=self._text(cell["preset"]),
            revision=self._text(data.get("revision")),
            digest=self._text(data.get("digest")),
            judge=self._text(judge.get("sha256")),
            protocol=_whole(protocol.get("version")),
            sample=self._text(protocol.get("sample")),
            draws=_whole(protocol.get("draws")),
            version=self._text(code.get("version")),
        )
        if is_done:
            for key, kind in (("data", Data), ("protocol", Protocol), *([("judge", JudgeCard)] if judge else [])):
                _check(kind, common.parts[key], key)
            named = self._shipped.get(judge["sha256"]) if judge else None
            if named is not None and named != judge["name"]:
                raise ValueError(f"judge.name is {shown(judge['name'])}, but these weights are those of {named}")
        setting = self._settings.setdefault(setting, setting)
        about = self.collection.about.get(setting)
        if about is None or (is_done and about.data is None):
            self._describe(
                setting,
                About(
                    unchecked(Data, data),
                    unchecked(JudgeCard, judge) if judge else None,
                    bool(judge) and judge["sha256"] in self._shipped,
                )
                if is_done
                else About(),
            )
        common.settings[place] = setting
        return setting

    def _describe(self, setting: Setting, about: About) -> None:
        """Keeps what the first record that is done says of its setting."""
        if self.collection.about.setdefault(setting, about).data is None:
            self.collection.about[setting] = about

    def _add_failure(self, path: str) -> None:
        """A cell without a record that has failed: its config says which one, its error.json says why."""
        folder = os.path.dirname(path)
        raw = read_bytes(f"{folder}/error.json")
        config = read_bytes(f"{folder}/config.json")
        if raw is None or config is None:
            return
        error, planned = _object(raw), _object(config)
        cell = planned["cell"]
        # Two plug-ins may have one name: their code tells whose row the cell belongs to.
        outside = {key: planned.get(key) for key in _CONFIG} if planned.get("plugin_digest") else {}
        record = {
            "status": "failed",
            "cell": {**cell, "id": os.path.basename(folder)},
            "title": "",
            "supervision": "none",
            "ranked": True,
            "notes": [],
            "config": outside,
            "data": {},
            "judge": {},
            "protocol": {},
            "metrics": {},
            "training": {},
            "cost": {},
            "environment": {},
            "code": {},
            "error": error,
        }
        self._keep(self._entry(path, record))


def _troubles(warnings: Any, selected: int) -> tuple[str, ...]:
    """Kinds of the warnings that held at the step whose weights were judged."""
    return tuple(
        sys.intern(str(one["kind"]))
        for one in warnings or ()
        if _whole(one["step"]) <= selected <= _whole(one["until"])
    )


def _object(raw: bytes) -> Json:
    value = json.loads(raw)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object was expected, not {type(value).__name__}")
    return value


def _check(kind: type[Any], value: Any, key: str) -> None:
    """That a part that tables read by its keys is what its definition says; characters that cannot be shown are no
    reason to show nothing."""
    for where, what in problems(kind, _shown(value), key):
        raise ValueError(f"{where} {what}")


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {printable(name): _shown(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def _whole(value: Any) -> int:
    """A count; 0 for none. What is not exact as a double is refused: it fits no column of a table."""
    number = int(value or 0)
    if abs(number) > MOST_COUNTED:
        raise ValueError("a number is too large")
    return number
