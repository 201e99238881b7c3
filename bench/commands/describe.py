"""`bench describe`: a method's paper, equations, departures, capabilities and settings; or a data set or preset."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import sys
from typing import Any

from seqdis.bench.core.errors import unknown_name
from seqdis.bench.plan import catalog

HELP = "Describes a method (its paper, equations, departures, variants and settings), a data set or a preset."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a name that 'bench list' shows, or path/to/file.py:Class")
    parser.add_argument("--preset", help="the settings under this preset instead of the paper's defaults")
    parser.add_argument("--dataset", default="sprites", help="the data set that --preset's settings are for")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    from seqdis.bench.plan.presets import PRESETS

    if args.name in PRESETS:
        found = dataclasses.asdict(PRESETS[args.name])
        pairs = found.pop("by_method_and_dataset")
        found["by_method_and_dataset"] = {":".join(pair): settings for pair, settings in pairs.items()}
        print(json.dumps(found, indent=1))
        return 0
    if args.name in catalog.dataset_names():
        return _dataset(args)
    base = args.name.split(":")[0]
    if base not in catalog.method_names() and ".py" not in args.name:
        known = [*catalog.method_names(), *catalog.dataset_names(), *PRESETS]
        raise unknown_name("name", args.name, known, "bench list")
    return _method(args)


def _method(args: argparse.Namespace) -> int:
    ref = catalog.parse_methods(args.name)[0]
    found = catalog.load_method(ref)
    variant = found.variants.get(ref.variant, {})
    settings = dict(variant)
    if args.preset:
        from seqdis.bench.plan import presets

        settings = {
            **presets.method_settings(presets.get(args.preset), ref.name, args.dataset, found.Config),
            **variant,
        }
    config = found.Config(**settings)
    needs, capabilities = found.needs(config), found.capabilities(config)
    described: dict[str, Any] = {
        "name": str(ref),
        "title": found.variant_title(ref.variant),
        "paper": found.paper,
        "variants": found.variants,
        "needs": dataclasses.asdict(needs),
        "capabilities": dataclasses.asdict(capabilities),
        "settings": dataclasses.asdict(config),
    }
    text = inspect.getdoc(sys.modules[found.__module__]) or ""
    if args.json:
        print(json.dumps({**described, "text": text}, indent=1, default=str))
        return 0
    print(text, end="\n\n")
    print(f"Paper: {found.paper}")
    print(f"Reads in training: {_yes(described['needs']) or 'clips only'}")
    print(
        f"Can: {'encode, ' if capabilities.encodes else ''}decode, sample; "
        f"motion categories: {capabilities.categories}; {'ranked' if capabilities.ranked else 'not ranked'}"
    )
    if found.variants:
        print("Variants:")
        for name, changes in found.variants.items():
            print(f"  {ref.name}:{name}  {', '.join(f'{key}={value}' for key, value in changes.items())}")
    print(
        f"Settings ({'preset ' + args.preset if args.preset else 'the defaults, the paper scale'}; "
        "change one with --set method.KEY=VALUE):"
    )
    width = max(len(name) for name in described["settings"])
    for name, value in described["settings"].items():
        print(f"  {name:{width}s}  {value}")
    return 0


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
        return 0
    print(text)
    print(f"\nSources: {', '.join(found.sources)}")
    if found.options:
        print("Options (choose one with --set data.NAME=VALUE):")
    for name, option in found.options.items():
        print(f"  data.{name}  {option.admitted}; default {json.dumps(option.default)}: {option.text}")
    return 0
