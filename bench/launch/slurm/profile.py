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
(`FILE` or `FILE:TABLE`). Flags win over rules, rules over the table, the table over the defaults.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from seqdis.bench.core.errors import UserError, unknown_name
from seqdis.bench.launch.request import JobWishes, Setting
from seqdis.bench.records.config import CellKey

FILE = "slurm.toml"
RULE_KEYS = ("dataset", "method", "variant", "preset", "source")


@dataclasses.dataclass(frozen=True)
class Needs:
    """What one job asks for. Cells with equal needs share job arrays.

    Attributes:
        gpus: a number, or a type and a number such as "a100:1"; 0 asks for none.
        time: the limit, as SLURM writes it ("90" minutes, "12:00:00", "1-00:00:00").
        mem: memory of the job, as SLURM writes it.
        signal_seconds: how long before the limit a cell is told to save and go; SLURM may be a minute early.
        pack: cells that one job runs.
        at_once: how many of those it runs at the same time, on its CPUs and GPUs together.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    gpus: str = "0"
    cpus: int = 1
    mem: str = "4G"
    time: str = "04:00:00"
    signal_seconds: int = 120
    pack: int = 1
    at_once: int = 1

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
        rules = tuple((dict(rule.pop("when", {})), rule) for rule in map(dict, table.pop("rule", [])))
        for when, change in rules:
            _check_names(name, "rule", change, NEEDS)
            _check_names(name, "when", when, RULE_KEYS)
            _check_values(change)
        other = {key: table.pop(key) for key in ("max_jobs", "setup", "python", "extra", "hold") if key in table}
        _check_names(name, "profile", table, NEEDS)
        max_jobs = wishes.max_jobs if wishes.max_jobs is not None else other.get("max_jobs", 0)
        if max_jobs < 0:
            raise UserError(f"--max-jobs {max_jobs} is not a number of jobs; give 1 or more.")
        asked = {**table, **wishes.needs}
        _check_values(asked)
        return cls(
            asked=asked,
            flags=tuple(sorted(wishes.needs)),
            rules=rules,
            max_jobs=max_jobs,
            setup=(*other.get("setup", ()), *wishes.setup),
            python=other.get("python", ""),
            extra=other.get("extra", {}),
            hold=bool(wishes.hold or other.get("hold", False)),
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
                f"--profile {wanted}: there is no {FILE} here nor in {_home()}; write one (docs/slurm.md) "
                "or give the flags."
            )
        return "", {}
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"the profile file {path} cannot be read ({error}).") from None
    default = content.pop("default", None)
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    if stray := sorted(set(content) - set(tables)):
        raise UserError(f"{path}: {', '.join(stray)} must stand below a [profile] heading.")
    chosen = table or default or (next(iter(tables)) if len(tables) == 1 else None)
    if chosen is None:
        raise UserError(
            f"{path} has several profiles; choose with --profile {'|'.join(sorted(tables))}, or say "
            'default = "..." in its first line.'
        )
    if chosen not in tables:
        raise unknown_name("profile", chosen, tables, f"cat {path}")
    return f"{path}:{chosen}", tables[chosen]


def _home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "seqdis"


def _locate(wanted: str | None) -> tuple[Path | None, str | None]:
    if wanted:
        name, separator, table = wanted.rpartition(":")
        for path, rest in ((Path(wanted), None), (Path(name), table) if separator else (Path(wanted), None)):
            if path.is_file():
                return path, rest
        if "/" in wanted or wanted.endswith(".toml"):
            raise UserError(f"--profile {wanted}: there is no such file.")
    for path in (Path(FILE), _home() / FILE):
        if path.is_file():
            return path, wanted
    return None, None


def _check_names(profile: str, kind: str, found: Mapping[str, object], known: Collection[str]) -> None:
    for key in found:
        if key not in known:
            raise unknown_name(f"{kind} setting of {profile}", key, known, "docs/slurm.md")


_TIME = re.compile(r"\d+|(\d+-)?\d+(:\d{1,2}){1,2}|\d+-\d+")
_MEMORY = re.compile(r"\d+[KMGT]?B?", re.IGNORECASE)
_GPUS = re.compile(r"([A-Za-z][\w.-]*:)?\d+")


def _check_values(asked: Mapping[str, Setting]) -> None:
    for key, pattern, example in (("time", _TIME, "12:00:00"), ("mem", _MEMORY, "16G"), ("gpus", _GPUS, "1 or a100:1")):
        if key in asked and not pattern.fullmatch(str(asked[key])):
            raise UserError(f"{key} = {asked[key]!r} is not something that SLURM understands; write it as {example}.")
    for key in ("cpus", "pack", "at_once"):
        if key in asked and int(asked[key]) < 1:
            raise UserError(f"{key} = {asked[key]} must be 1 or more.")
