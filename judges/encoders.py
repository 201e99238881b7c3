"""The protocol of methods with an encoder: codes of test clips are kept, the other code is drawn, and a judge looks.

What is done, and why: `protocol.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqdis.bench.core.files import writing
from seqdis.bench.core.seeds import derive
from seqdis.datasets.base import DataSet, Spec, Split
from seqdis.judges import metrics
from seqdis.judges.distances import error_summary, relative_change, shuffle_change, squared_error
from seqdis.judges.judge import Judge
from seqdis.judges.metrics import Labels, Logits
from seqdis.judges.scores import (
    Directions,
    Draws,
    Evaluation,
    FactorScores,
    Identities,
    Metrics,
    Real,
    Reconstruction,
)
from seqdis.judges.selection import balance, chance, flat, kept_and_leaked
from seqdis.judges.settings import DIRECTIONS, EvaluationConfig
from seqdis.judges.subjects import Control, Rebuild, Subject, examined_clips, positions, subject_of
from seqdis.methods.base import Method

Truth = dict[str, Labels]
"""True labels (N,) of each factor."""


def evaluate_encoder(
    method: Method | Control,
    dataset: DataSet,
    judge: Judge,
    config: EvaluationConfig,
    device: torch.device,
    outputs: dict[str, NDArray[Any]] | None,
) -> Evaluation:
    """Scores of both directions, of reconstructions and of real clips on the test clips: see `protocol.evaluate`."""
    spec, split = dataset.spec, examined_clips(dataset.test, config.max_clips)
    subject = subject_of(method, split, spec, config, device)
    labels = labels_of(split, spec)
    panel = Panel(judge, split, spec, labels, config, device, outputs)
    found: dict[str, Draws] = {}
    identities = None
    n_right = np.zeros(len(split), np.int64)
    headline, factor = spec.headline
    for direction in DIRECTIONS:
        draws = []
        for number in range(config.draws):
            generator = torch.Generator().manual_seed(derive(config.seed, "prior draw", direction, number))
            logits = panel.judged(subject.draw(direction, generator), f"{direction}/{number}")
            draws.append(factor_scores(logits, labels, spec))
            if direction == headline and factor in draws[0]:
                n_right += headline_right(logits, labels, spec)
        found[direction] = Draws(n_clips=len(split), draws=tuple(draws))
        if direction == headline and factor in draws[0]:
            identities = right_by_identity(n_right, split, spec)
    scored = Metrics(
        directions=Directions(**found),
        reconstruction=panel.reconstruction(subject),
        real=Real(factors=panel.real()),
        shuffle=shuffle_change(method, split, config, device) if isinstance(method, Method) else None,
    )
    return Evaluation(protocol="encoder", metrics=scored, identities=identities)


def selection_encoder(
    method: Method | Control, split: Split, spec: Spec, judge: Judge, config: EvaluationConfig, device: torch.device
) -> dict[str, float]:
    """What the checkpoint is chosen by on the clips of `split`: see `protocol.selection_score`."""
    subject = subject_of(method, split, spec, config, device)
    labels = labels_of(split, spec)
    panel = Panel(judge, split, spec, labels, config, device, None)
    acc: dict[str, dict[str, float]] = {}
    change: dict[str, float] = {}
    for direction in DIRECTIONS:
        generator = torch.Generator().manual_seed(derive(config.seed, "selection", direction))
        rebuild = subject.draw(direction, generator)
        scores = panel.scores(rebuild, "")
        acc[direction] = {factor: score.acc for factor, score in scores.items()}
        if not (spec.by_role("static") and spec.by_role("dynamic")):
            change[direction] = relative_change(subject, rebuild, split, config, device)
    sides = kept_and_leaked(acc, spec, chance(labels), change)
    headline, factor = spec.headline
    return {"score": balance(sides), "acc": acc[headline][factor], **flat(sides)}


class Panel:
    """Judges the examined clips however they were rebuilt, always the same clips in the same order."""

    def __init__(
        self,
        judge: Judge,
        split: Split,
        spec: Spec,
        labels: Truth,
        config: EvaluationConfig,
        device: torch.device,
        outputs: dict[str, NDArray[Any]] | None,
    ) -> None:
        self.judge, self.split, self.spec, self.labels = judge, split, spec, labels
        self.config, self.device, self.outputs = config, device, outputs
        if outputs is not None:
            outputs.update({f"labels/{factor}": label for factor, label in labels.items()})

    def judged(self, rebuild: Rebuild, key: str) -> Logits:
        """Logits of every factor for rebuilt clips; they are kept under `key`."""
        batches = torch.split(torch.arange(len(self.split), device=self.device), self.config.batch_size)
        return self._joined([self.judge.classify(rebuild(position)) for position in batches], key)

    def scores(self, rebuild: Rebuild, key: str) -> FactorScores:
        """Scores of every factor and joint for rebuilt clips; logits are kept under `key`."""
        return factor_scores(self.judged(rebuild, key), self.labels, self.spec)

    def real(self) -> FactorScores:
        """The judge's own ceiling: real clips."""
        return self._scored(
            [
                self.judge.classify(self.split.clips(index).to(self.device))
                for index in positions(self.split, self.config.batch_size)
            ],
            "real",
        )

    def reconstruction(self, subject: Subject) -> Reconstruction:
        """Error of the reconstructions and the judge's scores on them."""
        parts: list[dict[str, Tensor]] = []
        errors: list[Tensor] = []
        for index in positions(self.split, self.config.batch_size):
            clips = subject.reconstruct(index.to(self.device))
            parts.append(self.judge.classify(clips))
            errors.append(squared_error(clips, self.split.clips(index).to(self.device)))
        factors = self._scored(parts, "reconstruction")
        return Reconstruction(**error_summary(torch.cat(errors), self.spec), factors=factors)

    def _scored(self, parts: list[dict[str, Tensor]], key: str) -> FactorScores:
        return factor_scores(self._joined(parts, key), self.labels, self.spec)

    def _joined(self, parts: list[dict[str, Tensor]], key: str) -> Logits:
        logits = {factor: torch.cat([part[factor] for part in parts]).float().cpu().numpy() for factor in self.labels}
        if self.outputs is not None:
            self.outputs.update({f"{key}/{factor}": array for factor, array in logits.items()})
        return logits


def factor_scores(logits: Logits, labels: Truth, spec: Spec) -> FactorScores:
    """Scores of each factor, and of each joint of the spec.

    A joint's distribution is the product of its parts' (over sorted classes only, if it is sorted, normalised), and it
    is right where every part is.
    """
    found = {factor: metrics.scores(logits[factor], labels[factor]) for factor in labels}
    for joint in spec.joints:
        heads = [logits[factor] for factor in joint.factors]
        truth = [labels[factor] for factor in joint.factors]
        found[joint.name] = metrics.joint_scores(heads, truth, is_sorted=joint.is_sorted)
    return found


def headline_right(logits: Logits, labels: Truth, spec: Spec) -> NDArray[np.bool_]:
    """Which clips (N,) are right on the headline's factor, or on every part of its joint."""
    name = spec.headline[1]
    parts = next((joint.factors for joint in spec.joints if joint.name == name), (name,))
    return np.logical_and.reduce([logits[part].argmax(axis=1) == labels[part] for part in parts])


def right_by_identity(n_right: Labels, split: Split, spec: Spec) -> Identities:
    """Clips and right answers of each test identity, for intervals over test identities.

    Args:
        n_right: (N,) how many prior draws of a clip are right on the headline.

    Returns:
        Counts in the order of the split's identity numbers, which is the same for every
        method and seed on the same data. They are one line of text each, so that a record stays small.
    """
    place = np.unique(split.identity.cpu().numpy(), return_inverse=True)[1]
    clips = np.bincount(place)
    right = np.bincount(place, weights=n_right).round().astype(np.int64)
    direction, factor = spec.headline
    return Identities(
        unit=spec.identity,
        metric=f"{direction}/{factor}/acc",
        clips=" ".join(map(str, clips.tolist())),
        right=" ".join(map(str, right.tolist())),
    )


def labels_of(split: Split, spec: Spec) -> Truth:
    """True labels (N,) of every factor."""
    return {factor.name: split.labels[factor.name].cpu().numpy() for factor in spec.factors}


def save_outputs(path: Path, outputs: dict[str, NDArray[Any]]) -> None:
    """Writes a judge's outputs as .npz, so that others can recompute every score.

    Keys: `labels/<factor>` (N,), and logits (N, K) under `<direction>/<draw>/<factor>`, `reconstruction/<factor>`
    and `real/<factor>`.
    """
    flat: dict[str, Any] = {key.replace("/", "."): value for key, value in outputs.items()}
    with writing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **flat)
