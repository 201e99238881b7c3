"""Verification trials: all pairs of vectors, cosine scores, and a bootstrap over speakers. Pure numpy and scipy.

Shape legend: U units (utterances or segments), S speakers, M trials, R resamples, K score bins, D code size.
"""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqdis.judges.metrics import Array, Labels

TINY = 1e-8  # a code of smaller norm has no direction: its trials score 0
DECIMALS = 9  # equal codes must tie in spite of the last bits of a matrix product
BINS = 2000  # of the bootstrap only: an interval's ends are exact to about 1 / BINS
CHUNK = 100  # resamples at once: bounds memory with many speakers


@dataclasses.dataclass(frozen=True)
class Trials:
    """Every pair of units that is compared: positions `first` < `second` (M,), and the two speakers, numbered."""

    first: Labels
    second: Labels
    speaker_first: Labels
    speaker_second: Labels
    n_speakers: int

    @property
    def target(self) -> NDArray[np.bool_]:
        """(M,) whether both sides are of one speaker."""
        return self.speaker_first == self.speaker_second

    @property
    def is_usable(self) -> bool:
        """Whether there are trials of both kinds."""
        target = self.target
        return bool(target.any() and not target.all())


def all_pairs(speaker: ArrayLike, utterance: ArrayLike | None = None) -> Trials:
    """All unordered pairs of units.

    Args:
        speaker: (U,) who speaks.
        utterance: (U,) if given, pairs within one utterance are left out.
    """
    names, number = np.unique(np.asarray(speaker), return_inverse=True)
    first, second = np.triu_indices(len(number), 1)
    if utterance is not None:
        of = np.asarray(utterance)
        keep = of[first] != of[second]
        first, second = first[keep], second[keep]
    return Trials(first, second, number[first], number[second], len(names))


def cosine_scores(vectors: ArrayLike, trials: Trials) -> Array:
    """Cosine (M,) of each trial's two vectors, rows of (U, D); 0 where one of them has (almost) no length."""
    matrix = np.asarray(vectors, dtype=np.float64)
    norm = np.linalg.norm(matrix, axis=1, keepdims=True)
    unit = np.where(norm > TINY, matrix / np.maximum(norm, TINY), 0.0)
    return np.asarray(np.round((unit @ unit.T)[trials.first, trials.second], DECIMALS))


def resample_speakers(n_speakers: int, n_resamples: int, rng: np.random.Generator) -> Array:
    """How often each speaker is drawn (R, S) when S of them are drawn with replacement."""
    return rng.multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), size=n_resamples).astype(np.float64)


def resampled_eer(scores: ArrayLike, trials: Trials, counts: Array) -> Array:
    """EER (R,) of each resample of speakers; NaN where a resample has trials of one kind only.

    A speaker drawn w times counts w times in each of its target trials, and v w times in those against a speaker
    drawn v times; copies of one speaker are not compared with each other, which would be trials of an utterance
    with itself. Scores are put into at most `BINS` bins of about equal numbers of trials, ties together.

    Args:
        scores: (M,).
        counts: (R, S), see `resample_speakers`.
    """
    from scipy import sparse

    values = np.asarray(scores, dtype=np.float64)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS), method="inverted_cdf"))
    bins = np.searchsorted(edges, values)  # ascending; every value is at most the last edge
    n_bins, n_speakers = len(edges), trials.n_speakers
    target = trials.target
    in_target = np.bincount(
        bins[target] * n_speakers + trials.speaker_first[target], minlength=n_bins * n_speakers
    ).reshape(n_bins, n_speakers)
    low = np.minimum(trials.speaker_first, trials.speaker_second)[~target]
    high = np.maximum(trials.speaker_first, trials.speaker_second)[~target]
    pairs, pair = np.unique(low * n_speakers + high, return_inverse=True)
    in_other = sparse.csr_matrix((np.ones(len(pair)), (bins[~target], pair)), shape=(n_bins, len(pairs)))
    rates = []
    for part in np.split(counts, range(CHUNK, len(counts), CHUNK)):
        other = in_other @ (part[:, pairs // n_speakers] * part[:, pairs % n_speakers]).T
        rates.append(_eer_of_counts((in_target @ part.T).T[:, ::-1], np.asarray(other).T[:, ::-1]))
    return np.concatenate(rates)


def _eer_of_counts(target: Array, other: Array) -> Array:
    """EER (R,) from weighted numbers of trials (R, K) in bins of falling score."""
    accepted, alarms = target.cumsum(1), other.cumsum(1)
    usable = (accepted[:, -1] > 0) & (alarms[:, -1] > 0)
    start = np.zeros((len(target), 1))
    rejection = 1 - np.hstack([start, accepted / np.where(usable, accepted[:, -1], 1)[:, None]])
    acceptance = np.hstack([start, alarms / np.where(usable, alarms[:, -1], 1)[:, None]])
    difference = acceptance - rejection
    after = np.argmax(difference >= 0, axis=1)
    rows = np.arange(len(target))
    before = np.maximum(after - 1, 0)
    step = difference[rows, after] - difference[rows, before]
    weight = -difference[rows, before] / np.where(usable, step, 1)
    eer = acceptance[rows, before] + weight * (acceptance[rows, after] - acceptance[rows, before])
    return np.where(usable, eer, np.nan)


def interval(values: Array, level: float = 0.95) -> tuple[float, ...] | None:
    """Percentile interval [low, high] of resampled values, NaN left out; None if fewer than half are left."""
    kept = values[np.isfinite(values)]
    if 2 * len(kept) < len(values) or not len(kept):
        return None
    tail = (1 - level) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = np.quantile(kept, [tail, 1 - tail])
    return float(low), float(high)
