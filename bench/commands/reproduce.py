"""`bench reproduce`: run the configuration of a record again, and compare number by number."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from seqdis.bench.core.environment import check_device, worker_environment
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.exits import DONE, FAILED
from seqdis.bench.records.record import RECORD

if TYPE_CHECKING:
    from seqdis.bench.launch.pool import Run
    from seqdis.bench.launch.slots import Slot
    from seqdis.bench.records.config import RunConfig
    from seqdis.bench.records.record import Json, Record
    from seqdis.bench.records.store import Store

HELP = """Runs the configuration of a record again, in a folder of its own, and says which numbers differ and by how much.

On the same processor, torch and number of threads a CPU must give every number to the last bit. Elsewhere accuracies and
error rates are compared: they may differ by 0.05, or by 5 standard deviations over the seeds of the row where three or
more lie beside the record and that is more. Code, data and judge are compared too.

Exit code 0 if no number differs by more than it may, else 1."""
ROWS = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("record", metavar="RECORD", help="a record's file, a cell's folder, or a cell's id in --runs")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where an id is looked for (default: ./runs)")
    parser.add_argument("--out", type=Path, help="output folder (default: beside the record's, with -reproduced)")
    parser.add_argument(
        "--plugin", metavar="FILE.py:CLASS", help="the method's file, for a method outside of the suite"
    )
    parser.add_argument("--data-dir", type=Path, help="prepared data (default: $SEQDIS_DATA or the user's cache)")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N (default: the record's kind)")
    parser.add_argument("--all", action="store_true", help="every number that differs, however many")


def run(args: argparse.Namespace) -> int:
    from seqdis.bench.core import schema
    from seqdis.bench.records.config import config_of
    from seqdis.bench.records.record import read_record
    from seqdis.bench.records.store import Store

    path = _path(args.record, args.runs)
    record = read_record(path)
    if record.status != "done":
        raise UserError(f"{path} has no numbers: its status is {record.status}.")
    try:
        config = config_of(schema.to_json(record))
    except ValueError as error:
        raise UserError(f"{path} does not say all that running it again takes ({error}).") from None
    device = args.device or ("cpu" if record.environment.device.startswith("cpu") else "auto")
    check_device(device)
    config = _with_plugin(config, args.plugin)
    print(f"{record.cell.id}: {record.title} on {record.cell.dataset} ({record.cell.source}), seed {record.cell.seed}")
    print(_code(record, config))
    store = Store(args.out or _beside(path))
    if (store.folder(config.id) / RECORD).resolve() == path.resolve():
        raise UserError(f"{store.out} holds the record itself: name another folder with --out.")
    again = _run_again(config, record, store, device, args.data_dir)
    print(_data(record, again))
    return _compare(path, record, again, everything=args.all)


def _path(text: str, runs: Path) -> Path:
    """The record that is meant.

    Raises:
        UserError: there is none.
    """
    from seqdis.bench.core.places import user_path
    from seqdis.bench.launch.state import match
    from seqdis.bench.records.store import Store

    named = user_path(text)
    if named.is_file():
        return named
    if named.is_dir() or "/" in text:
        if not (named / RECORD).is_file():
            raise UserError(f"{named} holds no {RECORD}: name a record's file, or the folder of a cell that is done.")
        return named / RECORD
    store = Store(runs)
    done = [cell for cell in match(store, text) if store.is_done(cell)]
    if len(done) != 1:
        found = f"{len(done)} cells that are done are called that: {', '.join(done[:4])}" if done else "it is not done"
        raise UserError(f"{text}: {found}; see: bench status --all --out {runs}")
    return store.folder(done[0]) / RECORD


def _beside(path: Path) -> Path:
    """The folder of the record, or of its store, with another name."""
    folder = path.absolute().parent
    if folder.parent.name == "cells":
        folder = folder.parent.parent
    return folder.with_name(f"{folder.name}-reproduced")


def _with_plugin(config: RunConfig, plugin: str | None) -> RunConfig:
    """The config with the file of its method, if that is outside of the suite.

    Raises:
        UserError: the file is not named, not there, or not needed.
    """
    from seqdis.bench.plan.catalog import MethodRef, parse_methods

    if not config.plugin_digest:
        if plugin:
            raise UserError(f"{config.cell.method} is no plug-in's file: leave --plugin out.")
        return config
    if not plugin:
        raise UserError(
            f"{config.cell.method} is a file outside of the suite, and records hold none: name it with "
            "--plugin path/to/file.py:Class."
        )
    (named,) = parse_methods(plugin)
    if not named.plugin:
        raise UserError(f"--plugin {plugin} is no file; name it as path/to/file.py:Class.")
    ref = MethodRef(config.cell.method, config.cell.variant, named.plugin)
    return dataclasses.replace(config, plugin=ref.plugin, plugin_digest=ref.digest)


def _code(record: Record, config: RunConfig) -> str:
    """Whether the code is the record's."""
    from seqdis.bench.plan.outdated import code_words, other_code

    digests = record.code.digests
    if digests is None:
        commit = f", commit {record.code.commit[:12]}" if record.code.commit else ""
        return f"code: not compared; the record says version {record.code.version}{commit} only"
    outside = bool(record.config.plugin_digest)
    reasons = list(
        other_code(record.cell.method, record.cell.dataset, ("" if outside else digests.method, digests.suite))
    )
    if outside and config.plugin_digest != record.config.plugin_digest:
        reasons.insert(0, "method")
    return f"code: the record was {code_words(reasons)}" if reasons else "code: as recorded"


def _run_again(config: RunConfig, record: Record, store: Store, device: str, data_dir: Path | None) -> Record:
    """Runs the cell in its own store. What an earlier call left there half done is gone on from.

    Raises:
        UserError: it failed, or its data are not prepared.
    """
    from seqdis.bench.cell import prerequisites
    from seqdis.bench.commands.display import show
    from seqdis.bench.core.places import data_root
    from seqdis.bench.launch.pool import Pool
    from seqdis.bench.records.record import read_record

    prerequisites.make([config], data_dir or data_root(), device)
    store.check_writable()
    folder = store.add(config.id, config)
    if store.is_done(config.id):
        store.set_aside(config.id)
    pool = Pool(store, [(config.id, record.title)], [_slot(record, device)], data_dir)
    show(pool)
    ended: Run = pool.runs[0]
    if ended.state != "done":
        raise UserError(f"it did not come to its end here ({ended.state}: {ended.reason}), see {folder / 'log.txt'}.")
    return read_record(folder / RECORD)


def _slot(record: Record, device: str) -> Slot:
    """A place with the record's number of threads; on a GPU they change no number."""
    from seqdis.bench.launch.slots import Slot, slots

    if device == "cpu":
        return Slot(worker_environment(record.environment.threads or 1), "cpu")
    return slots(device, 1)[0]


def _data(record: Record, again: Record) -> str:
    """Whether data and judge are the record's."""
    from seqdis.bench.records.record import Data

    found = []
    if isinstance(record.data, Data) and isinstance(again.data, Data) and record.data.digest != again.data.digest:
        found.append(f"other data than recorded ({again.data.digest[:12]} here, {record.data.digest[:12]} there)")
    if record.judge is not None and again.judge is not None and record.judge.sha256 != again.judge.sha256:
        found.append(f"another judge ({again.judge.sha256[:12]} here, {record.judge.sha256[:12]} there)")
    return f"data and judge: {' and '.join(found) or 'as recorded'}"


def _compare(path: Path, record: Record, again: Record, *, everything: bool) -> int:
    """Says what differs. Returns the exit code."""
    from seqdis.bench.core.rules import printable
    from seqdis.bench.core.schema import to_json
    from seqdis.bench.records import compare

    one, other = to_json(record), to_json(again)
    if again.status != record.status:
        print(f"status: {record.status} recorded, {again.status} now: {again.error.reason if again.error else ''}")
        return FAILED
    elsewhere = compare.other_place(record, again.environment)
    found, words = compare.exactly(one, other), "to the last bit"
    if found.differences and elsewhere:
        allowed = _allowed(path, one)
        found = compare.loosely(one, other, allowed)
        words = f"within {compare.LOOSE}"
        words += f" or {compare.SPREADS:.0f} standard deviations over the seeds of the row" if allowed else ""
        print(f"not the place where it was made: {'; '.join(elsewhere)}")
    if not found.differences:
        print(f"{found.total} numbers compared: all are equal {words}")
        if found.largest is not None:
            print(f"the largest difference is that of {printable(found.largest.text())}")
        return DONE
    print(f"{found.total} numbers compared, {len(found.differences)} are not equal {words}:")
    shown = found.differences if everything else found.differences[:ROWS]
    for difference in shown:
        print(f"  {printable(difference.text())}")
    if len(shown) < len(found.differences):
        print(f"  ... and {len(found.differences) - len(shown)} more (--all shows them)")
    return FAILED


def _allowed(path: Path, record: Json) -> dict[str, float]:
    """What the seeds of the record's row allow, of those beside it; empty if there are too few."""
    from seqdis.bench.records.collection import load
    from seqdis.bench.records.compare import tolerances

    folder = path.absolute().parent
    entries = load([folder.parent.parent if folder.parent.name == "cells" else folder]).entries
    own = next((entry for entry in entries if entry.cell == record["cell"]["id"]), None)
    if own is None:
        return {}
    return tolerances(
        entry
        for entry in entries
        if entry.status == "done"
        and (entry.method, entry.variant, entry.config, entry.setting)
        == (own.method, own.variant, own.config, own.setting)
    )
