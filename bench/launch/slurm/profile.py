"""What a job asks of a cluster: the user's wishes, and a profile file in which a lab types them once.

A profile file is TOML; each table is one cluster or partition, and its `rule`s change what some cells ask for:

    default = "a100"

    [a100]
    partition = "gpu"
    gpus = 1
    time = "12:00:00"
    max_jobs = 16
    setup = ["module load cuda/12.8"]

    [[a100.rule]]
    when = { method = "mocogan" }
    time = "1-00:00:00"

It is looked for in ./slurm.toml, then in ~/.config/seqdis/slurm.toml; `--profile` names a table or another file
(`FILE` or `FILE:TABLE`). Flags win over rules, rules over the table, the table over the defaults. What may stand in a
table is said by the fields of `Needs` and `Launch`, each with an example for messages, and by those of `When` in a rule.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from seqdis.bench.core import schema
from seqdis.bench.core.errors import UserError, unknown_name
from seqdis.bench.core.places import config_folder
from seqdis.bench.core.rules import Length, Range, Text
from seqdis.bench.launch.request import JobWishes, Setting
from seqdis.bench.records.config import CellKey

FILE = "slurm.toml"
PAGE = "docs/slurm.md"
LIMIT = Text(40, r"\d+|(\d+-)?\d+(:\d{1,2}){1,2}|\d+-\d+", form="a time limit that SLURM understands")
MEMORY = Text(40, r"\d+[KMGTkmgt]?[Bb]?", form="an amount of memory that SLURM understands")
GPUS = Text(100, r"([\w.+-]+:)?\d+", empty=False, form="a number of GPUs that SLURM understands")
LINES = Text(10_000, lines=True)
MANY = Range(1, 10_000)


@dataclasses.dataclass(frozen=True)
class Needs:
    """What one job asks for. Cells with equal needs share job arrays.

    Attributes:
        gpus: a number, or a type (of a GPU, or of a slice of one) and a number such as "a100:1"; 0 asks for none.
        time: the limit, as SLURM writes it ("90" minutes, "12:00:00", "1-00:00:00"); empty is the partition's own.
        mem: memory of the job, as SLURM writes it; empty is the partition's own, for clusters that refuse to be asked.
        signal_seconds: how long before the limit a cell is told to save and go; SLURM may be a minute early.
        pack: cells that one job runs.
        at_once: how many of those it runs at the same time, on its CPUs and GPUs together.
    """

    partition: Annotated[str, 'partition = "gpu"'] = ""
    account: Annotated[str, 'account = "vision"'] = ""
    qos: Annotated[str, 'qos = "normal"'] = ""
    constraint: Annotated[str, 'constraint = "a100"'] = ""
    gpus: Annotated[str, GPUS, 'gpus = 1, "a100:1" or "1g.10gb:1"'] = "0"
    cpus: Annotated[int, MANY, "cpus = 4, 1 or more"] = 1
    mem: Annotated[str, MEMORY, 'mem = "16G", or "" to leave it out'] = "4G"
    time: Annotated[str, LIMIT, 'time = "12:00:00", or "" to leave it out'] = "04:00:00"
    signal_seconds: Annotated[int, Range(1, 65_535), "signal_seconds = 120, 1 or more"] = 120
    pack: Annotated[int, MANY, "pack = 8, 1 or more"] = 1
    at_once: Annotated[int, MANY, "at_once = 4, 1 or more"] = 1

    @classmethod
    def from_json(cls, stored: Mapping[str, Setting]) -> Needs:
        """From a manifest; what one of another version does not have is the default."""
        return _made(cls(), {key: value for key, value in stored.items() if key in NEEDS})


# A cell that needs a GPU keeps its data on it; the cores feed the launches and the evaluation.
GPU_NEEDS = Needs(gpus="1", cpus=4, mem="16G", time="24:00:00")
CPU_NEEDS = Needs()
HELPER_NEEDS: Mapping[str, Setting] = {"gpus": "0", "pack": 1, "at_once": 1}
NEEDS = tuple(field.name for field in dataclasses.fields(Needs))


@dataclasses.dataclass(frozen=True)
class Launch:
    """What a profile's table says of a launch, beside what its jobs need; see `Options`."""

    max_jobs: Annotated[int, Range(0, 1_000_000), "max_jobs = 16, 1 or more"] = 0
    setup: Annotated[
        tuple[Annotated[str, LINES], ...], Length(0, 1000), 'setup = ["module load cuda/12.8", "source env.sh"]'
    ] = ()
    python: Annotated[str, Text(2000), 'python = "apptainer exec --nv bench.sif python"'] = ""
    extra: Annotated[dict[str, str], 'extra = { mail-type = "END" }'] = dataclasses.field(default_factory=dict)
    hold: Annotated[bool, "hold = true"] = False


@dataclasses.dataclass(frozen=True)
class When:
    """Which cells a rule of a profile is for."""

    dataset: Annotated[str, 'when = { dataset = "mug" }'] = ""
    method: Annotated[str, 'when = { method = "mocogan" }'] = ""
    variant: Annotated[str, 'when = { variant = "no-content-aug" }'] = ""
    preset: Annotated[str, 'when = { preset = "quick" }'] = ""
    source: Annotated[str, 'when = { source = "real" }'] = ""


@dataclasses.dataclass(frozen=True)
class Options:
    """How a grid is submitted.

    Attributes:
        asked: what flags and the profile's table set of `Needs`; flags win over rules, see `needs`.
        flags: the names in `asked` that came from flags.
        rules: (condition, changed needs) pairs of the profile.
        max_jobs: at most so many jobs of one launch run at the same time; 0 is no bound.
        setup: shell lines that each job runs first (environment modules, conda).
        python: the interpreter's command in the job; a container's run command ends in `python`.
        extra: further sbatch options by their long names.
        hold: submit everything held; `scontrol release` starts it.
    """

    asked: Mapping[str, Setting] = dataclasses.field(default_factory=dict)
    flags: tuple[str, ...] = ()
    rules: tuple[tuple[Mapping[str, str], Mapping[str, Setting]], ...] = ()
    max_jobs: int = 0
    setup: tuple[str, ...] = ()
    python: str = ""
    extra: Mapping[str, Setting] = dataclasses.field(default_factory=dict)
    hold: bool = False
    profile: str = ""

    @classmethod
    def of(cls, wishes: JobWishes) -> Options:
        """From what the user says, and the profile that is named or found.

        Raises:
            UserError: a profile that isn't there, or a setting that SLURM could not understand.
        """
        name, table = load_profile(wishes.profile)
        rules = _rules(name, table.pop("rule", []))
        given = {key: table.pop(key) for key in [field.name for field in dataclasses.fields(Launch)] if key in table}
        launch: Launch = schema.unchecked(Launch, _checked(Launch, given, name))
        _check_names(name, "profile", table, NEEDS)
        asked = _checked(Needs, table, name)
        for flag, value in (*wishes.needs.items(), ("max_jobs", wishes.max_jobs)):
            if value is not None:
                _checked(Launch if flag == "max_jobs" else Needs, {flag: value}, f"--{flag.replace('_', '-')}")
        return cls(
            asked={**asked, **wishes.needs},
            flags=tuple(sorted(wishes.needs)),
            rules=rules,
            max_jobs=launch.max_jobs if wishes.max_jobs is None else wishes.max_jobs,
            setup=(*launch.setup, *wishes.setup),
            python=launch.python,
            extra={key: given["extra"][key] is True or value for key, value in launch.extra.items()},
            hold=wishes.hold or launch.hold,
            profile=name,
        )

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Options:
        """From what `to_json` gave, so that another day's `retry` asks for the same."""
        known = {field.name: stored[field.name] for field in dataclasses.fields(cls) if field.name in stored}
        rules = tuple((rule[0], rule[1]) for rule in stored.get("rules", ()))
        tuples = {key: tuple(stored.get(key, ())) for key in ("flags", "setup")}
        return cls(**{**known, **tuples, "rules": rules})

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "rules": [list(rule) for rule in self.rules]}

    def needs(self, cell: CellKey, *, gpu: bool) -> Needs:
        """What a cell's job asks for.

        Args:
            cell: which run it is.
            gpu: whether its preset wants a GPU.
        """
        asked = dict(self.asked)
        for when, change in self.rules:
            if all(str(getattr(cell, key, "")) == str(value) for key, value in when.items()):
                asked |= {key: value for key, value in change.items() if key not in self.flags}
        return _made(GPU_NEEDS if gpu else CPU_NEEDS, asked)

    def helper_needs(self, *, gpu: bool = False) -> Needs:
        """What a job that runs no cell (data preparation, tables) asks for."""
        return _made(GPU_NEEDS if gpu else CPU_NEEDS, {**self.asked, **({} if gpu else HELPER_NEEDS)})


def _made(base: Needs, asked: Mapping[str, Setting]) -> Needs:
    kinds = {field.name: type(getattr(base, field.name)) for field in dataclasses.fields(Needs)}
    return dataclasses.replace(base, **{key: kinds[key](value) for key, value in asked.items()})


def load_profile(wanted: str | None) -> tuple[str, dict[str, Any]]:
    """(where it came from, its settings) of the profile that is wanted, or of the default one; ("", {}) without any.

    Raises:
        UserError: no such file or table, or not TOML.
    """
    path, table = _locate(wanted)
    if path is None:
        if wanted:
            raise UserError(
                f"--profile {wanted}: there is no {FILE} here nor in {config_folder()}; write one ({PAGE}) or give the flags."
            )
        return "", {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"the profile file {path} cannot be read ({error}).") from None
    default = content.pop("default", None)
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    if stray := sorted(set(content) - set(tables)):
        raise UserError(f"{path}: {', '.join(stray)} must stand below a [profile] heading.")
    if not tables:
        raise UserError(f"{path} has no profile; begin one with a heading such as [gpu] ({PAGE}).")
    if default is not None and not isinstance(default, str):
        raise UserError(f'{path}: default must be the name of a profile, such as default = "{min(tables)}".')
    chosen = table or default or (next(iter(tables)) if len(tables) == 1 else None)
    if chosen is None:
        raise UserError(
            f"{path} has several profiles; choose with --profile {'|'.join(sorted(tables))}, or say "
            'default = "..." in its first line.'
        )
    if chosen not in tables:
        raise unknown_name("profile", chosen, tables, f"cat {path}")
    return f"{path}:{chosen}", tables[chosen]


def _locate(wanted: str | None) -> tuple[Path | None, str | None]:
    if wanted:
        name, separator, table = wanted.rpartition(":")
        for path, rest in ((Path(wanted), None), (Path(name), table) if separator else (Path(wanted), None)):
            if path.is_file():
                return path, rest
        if "/" in wanted or wanted.endswith(".toml"):
            raise UserError(f"--profile {wanted}: there is no such file.")
    for path in (Path(FILE), config_folder() / FILE):
        if path.is_file():
            return path, wanted
    return None, None


def _check_names(profile: str, kind: str, found: Mapping[str, object], known: Collection[str]) -> None:
    for key in found:
        if key not in known:
            raise unknown_name(f"{kind} setting of {profile}", key, known, PAGE)


def _rules(name: str, stored: Any) -> tuple[tuple[Mapping[str, str], Mapping[str, Setting]], ...]:
    """(condition, changed needs) of each rule of a profile.

    Raises:
        UserError: something in them is not as `When` and `Needs` say.
    """
    example = f"[[{name.rpartition(':')[2]}.rule]]"
    if not isinstance(stored, list) or not all(isinstance(rule, dict) for rule in stored):
        raise UserError(f"{name}: each rule must be a table of its own, below a line {example}.")
    found = []
    for rule in stored:
        change = {key: value for key, value in rule.items() if key != "when"}
        when = rule.get("when", {})
        if not isinstance(when, dict):
            raise UserError(f'{name}: when must be a table, such as when = {{ method = "mocogan" }}.')
        _check_names(name, "rule", change, NEEDS)
        _check_names(name, "when", when, [field.name for field in dataclasses.fields(When)])
        found.append((_checked(When, when, f"{name}: when"), _checked(Needs, change, f"{name}: rule")))
    return tuple(found)


def _checked(kind: type[Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What is given of a `kind`, as its fields have it.

    Raises:
        UserError: something is not as they say.
    """
    texts = {field.key for field in schema.keys(kind) if isinstance(field.rule, Text)}
    found = {key: _text(value) if key in texts else value for key, value in given.items()}
    if isinstance(setup := found.get("setup"), str):
        found["setup"] = setup.splitlines()
    if isinstance(extra := found.get("extra"), dict):
        found["extra"] = {key: "" if value is True else _text(value) for key, value in extra.items()}
        for key in extra:
            if not re.fullmatch(r"[A-Za-z][\w-]*", key):
                raise UserError(f"{where}: extra: {key!r} is not a long name of an option of sbatch.")
    for field in schema.keys(kind):
        for at, what in field.rule.problems(found[field.key], field.key) if field.key in found else ():
            place = where if where.startswith("--") else f"{where}: {at}"
            raise UserError(f"{place}: {what}; write, for example, {field.meaning}.")
    return found


def _text(value: Any) -> Any:
    """A number or a time of TOML, as it would be typed; anything else as it is."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number or isinstance(value, datetime.time) else value
