"""The suite's methods, and small models and random batches of the library that checks them."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
import torch

import seqdis.methods
from seqdis.bench.cell.check import bed
from seqdis.bench.cell.check.bed import KINDS, Row
from seqdis.bench.cell.check.methods import rows_of
from seqdis.methods.base import Batch, Context, Method, Shape


def method_classes() -> dict[str, type[Method]]:
    """Every method of the package, by module name."""
    found = {}
    for module in pkgutil.iter_modules(seqdis.methods.__path__):
        method = getattr(importlib.import_module(f"seqdis.methods.{module.name}"), "METHOD", None)
        if method is not None:
            found[module.name] = method
    return found


ROWS = {row.where: row for name, method in method_classes().items() for row in rows_of(name, method)}
"""Every method and variant, as typed: `rwae`, `rwae:gan`."""


def build(row: str, shape: Shape, *, seed: int = 0, **changes: Any) -> Method:
    """A small model of a row."""
    return ROWS[row].build(shape, seed=seed, **changes)


@dataclasses.dataclass(frozen=True)
class Kit:
    """The library's helpers, for test modules (which cannot import one another)."""

    shapes: dict[str, Shape] = dataclasses.field(default_factory=lambda: KINDS)
    rows: dict[str, Row] = dataclasses.field(default_factory=lambda: ROWS)
    build: Callable[..., Method] = build
    batch: Callable[..., Batch] = bed.make_batch
    context: Callable[..., Context] = bed.make_context
    train: Callable[..., list[dict[str, float]]] = bed.train
    classes: Callable[[], dict[str, type[Method]]] = method_classes


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()


@pytest.fixture(autouse=True)
def _one_thread_and_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that name `each_row` run on every method and variant."""
    if "each_row" in metafunc.fixturenames:
        metafunc.parametrize("each_row", ROWS)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints the numbers that the contract reports and does not require."""
    lines = [
        f"  {name}: {value}"
        for report in terminalreporter.stats.get("passed", ())
        for name, value in report.user_properties
        if name.startswith("static change of")
    ]
    if lines:
        terminalreporter.section(
            "Change of the static code under frame shuffles, small nets after three steps (0: none)"
        )
        terminalreporter.write_line("\n".join(lines))
