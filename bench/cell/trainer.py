"""The one training loop: every method, one player or several, exact resume, no host synchronisation in a step.

Randomness is stateless: the order of an epoch and the noise of a step come from generators seeded by (seed, epoch)
and (seed, step), so a run that is killed and resumed gives the numbers of one that was not.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqdis.bench.cell.alarms import EARLY, Alarms
from seqdis.bench.cell.capacity import levels
from seqdis.bench.cell.checkpoint import Checkpoint, Kept, State
from seqdis.bench.cell.progress import Report, TrainingUpdate
from seqdis.bench.cell.trackers import Trackers
from seqdis.bench.core.errors import UserError
from seqdis.bench.core.seeds import derive
from seqdis.bench.records.config import TrainingConfig
from seqdis.bench.records.record import Warned
from seqdis.datasets import augment
from seqdis.datasets.base import Spec, Split
from seqdis.methods.base import Batch, Context, Method

CHECKPOINT_SECONDS = 60.0
"""On a GPU, and between the validations of a CPU: no more than this is lost."""
Validate = Callable[[Method], dict[str, float]]
Losses = dict[str, Tensor]
"""Terms of one player's loss by name, with `total`."""


class Interrupted(Exception):
    """Training was asked to stop; the checkpoint is saved."""


class Diverged(Exception):
    """A loss is no longer finite."""


class Trainer:
    """Trains one method on one split.

    Args:
        method: on `device` already.
        split: training clips; moved to `device`.
        spec: what the clips are, for the augmentations that keep their motion.
        config: see `records.config.TrainingConfig`.
        seed: the run's seed.
        validate: scores the method in eval mode; the weights with the highest "score" are kept.
        motion_labels: (N,) motion classes, if the method asks for them.
        checkpoint: the file that the state is kept in; None keeps none.
        report: called now and then with how far it has come.
        track: opens what is told of losses and validations, given the state that training goes on from and its steps in all.
        should_stop: asked each step; True saves and raises `Interrupted`.

    Attributes:
        state: where training stands.
        end: the step that it is to stop at.
        resumed: whether it went on from a checkpoint.
        compiled: the method's loss, through torch.compile where the config says so; another way of compiling it may be
            put in its place.
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
        report: Report | None = None,
        track: Callable[[State, int], Trackers] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.method, self.split, self.spec, self.config = method, split.to(device), spec, config
        self.seed, self.device = seed, device
        self.validate, self.report, self.should_stop = validate, report, should_stop
        self.track, self.trackers = track, Trackers(())
        self.checkpoint = None if checkpoint is None else Checkpoint(checkpoint, device)
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
        self.n_steps = config.steps or config.epochs * (len(split) // self.batch_size)
        self.end = self.n_steps
        self.compiled = torch.compile(method.loss) if config.compile else method.loss
        self.resumed = False
        self.alarms = self._alarms()
        self._last_save = time.monotonic()
        self._began = 0.0

    def _adam(self, player: str) -> torch.optim.Adam:
        settings = self.method.optimisation(player)
        return torch.optim.Adam(
            self.parameters[player],
            lr=settings.lr,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def fit(self, until: int = 0) -> State:
        """Trains to the end of the schedule and puts the best weights into the method.

        Args:
            until: a step before the end: there it validates, saves and returns, and the method has its last weights.
                0 is the end.

        Raises:
            Interrupted: asked to stop; the state is saved.
            Diverged: a loss is not finite.
        """
        self.end = min(until or self.n_steps, self.n_steps)
        self._resume()
        if self.track is not None:
            self.trackers = self.track(self.state, self.n_steps)
        self.alarms = self._alarms()
        self._began = time.monotonic() - self.state.seconds
        order = self._order() if self.state.step_in_epoch else None
        while self.state.step < self.end and not self.state.finished:
            at = self.state.step_in_epoch * self.batch_size
            if order is None or at + self.batch_size > len(order):
                self.state.epoch += order is not None
                at = self.state.step_in_epoch = 0
                order = self.begin_epoch()
            terms = self.step(order[at : at + self.batch_size])
            self.state.step += 1
            self.state.step_in_epoch += 1
            self.state.seconds = time.monotonic() - self._began
            if self.state.step % self.config.log_every == 0 or self.state.step == self.n_steps:
                self._log(terms)
            validates = self._validates_now()
            if validates:
                self._validate()
            self._save_where_due(validates)
        if self.end < self.n_steps and not self.state.finished:
            return self.state
        self.state.finished = True
        if self.best:
            self.method.load_state_dict(self.best)
        self.method.eval()
        return self.state

    def begin_epoch(self) -> Tensor:
        """Lets the method begin an epoch (FHVAE builds its table there); the positions (N,) of its clips in order."""
        self.generator.manual_seed(derive(self.seed, "epoch", self.state.epoch))
        self.method.train()
        sequences = self.method.on_epoch(self.context())
        self.epoch_sequences = None if sequences is None else sequences.to(self.device)
        return self._order()

    def step(self, index: Tensor) -> dict[str, Losses]:
        """One step of every player on the clips at `index` (B,). Returns each player's loss terms, on the device."""
        self.generator.manual_seed(derive(self.seed, "step", self.state.step))
        batch = self.batch(index)
        ctx = self.context()
        self.method.train()
        terms = {}
        for player in self.optimisers:
            losses = self.losses(batch, player, ctx)
            self.backward(player, losses["total"])
            self.update(player)
            terms[player] = {name: value.detach().float() for name, value in losses.items()}
        self.method.on_step_end(ctx)
        idle = sorted(ctx.capacity.keys() - ctx.applied)
        if idle:
            raise UserError(
                f"the loss of {type(self.method).__name__} has no use for training.capacity.{idle[0]} with these settings: "
                f"leave it out (--set training.capacity.{idle[0]}=null), or have the loss apply it (docs/add-a-method.md)."
            )
        return terms

    def losses(self, batch: Batch, player: str, ctx: Context) -> Losses:
        """A player's loss terms in the precision of the run, with their graph."""
        with self._autocast():
            return self.compiled(batch, player, ctx)

    def backward(self, player: str, total: Tensor) -> None:
        """The gradients of a player's total in its weights, and in nobody else's."""
        self.optimisers[player].zero_grad(set_to_none=True)
        if len(self.optimisers) > 1:
            total.backward(inputs=self.parameters[player])
        else:
            total.backward()

    def update(self, player: str) -> None:
        """Moves a player's weights at the rate of this step."""
        optimiser, rate = self.optimisers[player], self.rates[player] * self._rate_factor()
        for group in optimiser.param_groups:
            group["lr"] = rate
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters[player], self.config.clip_norm)
        optimiser.step()

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
            capacity=levels(self.config.capacity, self.state.step / max(1, self.n_steps)),
        )

    def _order(self) -> Tensor:
        generator = torch.Generator().manual_seed(derive(self.seed, "order", self.state.epoch))
        if self.epoch_sequences is None:
            return torch.randperm(len(self.split), generator=generator).to(self.device)
        chosen = torch.isin(self.split.sequence, self.epoch_sequences).nonzero().flatten()
        if len(chosen) < self.batch_size:
            raise UserError(f"an epoch was given {len(chosen)} clips, and a batch needs {self.batch_size}.")
        return chosen[torch.randperm(len(chosen), generator=generator).to(self.device)]

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

    def _log(self, terms: dict[str, Losses]) -> None:
        for player, losses in terms.items():
            # One copy to the host a player, whatever the number of its terms.
            values = dict(zip(losses, torch.stack([*losses.values()]).tolist(), strict=True))
            bad = [name for name, value in values.items() if not math.isfinite(value)]
            if bad:
                raise Diverged(
                    f"{', '.join(bad)} of {player} is not finite at step {self.state.step}; "
                    "try a lower rate (--set method.lr=...)"
                )
            self.state.losses += ({"step": self.state.step, "player": player, **values},)
            self.trackers.losses(self.state.losses[-1], len(terms))
            self._warn(self.alarms.logged(self.state.step, player, values))
        if self.report is not None:
            seconds, step = self.state.seconds, self.state.step
            self.report(
                TrainingUpdate(
                    phase="train",
                    step=step,
                    steps=self.n_steps,
                    epoch=self.state.epoch,
                    loss=values.get("total"),
                    recon=values.get("recon"),
                    seconds=seconds,
                    sequences_per_second=step * self.batch_size / max(seconds, 1e-9),
                    seconds_left=seconds / step * (self.n_steps - step),
                    warning=self.alarms.now,
                )
            )

    def _alarms(self) -> Alarms:
        """What watches this training, told all that it has logged so far."""
        capacity, n_steps = self.config.capacity, max(1, self.n_steps)
        summed = getattr(self.method.config, "mws_reduction", "mean") == "sum"
        alarms = Alarms(
            batch_size=self.batch_size,
            frames=self.method.shape.n_frames if summed else 1,
            has_motion=bool(self.spec.by_role("dynamic")),
            is_open=lambda step: step >= EARLY * n_steps and levels(capacity, step / n_steps) == levels(capacity, 1.0),
        )
        for line in self.state.losses:
            alarms.logged(line["step"], line["player"], line)
        for line in self.state.validation:
            alarms.validated(line["step"], line)
        return alarms

    def _warn(self, found: list[Warned]) -> None:
        for one in found:
            print(f"warning at step {one.step}: {one.text}", flush=True)

    def _validates_now(self) -> bool:
        if self.validate is None or self.config.validations <= 0:
            return False
        every = max(1, self.n_steps // self.config.validations)
        return self.state.step % every == 0 or self.state.step == self.end

    def _validate(self) -> None:
        assert self.validate is not None
        self.method.eval()
        began = time.monotonic()
        scores = self.validate(self.method)
        self._began += time.monotonic() - began  # no part of the seconds that training took
        self.state.validation += ({"step": self.state.step, **scores},)
        self.trackers.validation(self.state.validation[-1])
        self._warn(self.alarms.validated(self.state.step, scores))
        if scores["score"] > (-math.inf if self.state.best is None else self.state.best):
            self.state.best, self.state.best_step, self.state.stale = scores["score"], self.state.step, 0
            self.best = {name: value.detach().clone() for name, value in self.method.state_dict().items()}
        else:
            self.state.stale += 1
            self.state.finished = bool(self.config.patience) and self.state.stale >= self.config.patience

    def _resume(self) -> None:
        if self.checkpoint is None:
            return
        kept = self.checkpoint.resume(self.method, self.optimisers, self.n_steps)
        if kept is not None:
            self.resumed, self.state, self.best = True, kept.state, kept.best
            self.epoch_sequences = kept.epoch_sequences

    def _save_where_due(self, validated: bool) -> None:
        # On a GPU a validation comes every few seconds and a checkpoint is large: the clock decides when to save. A
        # run that is killed in between validates again, with the same result.
        ends = self.state.step == self.end or self.state.finished
        stops = self.should_stop()
        if (
            stops
            or (validated and (self.device.type == "cpu" or ends))
            or time.monotonic() - self._last_save > CHECKPOINT_SECONDS
        ):
            self._last_save = time.monotonic()
            if self.checkpoint is not None:
                kept = Kept(state=self.state, best=self.best, epoch_sequences=self.epoch_sequences)
                self.checkpoint.save(self.method, self.optimisers, kept)
        if stops:
            raise Interrupted(f"stopped at step {self.state.step} of {self.n_steps}")
