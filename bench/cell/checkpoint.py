"""The file that a stopped run goes on from: written whole or not at all, set aside where it cannot be used."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from seqdis.bench.core.files import writing
from seqdis.bench.core.provenance import code_version
from seqdis.methods.base import Method

Optimisers = Mapping[str, torch.optim.Adam]
"""By player."""


@dataclasses.dataclass
class State:
    """Everything a resumed run needs beside tensors. `best` is the score of the weights kept as best.

    A row of `validation` is a step and its scores, one of `losses` a step, a player and its terms.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    best_step: int = -1
    stale: int = 0
    finished: bool = False
    validation: list[dict[str, float]] = dataclasses.field(default_factory=list)
    losses: list[dict[str, float | str]] = dataclasses.field(default_factory=list)


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


@dataclasses.dataclass(frozen=True)
class Resumed(Kept):
    """What a run goes on from.

    Attributes:
        commit: of the code that saved it.
        gpu: that it was saved on, where that is another than this one; else empty.
    """

    commit: str
    gpu: str


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
        # JSON has no infinity.
        state = {**dataclasses.asdict(kept.state), "best": kept.state.best if kept.best else None}
        maker = json.dumps({**self._maker(), "commit": code_version().commit, "gpu": self._gpu()})
        with writing(self.path) as temporary:
            save_file(
                {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
                temporary,
                metadata={"state": json.dumps(state), "maker": maker},
            )

    def resume(self, method: Method, optimisers: Optimisers) -> Resumed | None:
        """Loads weights and moments in place and returns the rest; None if there is no file.

        One that cannot be used is set aside, with a line that says why; then also None, and nothing has changed.
        """
        if not self.path.exists():
            return None
        from safetensors import SafetensorError

        weights = {name: value.clone() for name, value in method.state_dict().items()}
        fresh = {player: optimiser.state_dict() for player, optimiser in optimisers.items()}
        try:
            return self._load(method, optimisers)
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            method.load_state_dict(weights)
            for player, optimiser in optimisers.items():
                optimiser.load_state_dict(fresh[player])
            self._set_aside(f"{type(error).__name__}: {error}")
            return None

    def _load(self, method: Method, optimisers: Optimisers) -> Resumed:
        from safetensors import safe_open

        with safe_open(self.path, "pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            metadata = file.metadata() or {}
        state, maker = json.loads(metadata["state"]), json.loads(metadata["maker"])
        commit, gpu = str(maker.pop("commit")), str(maker.pop("gpu", ""))
        if maker != self._maker():
            raise ValueError(f"it was made by {maker}, and this is {self._maker()}")
        groups: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            groups.setdefault(kind, {})[rest] = value
        state["best"] = -math.inf if state["best"] is None else state["best"]
        sequences = tensors.get("epoch_sequences")
        resumed = Resumed(
            state=State(**state),
            best=groups.get("best", {}),
            epoch_sequences=None if sequences is None else sequences.to(self.device),
            commit=commit,
            gpu=gpu if gpu != self._gpu() else "",
        )
        method.load_state_dict(groups["model"])
        for player, optimiser in optimisers.items():
            _load_moments(optimiser, player, groups.get("adam", {}))
        return resumed

    def _set_aside(self, reason: str) -> None:
        aside = self.path.with_suffix(".damaged")
        self.path.replace(aside)
        print(f"checkpoint cannot be used ({reason}); set aside as {aside.name}, training starts anew", flush=True)

    def _maker(self) -> dict[str, str | int]:
        """What a resumed run must share with the one that saved, to give the same numbers.

        On a GPU the number of CPU threads, which hangs on how many cells share it, changes none; the kind of GPU does,
        by rounding, and is noted (`Resumed.gpu`) rather than a reason to lose hours.
        """
        threads = {} if self.device.type == "cuda" else {"threads": torch.get_num_threads()}
        return {"device": self.device.type, **threads, "torch": torch.__version__}

    def _gpu(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else ""


def _load_moments(optimiser: torch.optim.Adam, player: str, saved: dict[str, Tensor]) -> None:
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in saved.items():
        owner, position, slot = name.rsplit("/", 2)
        if owner == player:
            slots.setdefault(int(position), {})[slot] = value
    fresh = optimiser.state_dict()
    optimiser.load_state_dict({"state": slots, "param_groups": fresh["param_groups"]})
    # The fused update walks memory in the weights' order: a moment must lie as its weight does (channels last).
    for parameter, state in optimiser.state.items():
        for slot, value in state.items():
            if value.shape == parameter.shape:
                state[slot] = torch.empty_like(parameter).copy_(value)
