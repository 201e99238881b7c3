"""What a method says of itself: checks that need no data. Examined are rows: a method, or one of its variants."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from seqdis.bench.cell.check.bed import Row
from seqdis.bench.cell.check.findings import Check, Failure, checks_of, require
from seqdis.bench.core.source import imported
from seqdis.methods.base import Capabilities, Needs

PAGE = "docs/add-a-method.md"
ALLOWED = ("seqdis.methods", "seqdis.datasets.augment", "seqdis.datasets.base.AugmentPolicy")
SHORTEST_DOCSTRING = 300

CHECKS: list[Check[Row]] = []
check = checks_of(PAGE, CHECKS)


@check("what-it-says-of-itself")
def it_names_its_paper_and_its_departures(row: Row) -> None:
    """It has a title, a paper and a module docstring.

    Tables print the title of each variant, so no two may be equal; `bench describe` prints the docstring, which names
    the paper, the equations and what was changed.
    """
    method = row.method
    for name in ("title", "paper"):
        require(isinstance(getattr(method, name, None), str) and getattr(method, name), f"{name} is not set")
    text = inspect.getdoc(inspect.getmodule(method)) or ""
    require(
        len(text) >= SHORTEST_DOCSTRING,
        f"the module docstring has {len(text)} characters, which is too short for the paper, the equations and what "
        f"was changed (at least {SHORTEST_DOCSTRING})",
    )
    titles = [method.variant_title(variant) for variant in ("", *method.variants)]
    twice = sorted({title for title in titles if titles.count(title) > 1})
    require(not twice, f"variant_title gives {', '.join(map(repr, twice))} to more than one variant")
    require(method.variant_title(row.variant), "variant_title gives an empty title")


@check("config")
def config_is_frozen_and_survives_json(row: Row) -> None:
    """Config is a frozen dataclass with defaults, which JSON gives back equal.

    The record holds the whole config and the cell's id hangs on it: a config that changes afterwards, or that JSON
    changes, would name another run.
    """
    require(hasattr(row.method, "Config"), "it has no Config")
    kind = row.method.Config
    require(dataclasses.is_dataclass(kind), f"Config is {kind!r}, not a dataclass")
    require(kind.__dataclass_params__.frozen, "Config can be changed: write @dataclass(frozen=True, kw_only=True)")
    require(inspect.getdoc(kind), "Config has no docstring that explains its fields")
    unset = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    require(not unset, f"Config has no default for {', '.join(unset)}: the defaults are the paper's")
    config = row.config()
    fields = dataclasses.asdict(config)
    try:
        again = kind(**json.loads(json.dumps(fields)))
    except TypeError as error:
        raise Failure(f"Config does not go through JSON ({error}): use numbers, texts and booleans") from error
    changed = [name for name, value in dataclasses.asdict(again).items() if value != fields[name]]
    require(not changed, f"JSON changes {', '.join(changed)} of Config: use numbers, texts and booleans")
    missing = sorted({"lr", "static_dim", "dynamic_dim"} - fields.keys())
    require(not missing, f"Config has no {', '.join(missing)}, which the suite reads")


@check("variants")
def variants_change_fields_of_the_config(row: Row) -> None:
    """Each variant sets fields that the config has.

    `--methods NAME:VARIANT` is the plain method with these settings, and the record says which.
    """
    kind, changes = row.method.Config, row.method.variants.get(row.variant, {})
    known = {field.name for field in dataclasses.fields(kind)}
    unknown = sorted(set(changes) - known)
    require(not unknown, f"the variant sets {', '.join(unknown)}, which Config does not have")
    row.config()


@check("needs-and-capabilities")
def it_says_what_it_needs_and_can(row: Row) -> None:
    """`needs` gives a Needs, `capabilities` a Capabilities, from the config alone.

    They are asked before any data are opened: what is not asked for is not made, and what a method cannot do is printed
    as n/a with its reason.
    """
    config = row.config()
    for name, kind in (("needs", Needs), ("capabilities", Capabilities)):
        found = getattr(row.method, name)(config)
        require(isinstance(found, kind), f"{name}(config) gives {type(found).__name__}, not {kind.__name__}")


@check("imports")
def its_file_imports_nothing_that_knows_the_data(row: Row) -> None:
    """Of the suite it imports `seqdis.methods` (and, to make views, `seqdis.datasets.augment`) only.

    A method that knows which data set, judge or trainer it runs with could be tuned to it.
    """
    seen: set[Path] = set()
    todo = [Path(file) for file in row.files]
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imported(path, _package_of(path, row)):
            allowed = any(name == one or name.startswith(f"{one}.") for one in ALLOWED)
            require(allowed or not name.startswith("seqdis."), f"{path.name} imports {name}")
            todo += _files_of(name, path)


def _package_of(path: Path, row: Row) -> str:
    """The package that a file's relative imports start from."""
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) == str(path):
            return name if path.name == "__init__.py" else name.rpartition(".")[0]
    return row.method.__module__.rpartition(".")[0]


def _files_of(name: str, beside: Path) -> Iterator[Path]:
    """The loaded files behind a dotted name that are methods' or lie beside the plug-in."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        module = sys.modules.get(".".join(parts[:length]))
        file = Path(getattr(module, "__file__", None) or "/")
        own = file.is_relative_to(beside.parent) and "site-packages" not in file.parts
        if file.suffix == ".py" and (own or name.startswith("seqdis.methods.")):
            yield file
