"""Linear probes: can a linear classifier read a factor from a code? Fitted on training clips, scored on test clips.

Shape legend: N segments, T frames, S codes a segment, D code size.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

from seqdis.judges.metrics import Array, Labels
from seqdis.judges.scores import Probe

ITERATIONS = 200
UNLABELLED = -1


def linear_probe(train_x: ArrayLike, train_y: ArrayLike, test_x: ArrayLike, test_y: ArrayLike) -> float:
    """Test accuracy of multinomial logistic regression on standardised features.

    Args:
        train_x, test_x: (n, D).
        train_y, test_y: (n,) classes; a test class that training lacks is always wrong.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    features, labels = np.asarray(train_x, np.float64), np.asarray(train_y)
    held_out = np.asarray(test_x, np.float64)
    mean, std = features.mean(0), features.std(0)
    std = np.where(std > 1e-12 * np.maximum(np.abs(mean), 1), std, 1.0)  # a constant feature stays at zero
    if len(np.unique(labels)) < 2:
        return float((np.asarray(test_y) == labels[0]).mean())
    with warnings.catch_warnings():
        # The number of iterations is part of the protocol: more of them change the third digit.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe = LogisticRegression(max_iter=ITERATIONS, tol=1e-3).fit((features - mean) / std, labels)
    return float((probe.predict((held_out - mean) / std) == np.asarray(test_y)).mean())


def chance(train_y: ArrayLike, test_y: ArrayLike) -> float:
    """Test accuracy of always saying the most frequent training class."""
    return float((np.asarray(test_y) == np.bincount(np.asarray(train_y)).argmax()).mean())


def per_frame(codes: ArrayLike, n_frames: int) -> Array:
    """Codes (N, T, D), one a frame, of dynamic codes (N, S, D) or static codes (N, D).

    A code that covers several frames is repeated for each of them.
    """
    array = np.asarray(codes, dtype=np.float64)
    if array.ndim == 2:
        array = array[:, None]
    which = np.arange(n_frames) * array.shape[1] // n_frames
    return np.asarray(array[:, which])


def frame_probe(
    train: tuple[ArrayLike, ArrayLike, ArrayLike],
    test: tuple[ArrayLike, ArrayLike, ArrayLike],
    *,
    max_frames: int,
    rng: np.random.Generator,
) -> Probe | None:
    """Reads a frame-wise label from the dynamic code, and from the static one as the control.

    Args:
        train: static codes (N, Ds), dynamic codes (N, S, Dd) and labels (N, T), -1 where a frame has none.
        test: the same of the test clips.
        max_frames: at most so many labelled frames are used of each part, drawn by `rng`.

    Returns:
        None where a part has no labelled frame.
    """
    picked = [_frames(part, max_frames, rng) for part in (train, test)]
    if any(len(labels) == 0 for _, _, labels in picked):
        return None
    (train_s, train_z, train_y), (test_s, test_z, test_y) = picked
    return Probe(
        dynamic=linear_probe(train_z, train_y, test_z, test_y),
        static=linear_probe(train_s, train_y, test_s, test_y),
        chance=chance(train_y, test_y),
    )


def _frames(
    part: tuple[ArrayLike, ArrayLike, ArrayLike], max_frames: int, rng: np.random.Generator
) -> tuple[Array, Array, Labels]:
    static, dynamic, frame_labels = part
    labels = np.asarray(frame_labels)
    clip, frame = np.nonzero(labels != UNLABELLED)
    if len(clip) > max_frames:
        chosen = np.sort(rng.choice(len(clip), max_frames, replace=False))
        clip, frame = clip[chosen], frame[chosen]
    return (
        np.asarray(static, np.float64)[clip],
        per_frame(dynamic, labels.shape[1])[clip, frame],
        labels[clip, frame].astype(np.int64),
    )
