"""How far a precision or a compilation option is from float64, in the loss terms and in the gradient.

One model is trained for a few float32 steps, so that no term is measured at the flat start. Its weights, one batch and
the noise are then given to every option and to a float64 copy, and what comes out is compared. Evidence for the choice
of an option is this, and the final scores over seeds.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from seqdis.bench.cell.device import set_precision
from seqdis.bench.core.errors import UserError
from seqdis.bench.perf.testbed import Bed, Settings
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.records.config import Precision
from seqdis.methods.base import Batch


class Change(TypedDict, total=False):
    """What an option changes of a bed's `Settings`."""

    precision: Precision
    compile: bool
    channels_last: bool
    cuda_graph: bool


OPTIONS: dict[str, Change] = {
    "float32": {"precision": "float32"},
    "contiguous": {"precision": "float32", "channels_last": False},
    "tf32": {"precision": "tf32"},
    "bfloat16": {"precision": "bfloat16"},
    "compile": {"precision": "float32", "compile": True},
    "graph": {"precision": "float32", "cuda_graph": True},
}
ON_GPU = ("tf32", "graph")
"""These need a GPU."""
STEPS = 20
"""Float32 steps before anything is compared."""

Terms = dict[str, float]


class SingleDraws(TorchFunctionMode):
    """Draws are made in float32 whatever the default type is, so that float64 code gets the same noise."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in (torch.randn, torch.rand):
            return func(*args, **(kwargs or {}))
        wanted = (kwargs or {}).get("dtype") or torch.get_default_dtype()
        drawn: Tensor = func(*args, **{**(kwargs or {}), "dtype": torch.float32})
        return drawn.to(wanted)


def default_options(device: torch.device) -> list[str]:
    """All that the device has. Compiling, which takes a minute and needs a compiler, is asked for by name."""
    return [
        name for name in OPTIONS if name not in ("compile", "graph") and (device.type == "cuda" or name not in ON_GPU)
    ]


def checked_options(text: str, device: torch.device) -> list[str]:
    """The options of a comma-separated list.

    Raises:
        UserError: an unknown one, or one that the device has not.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in OPTIONS:
            raise UserError(f"--parity {name} is not one of {', '.join(OPTIONS)}.")
        if name in ON_GPU and device.type != "cuda":
            rest = ", ".join(option for option in OPTIONS if option not in ON_GPU)
            raise UserError(f"--parity {name} needs a GPU; on the CPU there are {rest}.")
    return names or default_options(device)


@dataclasses.dataclass(frozen=True)
class Errors:
    """How far an option is from float64.

    Attributes:
        term_error: the largest |a - b| / max(|b|, 1) of the loss terms; `term` says of which.
        gradient_error: |g - h| / |h| over all weights of a player; the largest of its players.
    """

    option: str
    term_error: float
    term: str
    gradient_error: float


def compare(ref: MethodRef, options: Sequence[str], settings: Settings, *, steps: int = STEPS) -> list[Errors]:
    """Errors of each option against float64.

    Args:
        ref: the method.
        options: names of `OPTIONS`.
        steps: float32 steps before the comparison.
    """
    trained = Bed(ref, settings)
    for _ in range(steps):
        trained.step()
    weights = {name: value.detach().clone() for name, value in trained.trainer.method.state_dict().items()}
    exact_terms, exact_gradients = _evaluated(_loaded(Bed(ref, settings), weights), double=True)
    found = []
    for option in options:
        bed = Bed(ref, dataclasses.replace(settings, **OPTIONS[option]))
        terms, gradients = _evaluated(_loaded(bed, weights))
        errors = {
            name: abs(value - exact_terms[name]) / max(abs(exact_terms[name]), 1.0) for name, value in terms.items()
        }
        worst = max(errors, key=lambda name: errors[name])
        gradient_error = max(
            float((gradient - exact_gradients[player]).norm() / exact_gradients[player].norm())
            for player, gradient in gradients.items()
        )
        found.append(Errors(option, errors[worst], worst, gradient_error))
    return found


def _loaded(bed: Bed, weights: dict[str, Tensor]) -> Bed:
    bed.trainer.method.load_state_dict(weights)
    return bed


def _evaluated(bed: Bed, *, double: bool = False) -> tuple[Terms, dict[str, Tensor]]:
    """Loss terms by `player/name`, and the gradient (all weights in one float64 vector) of each player."""
    trainer = bed.trainer
    trainer.method.train()
    trainer.generator.manual_seed(1)
    batch = trainer.batch(bed.index)
    if double:
        trainer.method.double()
        _widen(batch)
    set_precision(trainer.config.precision)
    terms: Terms = {}
    gradients: dict[str, Tensor] = {}
    for player in trainer.method.players:
        # Each player starts from the same noise, so that a draw less before it does not matter.
        trainer.generator.manual_seed(2)
        with _double() if double else contextlib.nullcontext():
            losses = trainer.losses(batch, player, trainer.context())
        trainer.backward(player, losses["total"])
        parameters = trainer.parameters[player]
        gradients[player] = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).double().flatten().cpu() for p in parameters]
        )
        terms |= {f"{player}/{name}": float(value.detach()) for name, value in losses.items()}
    set_precision("float32")
    return terms, gradients


def _widen(batch: Batch) -> None:
    for name in ("x", "motion_view", "signal"):
        value = getattr(batch, name)
        if value is not None:
            setattr(batch, name, value.double())


@contextlib.contextmanager
def _double() -> Iterator[None]:
    """New tensors are float64, and draws are float32 made wider."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with SingleDraws():
            yield
    finally:
        torch.set_default_dtype(before)


def rows(method: str, found: list[Errors]) -> Iterator[str]:
    """The figures as lines for people."""
    for one in found:
        yield (
            f"{method:24s} {one.option:10s} against float64: worst term {one.term_error:.1e} ({one.term}), "
            f"gradient {one.gradient_error:.1e}"
        )
