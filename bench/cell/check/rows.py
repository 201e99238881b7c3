"""What a method says of itself: checks that need no data. Examined are rows: a method, or one of its variants."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from seqdis.bench.cell.check.bed import Row
from seqdis.bench.cell.check.findings import Check, Failure, Skipped, checks_of, require
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.source import imported
from seqdis.bench.plan import catalog, space
from seqdis.bench.plan.presets import PRESETS
from seqdis.bench.plan.settings import fault
from seqdis.bench.records.config import TrainingConfig
from seqdis.methods.base import Capabilities, Needs, Rule

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


@check("settings-at-each-scale")
def rules_name_what_there_is(row: Row) -> None:
    """Rules name presets, data sets, variants and settings that exist, with values that the settings may have.

    A rule with a wrong name holds nowhere: the row would be trained with the settings of another scale, and nobody would
    hear of it.
    """
    method = row.method
    if not method.rules:
        raise Skipped("it has no rules")
    require(
        isinstance(method.rules, list | tuple) and all(isinstance(rule, Rule) for rule in method.rules),
        "rules is not a tuple of Rule",
    )
    kinds = {"method": method.Config, "training": TrainingConfig}
    inherited = [rule for base in method.__mro__[1:] for rule in getattr(base, "rules", ())]
    for rule in method.rules:
        if any(rule is one for one in inherited):
            continue  # of a family, whose settings this one may lack
        known = (
            ("presets", rule.presets, PRESETS),
            ("data", rule.data, catalog.dataset_names()),
            ("modality", (rule.modality,), ("", "video", "audio")),
            ("variants", rule.variants, ("", *method.variants)),
        )
        for what, names, there_are in known:
            require(isinstance(names, list | tuple), f"{what} of a rule is {names!r}, not a tuple of names")
            for name in names:
                require(
                    name in there_are,
                    f"{what} of a rule names {name!r}; there are: {', '.join(filter(None, there_are))}",
                )
        for part, changes in (("method", rule.method), ("training", rule.training)):
            for name, value in changes.items():
                wrong = fault(kinds, f"{part}.{name}", value)
                require(not wrong, f"a rule sets {wrong}")
        strange = [name for name in rule.training.get("capacity", ()) if name not in method.schedulable]
        require(not strange, f"a rule schedules {', '.join(strange)}, which is not in schedulable")
        row.config(**rule.method)  # what it raises is a failure
        require(not rule.not_trained.endswith("."), "not_trained ends with a full stop, which tables add")


@check("a-space-to-search")
def the_space_is_of_settings_and_values_that_exist(row: Row) -> None:
    """The space names settings of the method or of training, each with values or a range that it may have.

    `bench tune` draws from it, with the same small budget for every method.
    """
    method = row.method
    if not method.space:
        raise Skipped("it has no space")
    try:
        space.dimensions(method)
    except UserError as error:
        raise Failure(str(error).removesuffix(".")) from error


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
    for length in range(
        1 + (parts[0] == "seqdis"), len(parts) + 1
    ):  # the library's front door names what it could open
        module = sys.modules.get(".".join(parts[:length]))
        file = Path(getattr(module, "__file__", None) or "/")
        own = file.is_relative_to(beside.parent) and "site-packages" not in file.parts
        if file.suffix == ".py" and (own or name.startswith("seqdis.methods.")):
            yield file
