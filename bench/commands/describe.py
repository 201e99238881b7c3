"""`bench describe`: a method's paper, equations, departures, capabilities and settings; or a data set or preset."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import sys
from typing import TYPE_CHECKING, Any

from seqdis.bench.core.errors import UserError, unknown_name
from seqdis.bench.core.exits import DONE
from seqdis.bench.core.rules import Curve
from seqdis.bench.plan import catalog
from seqdis.bench.plan.contract import declared

if TYPE_CHECKING:
    from seqdis.bench.plan.cells import Resolved

HELP = "Describes a method (its paper, equations, departures, variants and settings), a data set or a preset."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a name that 'bench list' shows, or path/to/file.py:Class")
    parser.add_argument("--preset", help="the configuration under this preset instead of the paper's defaults")
    parser.add_argument("--dataset", default="sprites", help="the data set that it is for (default: sprites)")
    parser.add_argument("--source", choices=("real", "synthetic"), help="with --preset; default: the preset's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="with --preset: as bench run"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    from seqdis.bench.plan.presets import PRESETS, RENAMED, get

    if args.name in PRESETS or args.name in RENAMED:
        print(json.dumps(dataclasses.asdict(get(args.name)), indent=1))
        return DONE
    if args.name in catalog.dataset_names():
        return _dataset(args)
    base = args.name.split(":")[0]
    if base not in (*catalog.method_names(), catalog.ORACLE) and ".py" not in args.name:
        known = [*catalog.method_names(), catalog.ORACLE, *catalog.dataset_names(), *PRESETS]
        raise unknown_name("name", args.name, known, "bench list")
    if args.overrides and not args.preset:
        raise UserError("--set changes the configuration of a preset: give --preset too, such as --preset quick.")
    ref = catalog.parse_methods(args.name)[0]
    about = _oracle() if ref.name == catalog.ORACLE else _method(ref)
    resolved = None if args.preset is None else _resolved(args, ref)
    if args.json:
        found = dict(about.facts)
        if resolved is not None:
            found |= {
                "settings": resolved.config.method,
                "config": resolved.config.to_json(),
                "origins": resolved.origins,
            }
        print(json.dumps({**found, "text": about.text}, indent=1, default=str))
        return DONE
    print(about.text, end="\n\n")
    print("\n".join(about.lines))
    if resolved is None:
        print("Settings (the defaults, the paper scale; change one with --set method.KEY=VALUE):")
        _print_settings(about.facts["settings"])
    else:
        _print_resolved(resolved)
    return DONE


@dataclasses.dataclass(frozen=True)
class About:
    """A method for people: its text, a few lines, and the same as facts for JSON."""

    text: str
    lines: list[str]
    facts: dict[str, Any]


def _oracle() -> About:
    from seqdis.judges.controls import Oracle

    lines = ["A control: nothing is trained, and it has no settings of its own."]
    return About(inspect.getdoc(Oracle) or "", lines, {"name": catalog.ORACLE, "title": Oracle.title, "settings": {}})


def _method(ref: catalog.MethodRef) -> About:
    found = catalog.load_method(ref)
    config = found.Config(**found.variants.get(ref.variant, {}))
    needs, capabilities = declared(found, config)
    lines = [
        f"Paper: {found.paper}",
        f"Reads in training: {_yes(dataclasses.asdict(needs)) or 'clips only'}",
        f"Can: {'encode, ' if capabilities.encodes else ''}decode, sample; "
        f"motion categories: {capabilities.categories}; {'ranked' if capabilities.ranked else 'not ranked'}",
    ]
    if found.schedulable:
        lines.append(f"Schedules (--set training.capacity.NAME='0.3:20 0.6:1'): {', '.join(found.schedulable)}")
    if found.variants:
        lines.append("Variants:")
        for name, changes in found.variants.items():
            lines.append(f"  {ref.name}:{name}  {', '.join(f'{key}={value}' for key, value in changes.items())}")
    facts = {
        "name": str(ref),
        "title": found.variant_title(ref.variant),
        "paper": found.paper,
        "schedulable": list(found.schedulable),
        "variants": found.variants,
        "needs": dataclasses.asdict(needs),
        "capabilities": dataclasses.asdict(capabilities),
        "settings": dataclasses.asdict(config),
    }
    return About(inspect.getdoc(sys.modules[found.__module__]) or "", lines, facts)


def _resolved(args: argparse.Namespace, ref: catalog.MethodRef) -> Resolved:
    from seqdis.bench.plan import cells, presets, settings

    preset = presets.get(args.preset)
    chosen = tuple(sorted(settings.parse_overrides(args.overrides).items()))
    dataset = catalog.parse_datasets(args.dataset)[0]
    sources = catalog.load_dataset(dataset).sources
    source = args.source or (preset.source if preset.source in sources else sources[0])
    return cells.resolve(cells.Cell(dataset, source, ref, preset.name, 0, 0, chosen))


def _print_resolved(resolved: Resolved) -> None:
    cell, written = resolved.config.cell, resolved.config.to_json()
    print(f"Configuration on {cell.dataset} ({cell.source}), {cell.preset} (change a value with --set PART.KEY=VALUE):")
    options = catalog.load_dataset(cell.dataset).options
    capacity = resolved.config.training.capacity.items()
    written["training"]["capacity"] = ", ".join(f"{name} {Curve.text(points)}" for name, points in capacity) or "none"
    written["data"] = {name: option.default for name, option in options.items()} | written["data"]
    for part, origins in resolved.origins.items():
        if origins:
            print(f"{part}:")
            _print_settings({name: written[part][name] for name in origins}, origins)


def _print_settings(values: dict[str, Any], origins: dict[str, str] | None = None) -> None:
    texts = {name: str(value) for name, value in values.items()}
    name_width = max(map(len, texts), default=0)
    text_width = min(20, max(map(len, texts.values()), default=0))
    for name, text in texts.items():
        origin = f"  {origins[name]}" if origins else ""
        print(f"  {name:{name_width}s}  {text:{text_width if origins else 0}s}{origin}")


def _yes(flags: dict[str, bool]) -> str:
    return ", ".join(name.replace("_", " ") for name, value in flags.items() if value)


def _dataset(args: argparse.Namespace) -> int:
    found = catalog.load_dataset(args.name)
    text = inspect.getdoc(sys.modules[found.__module__]) or ""
    if args.json:
        options = {name: dataclasses.asdict(option) for name, option in found.options.items()}
        print(
            json.dumps({"name": args.name, "sources": list(found.sources), "options": options, "text": text}, indent=1)
        )
        return DONE
    print(text)
    print(f"\nSources: {', '.join(found.sources)}")
    if found.options:
        print("Options (choose one with --set data.NAME=VALUE):")
    for name, option in found.options.items():
        print(f"  data.{name}  {option.admitted}; default {json.dumps(option.default)}: {option.text}")
    return DONE
