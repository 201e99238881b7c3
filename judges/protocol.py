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

This file is the entry, which finds the protocol that fits: of methods with an encoder `encoders.py`, without one
`generation.py`, speaker verification `verification.py`.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from numpy.typing import NDArray

from seqdis.datasets.base import DataSet, Spec, Split
from seqdis.judges.encoders import evaluate_encoder, selection_encoder
from seqdis.judges.generation import evaluate_generator, selection_generator
from seqdis.judges.judge import Judge
from seqdis.judges.scores import Evaluation
from seqdis.judges.settings import EvaluationConfig
from seqdis.judges.subjects import Control, examined_clips
from seqdis.judges.verification import evaluate_verification, selection_verification
from seqdis.methods.base import Method

CPU_BATCH = 32
"""Clips at once on a CPU, at most: a larger batch leaves the caches between two layers, and takes a tenth longer."""


def evaluate(
    method: Method | Control,
    dataset: DataSet,
    judge: Judge | None,
    config: EvaluationConfig,
    device: torch.device | str = "cpu",
    *,
    outputs: dict[str, NDArray[Any]] | None = None,
) -> Evaluation:
    """Scores a trained method on the test clips.

    Args:
        method: a `Method` on `device`, or a control that brings its own subject. Its mode is left as it was.
        judge: of these data, on `device`; None where verification scores need none.
        outputs: if given, filled with the judge's logits and the labels (see `encoders.save_outputs`).

    Raises:
        ValueError: the data are scored by a judge and none was given, or compare codes and a control has none.
    """
    device = torch.device(device)
    config = _sized(config, device)
    with _examined(method):
        if dataset.spec.headline[0] == "verification":
            return evaluate_verification(_with_codes(method), dataset, config, device)
        judge = _given(judge, dataset.spec)
        dataset = _with_spec(dataset, judged_spec(dataset.spec, judge))
        if isinstance(method, Method) and not _encodes(method):
            return evaluate_generator(method, dataset, judge, config, device)
        return evaluate_encoder(method, dataset, judge, config, device, outputs)


def selection_score(
    method: Method | Control,
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

    Raises:
        ValueError: the data are scored by a judge and none was given.
    """
    device = torch.device(device)
    config = _sized(config, device)
    with _examined(method):
        if spec.headline[0] == "verification":
            return selection_verification(_with_codes(method), split, spec, config, device)
        judge = _given(judge, spec)
        chosen, spec = examined_clips(split, config.selection_clips), judged_spec(spec, judge)
        if isinstance(method, Method) and not _encodes(method):
            return selection_generator(method, chosen, spec, judge, config, device)
        return selection_encoder(method, chosen, spec, judge, config, device)


def judged_spec(spec: Spec, judge: Judge) -> Spec:
    """The spec with the factors that the judge has heads for (all of them, but where test classes are new)."""
    factors = tuple(factor for factor in spec.factors if factor.name in judge.factors)
    joints = tuple(joint for joint in spec.joints if set(joint.factors) <= set(judge.factors))
    return dataclasses.replace(spec, factors=factors, joints=joints)


def _sized(config: EvaluationConfig, device: torch.device) -> EvaluationConfig:
    largest = CPU_BATCH if device.type == "cpu" else config.batch_size
    return dataclasses.replace(config, batch_size=min(config.batch_size, largest))


def _given(judge: Judge | None, spec: Spec) -> Judge:
    if judge is None:
        raise ValueError(f"{spec.name} is scored by a judge, and none was given")
    return judge


def _with_codes(method: Method | Control) -> Method:
    if not isinstance(method, Method):
        raise ValueError("speaker verification compares codes, and a control has none")
    return method


def _with_spec(dataset: DataSet, spec: Spec) -> DataSet:
    changed = copy.copy(dataset)
    changed.spec = spec
    return changed


def _encodes(method: Method) -> bool:
    return method.capabilities(method.config).encodes


@contextlib.contextmanager
def _examined(method: Method | Control) -> Iterator[None]:
    """Evaluation mode without gradients; the mode is put back."""
    with torch.inference_mode():
        if not isinstance(method, Method):
            yield
            return
        was_training = method.training
        method.eval()
        try:
            yield
        finally:
            method.train(was_training)
