"""The protocol: what is fixed, what is drawn, what is scored. One for every method, so that rows can be compared.

1. Each test clip is encoded once; the code that is fixed is the posterior mean.
2. Two directions: `fix_dynamic` keeps z and draws s from its prior (does the motion survive, do attributes change?),
   `fix_static` keeps s and draws z (do the attributes survive, does the motion change?).
3. The decoded clip is judged on every factor and scored against the true label of the source clip, over all test
   clips (no batch is dropped), once a prior draw. What is kept should be right, what is drawn anew at chance: the
   latter is leakage.
4. Beside it: the judge on the real clips and on reconstructions (the ceilings), and the reconstruction error.

The same numbers result for any batch size. Where published code differs: it decodes the prior's step means (option
`sample="means"`), drops the last test batch and takes the entropies over a class-balanced subset.

Methods without an encoder go to `generation.py`, speaker verification to `verification.py`.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqdis.bench.core.seeds import derive
from seqdis.datasets.base import DataSet, Spec, Split
from seqdis.judges import metrics
from seqdis.judges.judge import Judge
from seqdis.judges.selection import balance, chance, kept_and_leaked
from seqdis.judges.settings import EvaluationConfig
from seqdis.judges.subjects import (
    DIRECTIONS,
    HasSubject,
    MethodSubject,
    Rebuild,
    Subject,
    positions,
    shuffle_change,
)

CPU_BATCH = 32
"""Clips at once on a CPU, at most: a larger batch leaves the caches between two layers, and takes a tenth longer."""

Logits = dict[str, NDArray[np.float32]]
Labels = dict[str, NDArray[np.int64]]
Scores = dict[str, dict[str, float]]


def evaluate(
    method: Any,
    dataset: DataSet,
    judge: Judge | None,
    config: EvaluationConfig,
    device: torch.device | str = "cpu",
    *,
    outputs: dict[str, NDArray[Any]] | None = None,
) -> dict[str, Any]:
    """Scores a trained method on the test clips.

    Args:
        method: a `Method` on `device`, or a control that brings its own subject. Its mode is left as it was.
        judge: of these data, on `device`; None where verification scores need none.
        outputs: if given, filled with the judge's logits and the labels (see `save_outputs`).

    Returns:
        `metrics` of the record (`bench/records.py`), "protocol", the name of the protocol that was used, and
        "identities" where test clips are judged: see `right_by_identity`.
    """
    device = torch.device(device)
    config = _sized(config, device)
    with _examined(method):
        if dataset.spec.headline[0] == "verification":
            return _evaluate_verification(method, dataset, config, device)
        if judge is None:
            raise ValueError(f"{dataset.spec.name} is scored by a judge, and none was given")
        dataset = _with_spec(dataset, judged_spec(dataset.spec, judge))
        if not _encodes(method):
            from seqdis.judges.generation import evaluate_generator

            return {"protocol": "generator", "generator": evaluate_generator(method, dataset, judge, config, device)}
        split = examined_clips(dataset.test, config.max_clips)
        return {"protocol": "encoder", **_evaluate_encoder(method, split, dataset.spec, judge, config, device, outputs)}


def _sized(config: EvaluationConfig, device: torch.device) -> EvaluationConfig:
    largest = CPU_BATCH if device.type == "cpu" else config.batch_size
    return dataclasses.replace(config, batch_size=min(config.batch_size, largest))


def _evaluate_encoder(
    method: Any,
    split: Split,
    spec: Spec,
    judge: Judge,
    config: EvaluationConfig,
    device: torch.device,
    outputs: dict[str, NDArray[Any]] | None,
) -> dict[str, Any]:
    subject = subject_of(method, split, spec, config, device)
    labels = labels_of(split, spec)
    panel = Panel(judge, split, spec, labels, config, device, outputs)
    result: dict[str, Any] = {"directions": {}}
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
        result["directions"][direction] = {"n_clips": len(split), "draws": draws}
        if direction == headline and factor in draws[0]:
            result["identities"] = right_by_identity(n_right, split, spec)
    result["reconstruction"] = panel.reconstruction(subject)
    result["real"] = {"factors": panel.real()}
    if not isinstance(method, HasSubject):
        result["shuffle"] = _shuffle(method, split, config, device)
    return result


def _evaluate_verification(
    method: Any, dataset: DataSet, config: EvaluationConfig, device: torch.device
) -> dict[str, Any]:
    from seqdis.judges.verification import evaluate_verification

    split = examined_clips(dataset.test, config.max_clips)
    subject = subject_of(method, split, dataset.spec, config, device)
    error = squared_errors(subject, split, dataset.spec, config, device)
    return {
        "protocol": "verification",
        **evaluate_verification(method, dataset, config, device),
        "reconstruction": {**error, "factors": {}},
        "shuffle": _shuffle(method, split, config, device),
    }


def _shuffle(method: Any, split: Split, config: EvaluationConfig, device: torch.device) -> float:
    generator = torch.Generator().manual_seed(derive(config.seed, "shuffle"))
    return shuffle_change(method, split, device, generator, n_clips=config.shuffle_clips, batch_size=config.batch_size)


def selection_score(
    method: Any,
    split: Split,
    spec: Spec,
    judge: Judge | None,
    config: EvaluationConfig,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """What the checkpoint is chosen by, on validation clips: one prior draw in each direction, always the same one.

    Returns:
        "score" to maximise (see `selection.balance`), "acc" of the headline where it has one, and for each direction
        "<direction>/kept" and "<direction>/leaked".
    """
    device = torch.device(device)
    config = _sized(config, device)
    chosen = examined_clips(split, config.selection_clips)
    with _examined(method):
        if spec.headline[0] == "verification":
            return _selection_verification(method, split, chosen, spec, config, device)
        if judge is None:
            raise ValueError(f"{spec.name} is scored by a judge, and none was given")
        spec = judged_spec(spec, judge)
        if not _encodes(method):
            from seqdis.judges.generation import selection_generator

            return selection_generator(method, chosen, spec, judge, config, device)
        return _selection_encoder(method, chosen, spec, judge, config, device)


def _selection_encoder(
    method: Any, split: Split, spec: Spec, judge: Judge, config: EvaluationConfig, device: torch.device
) -> dict[str, float]:
    subject = subject_of(method, split, spec, config, device)
    labels = labels_of(split, spec)
    panel = Panel(judge, split, spec, labels, config, device, None)
    acc: dict[str, dict[str, float]] = {}
    change: dict[str, float] = {}
    for direction in DIRECTIONS:
        generator = torch.Generator().manual_seed(derive(config.seed, "selection", direction))
        rebuild = subject.draw(direction, generator)
        scores = panel.scores(rebuild, "")
        acc[direction] = {factor: score["acc"] for factor, score in scores.items()}
        if not (spec.by_role("static") and spec.by_role("dynamic")):
            change[direction] = relative_change(subject, rebuild, split, config, device)
    sides = kept_and_leaked(acc, spec, chance(labels), change)
    headline, factor = spec.headline
    return {
        "score": balance(sides),
        "acc": acc[headline][factor],
        **{f"{direction}/{key}": value for direction, pair in sides.items() for key, value in pair.items()},
    }


def _selection_verification(
    method: Any, split: Split, chosen: Split, spec: Spec, config: EvaluationConfig, device: torch.device
) -> dict[str, float]:
    """The verification score, counted only as far as a draw of the dynamic code changes the clips.

    A dynamic code that carries nothing verifies nobody, so an autoencoder with everything in the static code would
    win by verification alone. Whole utterances are verified (codes are cheap), a part of the clips is decoded.
    """
    from seqdis.judges.verification import selection_verification

    found = selection_verification(method, split, spec, config, device)
    subject = subject_of(method, chosen, spec, config, device)
    generator = torch.Generator().manual_seed(derive(config.seed, "selection", "fix_static"))
    change = relative_change(subject, subject.draw("fix_static", generator), chosen, config, device)
    score = found["score"] * change if found["score"] > 0 else found["score"]
    return found | {"score": score, "fix_static/change": change}


class Panel:
    """Judges the examined clips however they were rebuilt, always the same clips in the same order."""

    def __init__(
        self,
        judge: Judge,
        split: Split,
        spec: Spec,
        labels: Labels,
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

    def scores(self, rebuild: Rebuild, key: str) -> Scores:
        """Scores of every factor and joint for rebuilt clips; logits are kept under `key`."""
        return factor_scores(self.judged(rebuild, key), self.labels, self.spec)

    def real(self) -> Scores:
        """The judge's own ceiling: real clips."""
        return self._scored(
            [
                self.judge.classify(self.split.clips(index).to(self.device))
                for index in positions(self.split, self.config.batch_size)
            ],
            "real",
        )

    def reconstruction(self, subject: Subject) -> dict[str, Any]:
        """Error of the reconstructions and the judge's scores on them."""
        parts: list[dict[str, Tensor]] = []
        errors: list[Tensor] = []
        for index in positions(self.split, self.config.batch_size):
            clips = subject.reconstruct(index.to(self.device))
            parts.append(self.judge.classify(clips))
            errors.append(_squared_error(clips, self.split.clips(index).to(self.device)))
        return {**_error_summary(torch.cat(errors), self.spec), "factors": self._scored(parts, "reconstruction")}

    def _scored(self, parts: list[dict[str, Tensor]], key: str) -> Scores:
        return factor_scores(self._joined(parts, key), self.labels, self.spec)

    def _joined(self, parts: list[dict[str, Tensor]], key: str) -> Logits:
        logits = {factor: torch.cat([part[factor] for part in parts]).float().cpu().numpy() for factor in self.labels}
        if self.outputs is not None:
            self.outputs.update({f"{key}/{factor}": array for factor, array in logits.items()})
        return logits


def factor_scores(logits: Logits, labels: Labels, spec: Spec) -> Scores:
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


def headline_right(logits: Logits, labels: Labels, spec: Spec) -> NDArray[np.bool_]:
    """Which clips (N,) are right on the headline's factor, or on every part of its joint."""
    name = spec.headline[1]
    parts = next((joint.factors for joint in spec.joints if joint.name == name), (name,))
    return np.logical_and.reduce([logits[part].argmax(axis=1) == labels[part] for part in parts])


def right_by_identity(n_right: NDArray[np.int64], split: Split, spec: Spec) -> dict[str, str]:
    """Clips and right answers of each test identity, for intervals over test identities.

    Args:
        n_right: (N,) how many prior draws of a clip are right on the headline.

    Returns:
        `identities` of the record: counts in the order of the split's identity numbers, which is the same for every
        method and seed on the same data. They are one line of text each, so that a record stays small.
    """
    place = np.unique(split.identity.cpu().numpy(), return_inverse=True)[1]
    clips = np.bincount(place)
    right = np.bincount(place, weights=n_right).round().astype(np.int64)
    direction, factor = spec.headline
    return {
        "unit": spec.identity,
        "metric": f"{direction}/{factor}/acc",
        "clips": " ".join(map(str, clips.tolist())),
        "right": " ".join(map(str, right.tolist())),
    }


def subject_of(method: Any, split: Split, spec: Spec, config: EvaluationConfig, device: torch.device) -> Subject:
    """The subject that stands for a method or a control."""
    if isinstance(method, HasSubject):
        return method.subject(split, device)
    return MethodSubject(method, split, spec, device, means=config.sample == "means", batch_size=config.batch_size)


def judged_spec(spec: Spec, judge: Judge) -> Spec:
    """The spec with the factors that the judge has heads for (all of them, but where test classes are new)."""
    factors = tuple(factor for factor in spec.factors if factor.name in judge.factors)
    joints = tuple(joint for joint in spec.joints if set(joint.factors) <= set(judge.factors))
    return dataclasses.replace(spec, factors=factors, joints=joints)


def _with_spec(dataset: DataSet, spec: Spec) -> DataSet:
    changed = copy.copy(dataset)
    changed.spec = spec
    return changed


def labels_of(split: Split, spec: Spec) -> Labels:
    """True labels (N,) of every factor."""
    return {factor.name: split.labels[factor.name].cpu().numpy() for factor in spec.factors}


def examined_clips(split: Split, max_clips: int) -> Split:
    """At most `max_clips` clips, evenly spread over the split and the same for every method; 0 is all."""
    if not 0 < max_clips < len(split):
        return split
    # An even stride could fall in step with the classes of an ordered split; a seeded choice cannot.
    generator = torch.Generator().manual_seed(derive("examined clips", len(split)))
    chosen = torch.randperm(len(split), generator=generator)[:max_clips].sort().values
    return split.subset(chosen.to(split.device))


def squared_errors(
    subject: Subject, split: Split, spec: Spec, config: EvaluationConfig, device: torch.device
) -> dict[str, float]:
    """`mse` and `sse` of the reconstructions."""
    errors = [
        _squared_error(subject.reconstruct(index.to(device)), split.clips(index).to(device))
        for index in positions(split, config.batch_size)
    ]
    return _error_summary(torch.cat(errors), spec)


def relative_change(
    subject: Subject, rebuild: Rebuild, split: Split, config: EvaluationConfig, device: torch.device
) -> float:
    """How much a draw changes a clip, in [0, 1]: 0 not at all, 1 as much as putting another clip in its place.

    The mean squared distance between a clip rebuilt with the draw and without, relative to that between two different
    clips, 2 (sum |k_i|^2 - N |mean k|^2) / (N - 1), which takes one pass and does not depend on the clips' order.
    """
    changed, squares, n = 0.0, 0.0, len(split)
    total: Tensor | None = None
    for index in positions(split, config.batch_size):
        position = index.to(device)
        kept, drawn = subject.reconstruct(position), rebuild(position)
        changed += float(_squared_error(drawn, kept).sum())
        squares += float(_squared_error(kept, torch.zeros_like(kept)).sum())
        part = kept.sum(0, dtype=torch.float64)
        total = part if total is None else total + part
    if n < 2 or total is None:
        return 0.0
    between = 2 * (squares - float(total.square().sum()) / n) / (n - 1)
    return min(changed / n / between, 1.0) if between > 1e-9 * squares else 0.0


def save_outputs(path: Any, outputs: dict[str, NDArray[Any]]) -> None:
    """Writes a judge's outputs as .npz, so that others can recompute every score.

    Keys: `labels/<factor>` (N,), and logits (N, K) under `<direction>/<draw>/<factor>`, `reconstruction/<factor>`
    and `real/<factor>`.
    """
    from seqdis.bench.core.files import writing

    flat: dict[str, Any] = {key.replace("/", "."): value for key, value in outputs.items()}
    with writing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **flat)


def _squared_error(clips: Tensor, target: Tensor) -> Tensor:
    return (clips.float() - target).square().flatten(1).sum(1, dtype=torch.float64)


def _error_summary(errors: Tensor, spec: Spec) -> dict[str, float]:
    sse = float(errors.mean())
    return {"mse": sse / (spec.n_frames * math.prod(spec.frame)), "sse": sse}


def _encodes(method: Any) -> bool:
    if isinstance(method, HasSubject):
        return True
    return bool(type(method).capabilities(method.config).encodes)


@contextlib.contextmanager
def _examined(method: Any) -> Iterator[None]:
    """Evaluation mode without gradients; the mode is put back."""
    if not isinstance(method, nn.Module):
        with torch.inference_mode():
            yield
        return
    was_training = method.training
    method.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        method.train(was_training)
