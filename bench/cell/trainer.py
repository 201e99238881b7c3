"""The one training loop: every method, one player or several, exact resume, no host synchronisation in a step.

Randomness is stateless: the order of an epoch and the noise of a step come from generators seeded by (seed, epoch)
and (seed, step), so a run that is killed and resumed gives the numbers of one that was not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import writing
from seqdis.bench.core.provenance import code_version
from seqdis.bench.core.seeds import derive
from seqdis.bench.plan.presets import TrainingConfig
from seqdis.datasets import augment
from seqdis.datasets.base import Spec, Split
from seqdis.methods.base import Batch, Context, Method

CHECKPOINT_SECONDS = 60.0
Validate = Callable[[Method], dict[str, float]]
Progress = Callable[[dict[str, Any]], None]


class Interrupted(Exception):
    """Training was asked to stop; the checkpoint is saved."""


class Diverged(Exception):
    """A loss is no longer finite."""


@dataclasses.dataclass
class State:
    """Everything a resumed run needs beside tensors. `best` is the score of the weights kept as best."""

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    best_step: int = -1
    stale: int = 0
    finished: bool = False
    validation: list[dict[str, float]] = dataclasses.field(default_factory=list)
    losses: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class Trainer:
    """Trains one method on one split.

    Args:
        method: on `device` already.
        split: training clips; moved to `device`.
        spec: what the clips are, for the augmentations that keep their motion.
        config: see `presets.TrainingConfig`.
        seed: the run's seed.
        validate: scores the method in eval mode; the weights with the highest "score" are kept.
        motion_labels: (N,) motion classes, if the method asks for them.
        checkpoint: where the state is kept; None keeps none.
        progress: called now and then with what to show.
        should_stop: asked each step; True saves and raises `Interrupted`.
    """

    def __init__(
        self,
        method: Method,
        split: Split,
        spec: Spec,
        config: TrainingConfig,
        *,
        seed: int,
        device: torch.device,
        validate: Validate | None = None,
        motion_labels: Tensor | None = None,
        checkpoint: Path | None = None,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.method, self.split, self.spec, self.config = method, split.to(device), spec, config
        self.seed, self.device = seed, device
        self.validate, self.checkpoint, self.progress, self.should_stop = validate, checkpoint, progress, should_stop
        self.motion_labels = None if motion_labels is None else motion_labels.to(device)
        self.needs = type(method).needs(method.config)
        self.batch_size = min(config.batch_size, len(split))
        if self.batch_size < 2:
            raise UserError(f"{spec.name} has {len(split)} training clips; a batch needs two or more.")
        self.parameters = {player: method.player_parameters(player) for player in method.players}
        self.optimisers = {player: self._adam(player) for player in method.players}
        self.rates = {player: method.optimisation(player).lr for player in method.players}
        self.generator = torch.Generator(device)
        self.state = State()
        self.best: dict[str, Tensor] = {}
        self.epoch_sequences: Tensor | None = None
        self.steps_per_epoch = len(split) // self.batch_size
        self.n_steps = config.steps or config.epochs * self.steps_per_epoch
        self.compiled = torch.compile(method.loss) if config.compile else method.loss
        self._last_save = time.monotonic()
        self._paused = 0.0
        self.resumed = False
        self.resumed_from = ""
        self.resumed_gpu = ""

    def _adam(self, player: str) -> torch.optim.Adam:
        settings = self.method.optimisation(player)
        return torch.optim.Adam(
            self.parameters[player],
            lr=settings.lr,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def fit(self) -> State:
        """Trains to the end of the schedule and puts the best weights into the method.

        Raises:
            Interrupted: asked to stop; the state is saved.
            Diverged: a loss is not finite.
        """
        self.resumed = self.resume()
        started = time.monotonic() - self.state.seconds
        pending: list[tuple[int, str, tuple[str, ...], Tensor]] = []
        order = self._order() if self.state.step_in_epoch else None
        while self.state.step < self.n_steps and not self.state.finished:
            if order is None or self.state.step_in_epoch * self.batch_size + self.batch_size > len(order):
                if order is not None:
                    self.state.epoch += 1
                self.state.step_in_epoch = 0
                self.epoch_sequences = self._on_epoch()
                order = self._order()
            at = self.state.step_in_epoch * self.batch_size
            terms = self.step(order[at : at + self.batch_size])
            self.state.step += 1
            self.state.step_in_epoch += 1
            self.state.seconds = time.monotonic() - started - self._paused
            if self.state.step % self.config.log_every == 0 or self.state.step == self.n_steps:
                pending += [
                    (self.state.step, player, tuple(losses), torch.stack([*losses.values()]))
                    for player, losses in terms.items()
                ]
                self._log(pending)
                pending.clear()
            if self._validates_now():
                self._validate()
                # On a GPU a validation comes every few seconds and a checkpoint is large: the clock decides when to
                # save. A run that is killed in between validates again, with the same result.
                if self.device.type == "cpu" or self.state.step == self.n_steps or self.state.finished:
                    self.save()
            if self.should_stop():
                self.save()
                raise Interrupted(f"stopped at step {self.state.step} of {self.n_steps}")
            if time.monotonic() - self._last_save > CHECKPOINT_SECONDS:
                self.save()
        self.state.finished = True
        if self.best:
            self.method.load_state_dict(self.best)
        self.method.eval()
        return self.state

    def step(self, index: Tensor) -> dict[str, dict[str, Tensor]]:
        """One step of every player on the clips at `index` (B,). Returns each player's loss terms, on the device."""
        self.generator.manual_seed(derive(self.seed, "step", self.state.step))
        batch = self.batch(index)
        ctx = self.context()
        self.method.train()
        terms = {}
        factor = self._rate_factor()
        for player, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = self.rates[player] * factor
            with self._autocast():
                losses = self.compiled(batch, player, ctx)
            optimiser.zero_grad(set_to_none=True)
            if len(self.optimisers) > 1:
                losses["total"].backward(inputs=self.parameters[player])
            else:
                losses["total"].backward()
            if self.config.clip_norm:
                nn.utils.clip_grad_norm_(self.parameters[player], self.config.clip_norm)
            optimiser.step()
            terms[player] = {name: value.detach().float() for name, value in losses.items()}
        self.method.on_step_end(ctx)
        return terms

    def batch(self, index: Tensor) -> Batch:
        """The training batch at positions `index` (B,), with the views that the method's loss reads."""
        split, needs, generator = self.split, self.needs, self.generator
        drawn = split.draw(index, generator)
        x = drawn.x
        batch = Batch(x=x, index=index, sequence=split.sequence[index], n_segments=split.n_segments[index])
        if needs.content_view:
            batch.content_view = augment.content_view(len(index), x.shape[1], generator)
        if needs.motion_view:
            own = drawn.motion_view(generator)
            batch.motion_view = augment.motion_view(x, self.spec.augment, generator) if own is None else own
        if needs.signal:
            batch.signal = drawn.signal()
        if needs.motion_labels and self.motion_labels is not None:
            batch.motion_labels = self.motion_labels[index]
        return batch

    def context(self) -> Context:
        return Context(
            n_train=len(self.split),
            step=self.state.step,
            epoch=self.state.epoch,
            n_steps=self.n_steps,
            generator=self.generator,
            segments=self._segments,
        )

    def _order(self) -> Tensor:
        generator = torch.Generator().manual_seed(derive(self.seed, "order", self.state.epoch))
        if self.epoch_sequences is None:
            return torch.randperm(len(self.split), generator=generator).to(self.device)
        chosen = torch.isin(self.split.sequence, self.epoch_sequences).nonzero().flatten()
        if len(chosen) < self.batch_size:
            raise UserError(f"an epoch was given {len(chosen)} clips, and a batch needs {self.batch_size}.")
        return chosen[torch.randperm(len(chosen), generator=generator).to(self.device)]

    def _on_epoch(self) -> Tensor | None:
        self.generator.manual_seed(derive(self.seed, "epoch", self.state.epoch))
        self.method.train()
        sequences = self.method.on_epoch(self.context())
        return None if sequences is None else sequences.to(self.device)

    def _segments(self, sequences: Tensor) -> Iterator[Batch]:
        """Batches of every clip of the given sequences, in order."""
        chosen = torch.isin(self.split.sequence, sequences.to(self.device)).nonzero().flatten()
        for index in chosen.split(max(self.batch_size, 64)):
            yield Batch(
                x=self.split.clips(index, self.generator),
                index=index,
                sequence=self.split.sequence[index],
                n_segments=self.split.n_segments[index],
            )

    def _rate_factor(self) -> float:
        if self.config.schedule == "constant":
            return 1.0
        progress = self.state.step / max(1, self.n_steps)
        return self.config.final_lr + (1 - self.config.final_lr) * 0.5 * (1 + math.cos(math.pi * progress))

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.config.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def _log(self, pending: list[tuple[int, str, tuple[str, ...], Tensor]]) -> None:
        for step, player, names, values in pending:
            terms = dict(zip(names, values.tolist(), strict=True))
            bad = [name for name, value in terms.items() if not math.isfinite(value)]
            if bad:
                raise Diverged(
                    f"{', '.join(bad)} of {player} is not finite at step {step}; try a lower rate (--set method.lr=...)"
                )
            self.state.losses.append({"step": step, "player": player, **terms})
        if self.progress is not None:
            last = self.state.losses[-1]
            self.progress(
                {
                    "phase": "train",
                    "step": self.state.step,
                    "steps": self.n_steps,
                    "epoch": self.state.epoch,
                    "loss": last.get("total"),
                    "recon": last.get("recon"),
                    "seconds": self.state.seconds,
                    "sequences_per_second": self.state.step * self.batch_size / max(self.state.seconds, 1e-9),
                    "seconds_left": self.state.seconds / self.state.step * (self.n_steps - self.state.step),
                }
            )

    def _validates_now(self) -> bool:
        if self.validate is None or self.config.validations <= 0:
            return False
        every = max(1, self.n_steps // self.config.validations)
        return self.state.step % every == 0 or self.state.step == self.n_steps

    def _validate(self) -> None:
        assert self.validate is not None
        self.method.eval()
        began = time.monotonic()
        scores = self.validate(self.method)
        self._paused += time.monotonic() - began
        self.state.validation.append({"step": self.state.step, **scores})
        if scores["score"] > self.state.best:
            self.state.best, self.state.best_step, self.state.stale = scores["score"], self.state.step, 0
            self.best = {name: value.detach().clone() for name, value in self.method.state_dict().items()}
        else:
            self.state.stale += 1
            self.state.finished = bool(self.config.patience) and self.state.stale >= self.config.patience

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        self._last_save = time.monotonic()
        if self.checkpoint is None:
            return
        from safetensors.torch import save_file

        tensors = {f"model/{name}": value for name, value in self.method.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        for player, optimiser in self.optimisers.items():
            for position, slots in optimiser.state_dict()["state"].items():
                tensors |= {f"adam/{player}/{position}/{slot}": value for slot, value in slots.items()}
        if self.epoch_sequences is not None:
            tensors["epoch_sequences"] = self.epoch_sequences
        state = {**dataclasses.asdict(self.state), "best": self.state.best if self.best else None}
        maker = json.dumps({**self._maker(), "commit": code_version()["commit"], "gpu": self._gpu()})
        with writing(self.checkpoint) as temporary:
            save_file(
                {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
                temporary,
                metadata={"state": json.dumps(state), "maker": maker},
            )

    def _maker(self) -> dict[str, Any]:
        """What a resumed run must share with the one that saved, to give the same numbers.

        On a GPU the number of CPU threads, which hangs on how many cells share it, changes none; the kind of GPU does,
        by rounding, and is noted (`resumed_gpu`) rather than a reason to lose hours.
        """
        threads = {} if self.device.type == "cuda" else {"threads": torch.get_num_threads()}
        return {"device": self.device.type, **threads, "torch": torch.__version__}

    def _gpu(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else ""

    def resume(self) -> bool:
        """Loads the checkpoint if there is one. A damaged one is set aside and training starts anew."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return False
        from safetensors import SafetensorError, safe_open

        initial = {name: value.clone() for name, value in self.method.state_dict().items()}
        try:
            with safe_open(self.checkpoint, "pt", device="cpu") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
                metadata = file.metadata() or {}
                state, maker = json.loads(metadata["state"]), json.loads(metadata["maker"])
            self.resumed_from, gpu = str(maker.pop("commit")), str(maker.pop("gpu", ""))
            if maker != self._maker():
                raise ValueError(f"it was made by {maker}, and this is {self._maker()}")
            groups: dict[str, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                kind, _, rest = name.partition("/")
                groups.setdefault(kind, {})[rest] = value
            state["best"] = -math.inf if state["best"] is None else state["best"]
            loaded = State(**state)
            self.method.load_state_dict(groups["model"])
            for player, optimiser in self.optimisers.items():
                self._load_adam(optimiser, player, groups.get("adam", {}))
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            self.method.load_state_dict(initial)
            self.optimisers = {player: self._adam(player) for player in self.method.players}
            aside = self.checkpoint.with_suffix(".damaged")
            self.checkpoint.replace(aside)
            print(
                f"checkpoint cannot be used ({type(error).__name__}: {error}); set aside as {aside.name}, "
                "training starts anew",
                flush=True,
            )
            return False
        self.best = groups.get("best", {})
        sequences = tensors.get("epoch_sequences")
        self.epoch_sequences = None if sequences is None else sequences.to(self.device)
        self.resumed_gpu = gpu if gpu != self._gpu() else ""
        self.state = loaded
        return True

    @staticmethod
    def _load_adam(optimiser: torch.optim.Adam, player: str, saved: dict[str, Tensor]) -> None:
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
