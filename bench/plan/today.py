"""What a cell's numbers would come from today: the code of its method, and all other code that decides numbers.

Two digests of what the code does (`core/meaning.py`) stand in every record; see `method_code` and `suite_code`. How
settings are chosen is in neither: the record has the settings. Nothing is imported, so that tables can ask.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from seqdis.bench.core.provenance import ROOT
from seqdis.bench.plan import catalog
from seqdis.bench.plan.code import Place, behind, digest_of_files, package_folder, reached, users

ROOMS = ("methods", "datasets", "judges", "bench/cell", "bench/core/seeds.py")
"""Where the code is that decides numbers, once the settings are known."""
SAYS_ONLY = tuple(f"bench/cell/{name}.py" for name in ("clips", "energy", "progress", "report"))
"""What measures, shows and reports a run."""
EXPERIMENT = "bench/cell/experiment.py"
"""The file that all the rest of it is imported from. It is read and never run here."""


@functools.cache
def method_code(name: str) -> str:
    """Digest of a method of the suite or of an installed package: its file and all that this imports of its own kind.

    That is `methods/`; of a package, the package and what is the user's (see `code.users`). Empty for what is neither,
    such as the oracle.

    Raises:
        OSError: a file cannot be read.
    """
    if name in catalog.method_modules():
        return digest_of_files(reached(_ours(f"seqdis.methods.{name}", ("methods",)), _of_ours("methods")))
    return _of_package(catalog.entry_point("method", name))


@functools.cache
def suite_code(dataset: str) -> str:
    """Digest of all other code that decides numbers on a data set: what its file and the experiment import of ROOMS.

    Raises:
        OSError: a file cannot be read.
    """
    modules = catalog.dataset_modules()
    own = _ours(modules[dataset], ROOMS) if dataset in modules else []
    first = EXPERIMENT.removesuffix(".py").replace("/", ".")
    found = reached([*own, *_ours(f"seqdis.{first}", ROOMS)], _of_ours(*ROOMS))
    return digest_of_files(found, _of_package(catalog.entry_point("data set", dataset)) if not own else "")


def _of_ours(*rooms: str) -> Callable[[str], list[Place]]:
    return lambda name: _ours(name, rooms)


def _ours(name: str, rooms: tuple[str, ...]) -> list[Place]:
    """The files of the suite's that an import of a dotted name runs, of those in rooms that decide numbers."""
    top, _, rest = name.partition(".")
    if top != "seqdis":
        return []
    start = len(str(ROOT)) + 1
    found = [(str(place[0])[start:], place) for place in behind(ROOT, rest, "seqdis")]
    return [
        place
        for name, place in found
        if name not in SAYS_ONLY and any(name == room or name.startswith(f"{room}/") for room in rooms)
    ]


def _of_package(value: str) -> str:
    """Digest of what an entry point ("package.module:Class") names, and of what that imports of its package."""
    module, _, name = value.partition(":")
    top = module.partition(".")[0]
    folder = package_folder(top)
    if folder is None:
        return ""

    def found(imported: str) -> list[Place]:
        return behind(folder, imported) if imported.partition(".")[0] == top else users(imported)

    return digest_of_files(reached(found(module), found), name)
