"""`bench judge`: trains, verifies or shows the classifiers that score decoded clips."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqdis.bench.core.arguments import check_range
from seqdis.bench.core.errors import MissingDataError, UserError
from seqdis.bench.core.exits import DONE
from seqdis.bench.core.rules import shown
from seqdis.bench.core.schema import to_json
from seqdis.bench.plan import catalog
from seqdis.bench.records.config import Settings
from seqdis.judges.settings import NAMES

if TYPE_CHECKING:
    import torch

    from seqdis.datasets.base import DataSet
    from seqdis.judges.cards import Card
    from seqdis.judges.judge import Judge

HELP = """Judges: classifiers of every factor, trained once on real clips, the same for every method.

  bench judge show [NAME]      cards of the judges at hand: how they were made and how well they do
  bench judge train NAME       train one into the data folder (nothing to do if there is one)
  bench judge apply CELL ...   score finished cells again under another judge (--name second), without training
  bench judge verify [NAME]    check weights against cards, and accuracies on the test clips that are prepared"""

# What comes with the suite. Judges of licensed data can't; their users train them.
SHIPPED: tuple[tuple[str, str, int, str], ...] = (
    ("sprites", "real", 64, "default"),
    ("sprites", "real", 32, "default"),
    ("sprites", "real", 64, "second"),
    ("sprites", "real", 32, "second"),
    ("sprites", "synthetic", 32, "default"),
    ("sprites", "synthetic", 64, "default"),
    ("mug", "synthetic", 32, "default"),
    ("mug", "synthetic", 64, "default"),
    ("smmnist", "synthetic", 32, "default"),
    ("smmnist", "synthetic", 64, "default"),
    ("smmnist-10k", "real", 32, "default"),
    ("smmnist-10k", "real", 64, "default"),
    ("smmnist-10k", "real", 64, "second"),
)
TOLERANCE = 0.002
"""An accuracy may differ by so much from its card on another machine: a clip or two at the border of two classes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judges:
    """Which judges, as typed: None where the user left it open. And how to train those that are missing."""

    dataset: str | None
    source: str | None
    size: int | None
    name: str | None
    options: Settings
    seed: int
    device: str
    root: Path | None
    again: bool
    as_json: bool

    def include(self, dataset: str, source: str, size: int, name: str) -> bool:
        """Whether a judge is one of them."""
        wanted = (self.dataset, self.source, self.size, self.name)
        return all(
            given is None or given == is_ for given, is_ in zip(wanted, (dataset, source, size, name), strict=True)
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("train", "verify", "show", "apply"), help="what to do")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="data set ('bench list datasets'); apply: cells' folders"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs"), help="apply: output folder of the new records (default: ./runs)"
    )
    parser.add_argument("--source", choices=("real", "synthetic"), help="of the data (train: real)")
    parser.add_argument("--size", type=int, help="side of the frames in pixels (train: 64)")
    parser.add_argument(
        "--name",
        help="default, second (another network, to see whether ranks hang on one judge) or "
        "official (the published network)",
    )
    parser.add_argument(
        "--split", choices=("video", "subject"), help="mug: what the splits keep apart (default: video)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of training (default: 0)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--data-dir", type=Path, help="prepared data (default: $SEQDIS_DATA or the user's cache)")
    parser.add_argument("--again", action="store_true", help="train even if there is one")
    parser.add_argument(
        "--all-shipped",
        action="store_true",
        help="train: those that come with the suite, into the source tree, where the data are "
        "prepared and the judge is missing or of another revision of the data",
    )
    parser.add_argument("--json", action="store_true", help="cards as JSON")


def run(args: argparse.Namespace) -> int:
    if args.action == "apply":
        return _apply(args)
    if len(args.names) > 1:
        raise UserError(f"bench judge {args.action} takes one data set, not {len(args.names)}.")
    check_range("--seed", args.seed, 0, 1_000_000_000)
    check_range("--size", args.size, 0, 4096)
    if args.name is not None and args.name not in NAMES:
        raise UserError(f"unknown judge {shown(args.name)}: --name is one of {', '.join(NAMES)}.")
    args.dataset = next(iter(args.names), None)
    if args.dataset is not None:
        args.dataset = catalog.parse_datasets(args.dataset)[0]
    asked = Judges(
        dataset=args.dataset,
        source=args.source,
        size=args.size,
        name=args.name,
        options={"split": args.split} if args.split and args.split != "video" else {},
        seed=args.seed,
        device=args.device,
        root=args.data_dir,
        again=args.again,
        as_json=args.json,
    )
    if args.action == "train":
        return _train_shipped(asked) if args.all_shipped else _train(asked)
    return _verify(asked) if args.action == "verify" else _show(asked)


def _train(asked: Judges) -> int:
    from seqdis.judges.judge import load_judge
    from seqdis.judges.training import train_judge

    if asked.dataset is None:
        raise UserError("name the data set: bench judge train sprites.")
    if asked.options and "split" not in catalog.load_dataset(asked.dataset).options:
        raise UserError(f"--split chooses how mug is split; {asked.dataset} has one split.")
    dataset = _open(asked.dataset, asked.source or "real", asked.size or 64, asked.root, **asked.options)
    if dataset.spec.headline[0] == "verification":
        raise UserError(f"{asked.dataset} is scored by speaker verification, which needs no judge.")
    name = asked.name or "default"
    if not asked.again:
        try:
            card = load_judge(dataset.spec, asked.root, name).card
            print(f"{card.name} is there already (--again trains it anew).", file=sys.stderr)
            return _print([card], asked.as_json)
        except UserError:
            pass
    card = train_judge(
        dataset,
        root=asked.root,
        name=name,
        seed=asked.seed,
        device=_device(asked.device),
        progress=Lines(),
        again=asked.again,
    ).card
    return _print([card], asked.as_json)


def _train_shipped(asked: Judges) -> int:
    """Brings the judges of the source tree up to date. For maintainers: commit what it writes."""
    from seqdis.judges.cards import find_card, shipped_folder, stem
    from seqdis.judges.judge import save_judge
    from seqdis.judges.training import fit_judge

    cards = []
    for dataset_name, source, size, name in SHIPPED:
        if not asked.include(dataset_name, source, size, name):
            continue
        label = f"{dataset_name} ({source}, {size}, {name})"
        try:
            dataset = _open(dataset_name, source, size, asked.root)
        except (MissingDataError, UserError) as error:
            print(f"{label}: skipped. {error}", file=sys.stderr)
            continue
        try:
            path, card = find_card(dataset.spec, asked.root, name)
            if path.parent == shipped_folder() and not asked.again:
                print(f"{label}: up to date", file=sys.stderr)
                cards.append(card)
                continue
        except MissingDataError:
            pass
        print(f"{label}: training", file=sys.stderr)
        judge = fit_judge(dataset, name=name, seed=asked.seed, device=_device(asked.device), progress=Lines())
        save_judge(judge, shipped_folder(), stem(dataset.spec, name))
        cards.append(judge.card)
    return _print(cards, asked.as_json)


def _apply(args: argparse.Namespace) -> int:
    """Scores finished cells again: a record a cell, in which only the judge and what it said are other."""
    from seqdis.bench.cell import weights
    from seqdis.bench.commands.figure import record_paths
    from seqdis.bench.core.places import data_root
    from seqdis.bench.records.config import read_config
    from seqdis.bench.records.store import CONFIG
    from seqdis.judges.judge import load_judge

    if not args.names or not args.name:
        raise UserError("name the judge and the cells: bench judge apply runs/cells/* --name second.")
    root, device = args.data_dir or data_root(), _device(args.device)
    for path in record_paths(args.names, [args.out]):
        config = read_config(path.parent / CONFIG)
        dataset = catalog.load_dataset(config.data_from or config.cell.dataset)
        spec = dataset.describe(config.cell.source, config.cell.size, **config.data)
        folder = weights.score_again(
            path.parent, load_judge(spec, root, args.name), args.out, device=device, data_dir=root
        )
        print(folder)
    return DONE


class Lines:
    """Progress as lines on stderr, at most one every two seconds."""

    def __init__(self) -> None:
        self.last = -1e9

    def __call__(self, done: int, total: int, text: str) -> None:
        if time.monotonic() - self.last > 2 or done == total:
            self.last = time.monotonic()
            print(f"  step {done} of {total}: {text}", file=sys.stderr, flush=True)


def _verify(asked: Judges) -> int:
    from seqdis.judges.judge import load_card

    found = list(_cards(asked))
    if not found:
        raise UserError(
            f"no such judge; 'bench judge show' lists what is there, "
            f"bench judge train {asked.dataset or 'NAME'} makes one."
        )
    checked = []
    for path, card, _ in found:
        judge = load_card(path, card, card.command)
        try:
            dataset = _open(card.dataset, card.source, card.size, asked.root, **card.options)
            if dataset.spec.revision != card.data.revision:
                raise UserError(
                    f"it was trained on revision {card.data.revision} and {dataset.spec.revision} is prepared."
                )
        except UserError as error:
            print(f"{card.name}: weights match the card (accuracy not recomputed: {error})", file=sys.stderr)
            checked.append(_with(card, verified="digest"))
            continue
        _compare(judge, path, card, dataset)
        print(
            f"{card.name}: weights match the card, and so do the accuracies on {len(dataset.test)} test clips",
            file=sys.stderr,
        )
        checked.append(_with(card, verified="digest and accuracy"))
    return _print(checked, asked.as_json)


def _compare(judge: Judge, path: Path, card: Card, dataset: DataSet) -> None:
    from seqdis.judges.cards import remedy
    from seqdis.judges.training import accuracies

    digest = dataset.digest
    if digest != card.data.digest:
        raise UserError(
            f"{card.name} was trained on other data of the same revision (digest {card.data.digest[:12]}, "
            f"prepared is {digest[:12]}). {remedy(path.parent, card.command)}"
        )
    accuracy, _ = accuracies(judge, dataset.test, dataset.spec)
    for factor, value in accuracy.items():
        if abs(value - card.accuracy.get(factor, -1)) > TOLERANCE:
            raise UserError(
                f"{card.name} is right on {value:.2%} of {factor} and its card says "
                f"{card.accuracy.get(factor, 0):.2%}. {remedy(path.parent, card.command)}"
            )


def _show(asked: Judges) -> int:
    cards = [_with(card, path=str(path), shipped=is_shipped) for path, card, is_shipped in _cards(asked)]
    if not cards and not asked.as_json:
        print("no judge; bench judge train NAME makes one.", file=sys.stderr)
    return _print(cards, asked.as_json)


def _cards(asked: Judges) -> Iterator[tuple[Path, Card, bool]]:
    """The cards that are asked for, shipped ones first, with their paths and whether they are shipped."""
    from seqdis.judges.cards import read_card, shipped_folder, trained_folder

    for folder in (shipped_folder(), trained_folder(asked.root)):
        is_shipped = folder == shipped_folder()
        for path in sorted(folder.glob("*.json")):
            card = read_card(path, "bench judge train NAME --again")
            if asked.include(card.dataset, card.source, card.size, card.judge):
                yield path, card, is_shipped


def _with(card: Card, **more: str | bool) -> Card:
    """The card with more to print at its end."""
    return dataclasses.replace(card, others=card.others | more)


def _print(cards: list[Card], as_json: bool) -> int:
    if as_json:
        print(json.dumps([to_json(card) for card in cards], indent=1))
        return DONE
    if not cards:
        return DONE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Judges: accuracy on held-out clips, and on the same clips blurred", title_justify="left")
    for column in ("judge", "factor", "test", "blurred", "network", "revision", "kB", "sha256"):
        table.add_column(column, justify="right" if column in ("test", "blurred", "kB") else "left")
    for card in cards:
        joint = {f"{name} (all heads)": value for name, value in card.joint.items()}
        about = (card.architecture.kind, card.data.revision, f"{card.bytes / 1000:.0f}", card.sha256[:12])
        rows = [*card.accuracy.items(), *joint.items()]
        for number, (factor, value) in enumerate(rows):
            name, *others = (card.name, *about) if number == 0 else ("",) * 5
            blurred = card.accuracy_blurred.get(factor)
            table.add_row(
                escape(name),
                escape(factor),
                f"{value:.2%}",
                "" if blurred is None else f"{blurred:.2%}",
                *map(escape, others),
                end_section=number == len(rows) - 1,
            )
    width = None if sys.stdout.isatty() else 140
    Console(width=width).print(table)
    return DONE


def _open(name: str, source: str, size: int, root: Path | None, **options: Any) -> DataSet:
    from seqdis.bench.core.places import data_root

    loaded: Callable[..., DataSet] = catalog.load_dataset(name).open
    return loaded(root or data_root(), source, size, **options)


def _device(name: str) -> torch.device:
    from seqdis.bench.cell.device import pick_device

    return pick_device(name)
