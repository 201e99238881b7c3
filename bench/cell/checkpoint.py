"""The file that a stopped run goes on from: written whole or not at all, kept aside where it cannot be read."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from seqdis.bench.cell.device import device_name
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import writing
from seqdis.bench.core.provenance import code_version
from seqdis.bench.core.rules import Range, printable
from seqdis.bench.core.schema import OPTIONAL, Open, from_json, to_json
from seqdis.bench.records.config import Settings
from seqdis.bench.records.record import Change, Changed
from seqdis.judges.settings import Count, Positive
from seqdis.methods.base import Method

Optimisers = Mapping[str, torch.optim.Adam]
"""By player."""
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclasses.dataclass
class State:
    """Everything a resumed run needs beside tensors. `best` is the score of the weights kept as best.

    A row of `validation` is a step and its scores, one of `losses` a step, a player and its terms. `changes` says what
    was other than before when it went on.
    """

    step: Count = 0
    epoch: Count = 0
    step_in_epoch: Count = 0
    seconds: Annotated[float, Range(0)] = 0.0
    best: float | None = None
    best_step: Annotated[int, Range(-1)] = -1
    stale: Count = 0
    finished: bool = False
    validation: tuple[Settings, ...] = ()
    losses: tuple[Settings, ...] = ()
    changes: Annotated[tuple[Change, ...] | None, OPTIONAL] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Maker(Open):
    """What computed a checkpoint: where any of it changes, a run's numbers are not those of one in one piece.

    On a GPU the number of CPU threads, which hangs on how many cells share it, changes none.
    """

    commit: str
    device: str
    gpu: Annotated[str | None, OPTIONAL] = None
    threads: Annotated[Positive | None, OPTIONAL] = None
    torch: str

    def changes(self, now: Maker, step: int) -> tuple[Change, ...]:
        """What is other in `now`, from a step on."""
        told: dict[Changed, tuple[Any, Any]] = {
            "code": (self.commit[:12], now.commit[:12]),
            "device": (self.gpu or self.device, now.gpu or now.device),
            "threads": (self.threads or now.threads, now.threads or self.threads),
            "torch": (self.torch, now.torch),
        }
        return tuple(
            Change(step=step, what=what, before=str(before), after=str(after))
            for what, (before, after) in told.items()
            if before != after
        )


def _maker(device: torch.device) -> Maker:
    """What computes here and now."""
    on_gpu = device.type == "cuda"
    return Maker(
        commit=str(code_version().commit),
        device=device.type,
        gpu=device_name(device) if on_gpu else None,
        threads=None if on_gpu else torch.get_num_threads(),
        torch=torch.__version__,
    )


@dataclasses.dataclass(frozen=True)
class Kept:
    """What a checkpoint holds beside a method's weights and its optimisers' moments.

    Attributes:
        state: where training stands.
        best: the weights kept as best; empty if none are.
        epoch_sequences: the sequences (S,) that this epoch's clips are of; None for all.
    """

    state: State
    best: dict[str, Tensor]
    epoch_sequences: Tensor | None


class Checkpoint:
    """The checkpoint of one run.

    Args:
        path: its file.
        device: what the run computes on.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path, self.device = path, device

    def save(self, method: Method, optimisers: Optimisers, kept: Kept) -> None:
        """Writes the file, whole or not at all."""
        from safetensors.torch import save_file

        tensors = {f"model/{name}": value for name, value in method.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in kept.best.items()}
        for player, optimiser in optimisers.items():
            for position, slots in optimiser.state_dict()["state"].items():
                tensors |= {f"adam/{player}/{position}/{slot}": value for slot, value in slots.items()}
        if kept.epoch_sequences is not None:
            tensors["epoch_sequences"] = kept.epoch_sequences
        metadata = {"state": kept.state, "maker": _maker(self.device)}
        with writing(self.path) as temporary:
            save_file(
                {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
                temporary,
                metadata={name: json.dumps(to_json(value)) for name, value in metadata.items()},
            )

    def resume(self, method: Method, optimisers: Optimisers, n_steps: int) -> Kept | None:
        """Loads weights and moments in place and returns the rest; None if there is no file.

        One that was saved with other threads, on another device or by other code is gone on from, and its state says so.
        One that cannot be used is set aside, with a line that says why; then also None, and nothing has changed.

        Args:
            n_steps: of the whole run.

        Raises:
            UserError: the system does not let it be read.
        """
        if not os.path.lexists(self.path):
            return None
        from safetensors import SafetensorError

        weights = {name: value.clone() for name, value in method.state_dict().items()}
        fresh = {player: optimiser.state_dict() for player, optimiser in optimisers.items()}
        try:
            return self._load(method, optimisers, n_steps)
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be read ({error.strerror or error}): give yourself the right to, or remove it to "
                "train anew."
            ) from None
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            method.load_state_dict(weights)
            for player, optimiser in optimisers.items():
                optimiser.load_state_dict(fresh[player])
            self._set_aside(f"{type(error).__name__}: {error}")
            return None

    def _load(self, method: Method, optimisers: Optimisers, n_steps: int) -> Kept:
        from safetensors import safe_open

        if not self.path.is_file():
            raise ValueError("it is no regular file")
        self.path.open("rb").close()  # where it may not be read, the system says so and safetensors does not
        like = _like(method, optimisers)
        with safe_open(self.path, "pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: _tensor(file, name, like) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        state, maker = from_json(State, json.loads(metadata["state"])), from_json(Maker, json.loads(metadata["maker"]))
        groups: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            groups.setdefault(kind, {})[rest] = value
        best, sequences = groups.get("best", {}), tensors.get("epoch_sequences")
        if not max(state.step_in_epoch, state.best_step) <= state.step <= n_steps:
            raise ValueError(
                f"step {state.step} of {n_steps}, {state.step_in_epoch} of its epoch, best {state.best_step}"
            )
        if bool(best) != (state.best is not None) or (best and best.keys() != groups["model"].keys()):
            raise ValueError("the weights kept as best are not whole")
        state.changes = (*(state.changes or ()), *maker.changes(_maker(self.device), state.step)) or None
        method.load_state_dict(groups["model"])
        for player, optimiser in optimisers.items():
            _load_moments(optimiser, player, groups.get("adam", {}))
        return Kept(state, best, None if sequences is None else sequences.to(self.device))

    def _set_aside(self, reason: str) -> None:
        names = (self.path.with_name(f"{self.path.stem}.damaged-{number}") for number in itertools.count(1))
        aside = next(name for name in names if not os.path.lexists(name))
        self.path.rename(aside)
        said = printable(" ".join(reason.split()))[:300]
        print(f"checkpoint cannot be used ({said}); set aside as {aside.name}, training starts anew", flush=True)


def _like(method: Method, optimisers: Optimisers) -> dict[str, Tensor]:
    """A tensor of the right shape, kind and finiteness for each that a checkpoint may hold, by its name there."""
    state = method.state_dict()
    found = {f"{kind}/{name}": value for kind in ("model", "best") for name, value in state.items()}
    for player, optimiser in optimisers.items():
        parameters = itertools.chain.from_iterable(group["params"] for group in optimiser.param_groups)
        for position, parameter in enumerate(parameters):
            for slot in MOMENTS:
                moment = torch.zeros(()) if slot == "step" else parameter.detach()
                found[f"adam/{player}/{position}/{slot}"] = moment
    return found


def _tensor(file: Any, name: str, like: Mapping[str, Tensor]) -> Tensor:
    """A tensor of a file that is open; one of another shape is not read.

    Raises:
        ValueError: it is not what the run has under this name, or holds numbers that are none where the run's are
            finite.
    """
    shape = tuple(file.get_slice(name).get_shape())
    model = like.get(name, torch.zeros(shape[:1], dtype=torch.long) if name == "epoch_sequences" else None)
    if model is None:
        raise ValueError(f"{name} is unknown here")
    if shape != model.shape:
        raise ValueError(f"{name} is {list(shape)} and should be {list(model.shape)}")
    found: Tensor = file.get_tensor(name)
    if found.dtype != model.dtype:
        raise ValueError(f"{name} is {found.dtype} and should be {model.dtype}")
    if not found.isfinite().all() and model.isfinite().all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return found


def _load_moments(optimiser: torch.optim.Adam, player: str, saved: dict[str, Tensor]) -> None:
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in saved.items():
        owner, position, slot = name.rsplit("/", 2)
        if owner == player:
            slots.setdefault(int(position), {})[slot] = value
    for number, found in slots.items():
        if len(found) < len(MOMENTS):
            raise ValueError(f"the moments {number} of {player} are not whole")
    fresh = optimiser.state_dict()
    optimiser.load_state_dict({"state": slots, "param_groups": fresh["param_groups"]})
    # The fused update walks memory in the weights' order: a moment must lie as its weight does (channels last).
    for parameter, state in optimiser.state.items():
        for slot, value in state.items():
            if value.shape == parameter.shape:
                state[slot] = torch.empty_like(parameter).copy_(value)
