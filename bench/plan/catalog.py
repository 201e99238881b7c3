"""What there is: methods, data sets and tables by name. Listing imports nothing heavy; loading does.

A method is found because its module in `methods/` says `METHOD = Class`, a data set because its module in
`datasets/` says `DATASETS = {"name": Class}`. Plug-ins are files (`path/to/file.py:Class`, see `plugins`) and entry points of
the groups `seqdis.methods` and `seqdis.datasets`.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import importlib.util
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqdis.bench.core.errors import UserError, unknown_name
from seqdis.bench.core.places import user_path
from seqdis.bench.core.source import assigned, class_values
from seqdis.bench.plan import plugins
from seqdis.bench.plan.contract import sound

if TYPE_CHECKING:
    from seqdis.datasets.base import DataSet
    from seqdis.methods.base import Method

ALL_METHODS = ("dsvae", "s3vae", "rwae", "mocogan", "fhvae", "cdsvae")
ALL_DATASETS = ("sprites", "mug", "smmnist", "timit")
CONTROLS = ("oracle", "autoencoder:all-in-z", "autoencoder:all-in-s")
ORACLE = "oracle"
PLUGIN_GROUPS = ("seqdis.methods", "seqdis.datasets")
"""Entry points by which installed packages bring methods and data sets."""
_GROUPS = dict(zip(("method", "data set"), PLUGIN_GROUPS, strict=True))


def _room(room: str) -> Path:
    spec = importlib.util.find_spec(f"seqdis.{room}")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"seqdis.{room} is not installed; reinstall with: pip install -e .")
    return Path(next(iter(spec.submodule_search_locations)))


@functools.cache
def method_modules() -> dict[str, Path]:
    """Our methods: name -> file."""
    return {path.stem: path for path in sorted(_room("methods").glob("*.py")) if assigned(path, "METHOD") is not None}


@functools.cache
def dataset_modules() -> dict[str, str]:
    """Our data sets: name -> module."""
    found = {}
    for path in sorted(_room("datasets").glob("*.py")):
        value = assigned(path, "DATASETS")
        if isinstance(value, ast.Dict):
            for key in value.keys:
                if isinstance(key, ast.Constant):
                    found[str(key.value)] = f"seqdis.datasets.{path.stem}"
    return found


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What a data set's own file says of its real data, whatever a record of it says."""

    title: str
    may_show: bool
    attribution: str


@functools.cache
def data_facts(name: str) -> DataFacts | None:
    """Facts of one of our data sets, without importing it; None for other people's.

    A name that has an addition after a dash and is none of ours stands for what is before it.
    """
    modules = dataset_modules()
    ours = name if name in modules else name.partition("-")[0]
    if ours not in modules:
        return None
    path = _room("datasets") / f"{modules[ours].rpartition('.')[2]}.py"
    classes = assigned(path, "DATASETS")
    assert isinstance(classes, ast.Dict)
    named = {
        key.value: value
        for key, value in zip(classes.keys, classes.values, strict=True)
        if isinstance(key, ast.Constant)
    }
    values = class_values(path, ast.unparse(named[ours]))
    return DataFacts(values.get("title", ours), values.get("may_show", True), values.get("attribution", ""))


def _plugins(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def entry_point(kind: str, name: str) -> str:
    """What an installed package names as "package.module:Class", empty for none. `kind` is "method" or "data set"."""
    point = _plugins(_GROUPS[kind]).get(name)
    return point.value if point is not None else ""


def method_names() -> list[str]:
    """Every installed method, plug-ins included, without importing any."""
    return sorted({*method_modules(), *_plugins("seqdis.methods")})


def dataset_names() -> list[str]:
    """Every installed data set, plug-ins included, without importing any."""
    return sorted({*dataset_modules(), *_plugins("seqdis.datasets")})


def is_outside(method: str, plugin_digest: str) -> bool:
    """Whether a method is none of this suite: no file here has its name, or a plug-in's digest says that another had."""
    return bool(plugin_digest) or (method != ORACLE and method not in method_modules())


def docstring(name: str) -> str:
    """A method's module docstring, read without importing it."""
    if name not in method_modules():
        raise unknown_name("method", name, method_names(), "bench list methods")
    return ast.get_docstring(ast.parse(method_modules()[name].read_text(encoding="utf-8"))) or ""


@dataclasses.dataclass(frozen=True)
class MethodRef:
    """What was asked for after --methods: a name or a plug-in file, and a variant.

    `plugin` is "path/to/file.py:Class" for a file outside the suite, else empty.
    """

    name: str
    variant: str = ""
    plugin: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.variant}" if self.variant else self.name

    @property
    def digest(self) -> str:
        """Of what a plug-in's class, its file and the user's files that it imports do; empty for other methods.

        Code that does something else is another method; comments, docstrings and layout do nothing.

        Raises:
            UserError: it cannot be read.
        """
        file, _, name = self.plugin.rpartition(":")
        return plugins.digest_of(Path(file), name) if self.plugin else ""


def parse_methods(text: str) -> list[MethodRef]:
    """The methods named by a comma-separated list: `all`, `controls`, `dsvae`, `rwae:gan`, `file.py:Class`.

    Raises:
        UserError: an unknown method or variant, with the nearest name.
    """
    refs: list[MethodRef] = []
    for part in filter(None, (item.strip() for item in text.split(","))):
        if part == "all":
            refs += [MethodRef(name) for name in ALL_METHODS if name in method_modules()]
        elif part == "controls":
            refs += [_parse_one(name) for name in CONTROLS]
        else:
            refs.append(_parse_one(part))
    if not refs:
        raise UserError("no method named; try --methods all, or 'bench list methods'.")
    return list(dict.fromkeys(refs))


def _parse_one(part: str) -> MethodRef:
    if ".py:" in part or part.endswith(".py"):
        file, _, class_name = part.partition(".py:")
        path = Path(file if file.endswith(".py") else file + ".py").resolve()
        class_name, _, variant = class_name.partition(":")
        if not path.is_file():
            raise UserError(f"{path} does not exist; name a method's file as path/to/file.py:Class.")
        ref = MethodRef(path.stem, variant, f"{path}:{class_name or 'METHOD'}")
    else:
        name, _, variant = part.partition(":")
        if name == ORACLE and not variant:
            return MethodRef(ORACLE)
        if name not in method_names():
            raise unknown_name("method", name, method_names(), "bench list methods")
        ref = MethodRef(name, variant)
    if ref.variant:
        known = load_method(ref).variants
        if ref.variant not in known:
            raise unknown_name(f"variant of {ref.name}", ref.variant, known, f"bench describe {ref.name}")
    return ref


def parse_datasets(text: str) -> list[str]:
    """The data sets named by a comma-separated list, or `all` for the field's four; whole paths of those outside the suite.

    Raises:
        UserError: an unknown data set, with the nearest name.
    """
    names: list[str] = []
    for part in filter(None, (item.strip() for item in text.split(","))):
        if part == "all":
            names += [name for name in ALL_DATASETS if name in dataset_modules()]
        elif part in dataset_names():
            names.append(part)
        elif is_path(part):
            names.append(load_path(part)[0])
        else:
            raise unknown_name("data set", part, dataset_names(), "bench list datasets")
    if not names:
        raise UserError("no data set named; try --datasets sprites, or 'bench list datasets'.")
    return list(dict.fromkeys(names))


def load_method(ref: MethodRef) -> type[Method]:
    """Imports a method's class, which has all that planning reads.

    Raises:
        UserError: a plug-in that cannot be imported, is not a `Method`, or has no whole config.
    """
    return sound(load_class(ref))


def load_class(ref: MethodRef) -> type[Method]:
    """Imports a method's class, whatever it says of itself.

    Raises:
        UserError: a plug-in that cannot be imported or is not a `Method`.
    """
    from seqdis.methods.base import Method

    if ref.plugin:
        file, _, class_name = ref.plugin.rpartition(":")
        found = plugins.load(Path(file), class_name)
    elif ref.name in method_modules():
        found = importlib.import_module(f"seqdis.methods.{ref.name}").METHOD
    else:
        found = _loaded("method", ref.name)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UserError(f"{ref.plugin or ref.name} is {found!r}, not a subclass of seqdis.methods.base.Method.")
    return found


def _loaded(kind: str, name: str) -> Any:
    """What an entry point names. `kind` is "method" or "data set"."""
    try:
        return _plugins(_GROUPS[kind])[name].load()
    except (Exception, SystemExit) as error:  # a plug-in may raise anything at import
        raise UserError(f"{kind} {name!r} cannot be imported ({type(error).__name__}: {error}).") from error


def load_dataset(name: str) -> type[DataSet]:
    """Imports a data set's class: of a name, of a folder of clips, or of `path/to/file.py:Class`.

    Raises:
        UserError: an unknown name, or a plug-in that cannot be imported or is not a `DataSet`.
    """
    if is_path(name):
        return load_path(name)[1]
    if name in dataset_modules():
        found: type[DataSet] = importlib.import_module(dataset_modules()[name]).DATASETS[name]
        return found
    if name not in _plugins("seqdis.datasets"):
        raise unknown_name("data set", name, dataset_names(), "bench list datasets")
    loaded = _loaded("data set", name)
    from seqdis.datasets.base import DataSet

    if not (isinstance(loaded, type) and issubclass(loaded, DataSet)):
        raise UserError(f"data set {name!r} is {loaded!r}, not a subclass of seqdis.datasets.base.DataSet.")
    return loaded


def is_path(name: str) -> bool:
    """Whether what was typed for a data set is a place and no name."""
    return "/" in name or ".py" in name or name in (".", "..") or name.startswith("~")


def load_path(text: str) -> tuple[str, type[DataSet]]:
    """The whole path of a folder of clips or of `path/to/file.py:Class`, and the data set that it is.

    Raises:
        UserError: there is none, or the class is not a `DataSet`.
    """
    from seqdis.datasets import own
    from seqdis.datasets.base import DataSet

    if ".py" not in Path(text).name:
        found = own.of(user_path(text))
        return str(found.source_folder), found
    loaded = load_file(text)
    if not issubclass(loaded, DataSet):
        raise UserError(f"{text} is {loaded!r}, not a subclass of seqdis.datasets.base.DataSet.")
    file, _, name = text.partition(".py:")
    return f"{Path(file + '.py').resolve()}:{name}", loaded


def load_file(text: str) -> type:
    """The class that `path/to/file.py:Class` names, whatever it is.

    Raises:
        UserError: no such file, it cannot be imported, or has no such class.
    """
    file, _, name = text.partition(".py:")
    path = Path(f"{file}.py" if name else file)
    if not path.is_file():
        raise UserError(f"{path} does not exist; name it as path/to/file.py:Class.")
    found = plugins.load(path.resolve(), name.partition(":")[0] or "METHOD")
    if not isinstance(found, type):
        raise UserError(f"{text} is {found!r}, not a class.")
    return found
