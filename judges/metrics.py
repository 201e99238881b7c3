"""Metrics: pure functions on numpy arrays, in float64 and nats. No torch, no files, no data set.

N clips, K classes; p (N, K) are a judge's probabilities and p̄ (K,) their mean over the clips:

    H(y|x) = mean_i -sum_k p_ik log p_ik      low: the judge is certain of each clip
    H(y)   = -sum_k p̄_k log p̄_k               high: the judged classes are balanced over the clips
    IS     = exp mean_i KL(p_i || p̄) = exp(H(y) - H(y|x))

The identity is exact because all three are taken over the same clips. (The official C-DSVAE script takes Acc over
all clips and the others over a class-balanced subset; several published rows break the identity.)
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqdis.judges.scores import Scores

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Logits = dict[str, NDArray[np.float32]]
"""A judge's answers (N, K) of each factor."""


def _matrix(values: ArrayLike, name: str) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] == 0:
        raise ValueError(f"{name} must be (N, K) with N, K > 0, not {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite")
    return array


def _labels(labels: ArrayLike, n: int, n_classes: int) -> Labels:
    array = np.asarray(labels)
    if array.shape != (n,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"labels must be {n} integers, not {array.dtype} of shape {array.shape}")
    if array.min() < 0 or array.max() >= n_classes:
        raise ValueError(f"labels must lie in [0, {n_classes}), not in [{array.min()}, {array.max()}]")
    return array.astype(np.int64)


def log_softmax(logits: ArrayLike) -> Array:
    """Log-probabilities (N, K) of logits (N, K), safe for logits of any size."""
    array = _matrix(logits, "logits")
    shifted = array - array.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def softmax(logits: ArrayLike) -> Array:
    """Probabilities (N, K) of logits (N, K)."""
    return np.asarray(np.exp(log_softmax(logits)))


def entropy(p: ArrayLike) -> float:
    """Entropy in nats of one distribution (K,); 0 log 0 is 0. It is normalised first, so counts will do."""
    array = np.asarray(p, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all() or (array < 0).any() or array.sum() <= 0:
        raise ValueError("a distribution is a vector of finite, non-negative values, not all zero")
    array = array / array.sum()
    positive = array[array > 0]
    # Adding zero turns the -0.0 of a certain distribution into 0.0.
    return float(-(positive * np.log(positive)).sum() + 0.0)


def accuracy(logits: ArrayLike, labels: ArrayLike) -> float:
    """Share of clips whose largest logit (N, K) is that of the true label (N,)."""
    array = _matrix(logits, "logits")
    return float((array.argmax(axis=1) == _labels(labels, *array.shape)).mean())


def intra_entropy(p: ArrayLike) -> float:
    """H(y|x) in nats, in [0, log K]: the mean entropy of each clip's distribution p (N, K)."""
    array = _matrix(p, "probabilities")
    terms = np.where(array > 0, array * np.log(np.where(array > 0, array, 1.0)), 0.0)
    return float(-terms.sum(axis=1).mean() + 0.0)


def inter_entropy(p: ArrayLike) -> float:
    """H(y) in nats, in [0, log K]: the entropy of the mean distribution of p (N, K)."""
    return entropy(_matrix(p, "probabilities").mean(axis=0))


def label_entropy(labels: ArrayLike, n_classes: int) -> float:
    """Entropy in nats of hard labels (N,). Of predicted labels: how diverse a sampled factor comes out."""
    array = np.asarray(labels)
    return entropy(np.bincount(_labels(array, len(array), n_classes), minlength=n_classes))


def scores(logits: ArrayLike, labels: ArrayLike) -> Scores:
    """One factor's scores over all given clips.

    Args:
        logits: (N, K) of the judge's head.
        labels: (N,) true labels of the clips that were decoded.

    Raises:
        ValueError: wrong shapes, labels out of range, or values that are not finite.
    """
    p = softmax(logits)
    intra = intra_entropy(p)
    inter = max(inter_entropy(p), intra)
    return Scores(
        acc=accuracy(logits, labels),
        is_=float(np.exp(inter - intra)),
        h_y_given_x=intra,
        h_y=inter,
        label_entropy=label_entropy(np.argmax(logits, axis=1), p.shape[1]),
    )


def joint_accuracy(logits: Sequence[ArrayLike], labels: Sequence[ArrayLike]) -> float:
    """Share of clips on which every head is right: the pair accuracy of two digits.

    Args:
        logits: one (N, K) a head.
        labels: one (N,) a head.
    """
    pairs = zip(logits, labels, strict=True)
    right = [np.asarray(head).argmax(axis=1) == np.asarray(label) for head, label in pairs]
    return float(np.logical_and.reduce(right).mean())


def joint_scores(logits: Sequence[ArrayLike], labels: Sequence[ArrayLike], *, is_sorted: bool) -> Scores:
    """Scores of several heads taken together, such as the 55 sorted pairs of two digits.

    The joint distribution of a clip is the product of its heads', over all combinations of classes, or over those that
    never decrease from head to head (normalised). A clip is right where every head is right.

    Args:
        logits: one (N, K) a head.
        labels: one (N,) a head.
        is_sorted: only sorted combinations exist.
    """
    parts = [log_softmax(head) for head in logits]
    combinations = np.array(list(itertools.product(*(range(part.shape[1]) for part in parts))))
    if is_sorted:
        combinations = combinations[(np.diff(combinations, axis=1) >= 0).all(axis=1)]
    joint = np.sum([part[:, column] for part, column in zip(parts, combinations.T, strict=True)], axis=0)
    truth = np.stack([np.asarray(label) for label in labels], axis=1)
    number = (truth[:, None] == combinations).all(axis=2)
    if not number.any(axis=1).all():
        raise ValueError("labels of a sorted joint must not decrease from one head to the next")
    return dataclasses.replace(scores(joint, number.argmax(axis=1)), acc=joint_accuracy(logits, labels))


def above_chance(acc: float, chance: float) -> float:
    """An accuracy rescaled so that chance is 0 and perfect is 1; below chance stays 0.

    Where chance is 1 (one class only) nothing can be above it: 0.
    """
    return min(max((acc - chance) / (1 - chance), 0.0), 1.0) if chance < 1 else 0.0


def equal_error_rate(similarity: ArrayLike, target: ArrayLike) -> float:
    """Equal error rate in [0, 1] of a verification task: where false acceptances equal false rejections.

    Both rates are taken with each distinct score as the threshold (accept at or above it) and with one above
    all; the crossing is interpolated linearly between its neighbours. Reversed scores give 1, constant ones 0.5.

    Args:
        similarity: (M,) scores of the trials, larger for "same".
        target: (M,) true where both sides are of one speaker.

    Raises:
        ValueError: no target trial or no non-target trial, or scores that are not finite.
    """
    score, is_target = np.asarray(similarity, dtype=np.float64), np.asarray(target, dtype=bool)
    n_target = int(is_target.sum())
    n_other = is_target.size - n_target
    if score.shape != is_target.shape or score.ndim != 1 or not np.isfinite(score).all():
        raise ValueError("scores and targets must be vectors of one length, and scores finite")
    if not n_target or not n_other:
        raise ValueError("an equal error rate needs trials of both kinds")
    order = np.argsort(-score, kind="stable")
    last_of_ties = np.append(np.diff(score[order]) != 0, True)
    accepted = np.cumsum(is_target[order])[last_of_ties]
    counts = np.flatnonzero(last_of_ties) + 1
    rejection = np.append(1.0, 1 - accepted / n_target)
    acceptance = np.append(0.0, (counts - accepted) / n_other)
    # acceptance - rejection rises from -1 to 1 as the threshold falls.
    difference = acceptance - rejection
    after = int(np.argmax(difference >= 0))
    before = after - 1
    weight = -difference[before] / (difference[after] - difference[before])
    return float(acceptance[before] + weight * (acceptance[after] - acceptance[before]))
