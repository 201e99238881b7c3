"""Speaker verification: does the static code tell who speaks, and the dynamic code not?

Each utterance (or segment) becomes one static and one dynamic vector; every pair of them is a trial, scored by the
cosine; the equal error rate of all trials is taken for both. Content EER should be low, motion EER near one half.
A motion code that carries nothing also scores one half, so a linear probe asks whether it still tells the phones.

The literature pools in different ways; what differs has a name and stands beside the protocol, never in its place:

    utterance           segments of 20 frames, shift 20; means over segments of the posterior means (and over time,
                        for the dynamic code) by `Method.pool`; all pairs of utterances
    segment             the segments themselves, dynamic codes averaged over time; all pairs but those of one utterance
    utterance:concat-z  z_1:T flattened instead of averaged over time
    utterance:sampled-z dynamic codes drawn from the posterior (as in DBSE's code), static ones the means
    utterance:center=train-mean  the mean of the training utterances is subtracted: no common offset
    utterance:lda-12, lda-24     linear discriminants fitted on the training speakers, so many dimensions (FHVAE)

Intervals are percentile bootstraps over speakers, because the trials of one speaker hang together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.seeds import derive
from seqdis.datasets.base import DataSet, Spec, Split
from seqdis.judges import trials as pairs
from seqdis.judges.distances import relative_change, shuffle_change, squared_errors
from seqdis.judges.metrics import Array, Labels, equal_error_rate
from seqdis.judges.probes import chance, frame_probe, linear_probe
from seqdis.judges.scores import Evaluation, Metrics, Probe, Reconstruction, Verification
from seqdis.judges.settings import EvaluationConfig
from seqdis.judges.subjects import examined_clips, subject_of
from seqdis.judges.trials import Trials
from seqdis.methods.base import Latents, Method

MAX_SEGMENTS = 2000  # segment-level trials are the pairs of at most so many segments, chosen by seed
MAX_TRAIN = 20_000  # training segments, in whole utterances, that probes, centres and discriminants are fitted on
RESAMPLES = 1000
PROBE_FRAMES = 20_000
LDA_SIZES = (12, 24)
BATCH = 512
POOLED = {
    "static": "mean over segments of posterior means",
    "dynamic": "mean over time and segments of posterior means",
    "trials": "all pairs of utterances",
}


@dataclasses.dataclass(frozen=True)
class Codes:
    """Codes of N segments on the CPU, and the utterance and speaker of each."""

    latents: Latents
    utterance: Labels
    speaker: Labels

    def utterances(self) -> Iterator[tuple[Labels, int]]:
        """The positions of each utterance's segments, and its speaker."""
        order = np.argsort(self.utterance, kind="stable")
        starts = np.flatnonzero(np.diff(self.utterance[order], prepend=-1))
        for rows in np.split(order, starts[1:]):
            yield rows, int(self.speaker[rows[0]])


@dataclasses.dataclass(frozen=True)
class Vectors:
    """One static (U, Ds) and one dynamic (U, Dd) vector of each unit, and its speaker (U,)."""

    static: Array
    dynamic: Array
    speaker: Labels

    @property
    def by_code(self) -> dict[str, Array]:
        return {"static": self.static, "dynamic": self.dynamic}


@torch.no_grad()
def encode(
    method: Method,
    split: Split,
    device: torch.device | str,
    *,
    index: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Codes:
    """Codes of the clips at `index` (all of them by default): posterior means, or draws if a generator is given.

    The method is put into evaluation mode, and back into the mode that it was in.
    """
    was_training = method.training
    method.eval()
    if index is None:
        index = torch.arange(len(split), device=split.device)
    parts = [method.encode(split.clips(part).to(device), generator) for part in index.split(BATCH)]
    method.train(was_training)
    latents = Latents(
        static=torch.cat([part.static.float().cpu() for part in parts]),
        dynamic=torch.cat([part.dynamic.float().cpu() for part in parts]),
    )
    return Codes(latents, split.sequence[index].cpu().numpy(), split.identity[index].cpu().numpy())


def utterance_vectors(method: Method, codes: Codes, *, concat: bool = False) -> Vectors:
    """One pair of vectors an utterance, by `Method.pool`; `concat` averages the flattened z_1:T over segments."""
    static, dynamic, speaker = [], [], []
    for rows, who in codes.utterances():
        latents = codes.latents[torch.from_numpy(rows)]
        pooled_static, pooled_dynamic = method.pool(latents)
        static.append(pooled_static)
        dynamic.append(latents.dynamic.flatten(1).mean(0) if concat else pooled_dynamic)
        speaker.append(who)
    return Vectors(torch.stack(static).double().numpy(), torch.stack(dynamic).double().numpy(), np.asarray(speaker))


def segment_vectors(codes: Codes) -> Vectors:
    """One pair of vectors a segment, dynamic codes averaged over time."""
    return Vectors(codes.latents.static.double().numpy(), codes.latents.dynamic.double().mean(1).numpy(), codes.speaker)


def score(
    vectors: Vectors, trials: Trials, options: dict[str, Any] | None = None, *, n_resamples: int = 0, seed: int = 0
) -> Verification:
    """Content and motion EER of all trials.

    Args:
        vectors: of the units that the trials pair.
        trials: of both kinds.
        options: what is noted about how the vectors and trials were made.
        n_resamples: of the bootstrap over speakers; 0 gives no intervals.
    """
    scores = {name: pairs.cosine_scores(values, trials) for name, values in vectors.by_code.items()}
    target = trials.target
    eer = {name: equal_error_rate(values, target) for name, values in scores.items()}
    found = Verification(
        eer_static=eer["static"],
        eer_dynamic=eer["dynamic"],
        gap=eer["dynamic"] - eer["static"],
        n_trials=len(target),
        n_target=int(target.sum()),
        n_speakers=trials.n_speakers,
        options={"score": "cosine", **(options or {}), "resamples": n_resamples},
    )
    if n_resamples:
        counts = pairs.resample_speakers(trials.n_speakers, n_resamples, np.random.default_rng(seed))
        drawn = {name: pairs.resampled_eer(values, trials, counts) for name, values in scores.items()}
        return dataclasses.replace(
            found,
            eer_static_ci=pairs.interval(drawn["static"]),
            eer_dynamic_ci=pairs.interval(drawn["dynamic"]),
            gap_ci=pairs.interval(drawn["dynamic"] - drawn["static"]),
        )
    return found


def evaluate_verification(
    method: Method, dataset: DataSet, config: EvaluationConfig, device: torch.device
) -> Evaluation:
    """Verification, probes, the reconstruction error and the static code's change: see `protocol.evaluate`."""
    split = examined_clips(dataset.test, config.max_clips)
    subject = subject_of(method, split, dataset.spec, config, device)
    error = squared_errors(subject, split, dataset.spec, config, device)
    verification, probes = speaker_scores(method, dataset, config, device)
    scored = Metrics(
        verification=verification,
        probes=probes,
        reconstruction=Reconstruction(**error, factors={}),
        shuffle=shuffle_change(method, split, config, device),
    )
    return Evaluation(protocol="verification", metrics=scored)


def selection_verification(
    method: Method, split: Split, spec: Spec, config: EvaluationConfig, device: torch.device
) -> dict[str, float]:
    """The verification score, counted only as far as a draw of the dynamic code changes the clips.

    A dynamic code that carries nothing verifies nobody, so an autoencoder with everything in the static code would
    win by verification alone. Whole utterances are verified (codes are cheap), a part of the clips is decoded.
    """
    found = error_rate_gap(method, split, device)
    chosen = examined_clips(split, config.selection_clips)
    subject = subject_of(method, chosen, spec, config, device)
    generator = torch.Generator().manual_seed(derive(config.seed, "selection", "fix_static"))
    change = relative_change(subject, subject.draw("fix_static", generator), chosen, config, device)
    score = found["score"] * change if found["score"] > 0 else found["score"]
    return found | {"score": score, "fix_static/change": change}


def error_rate_gap(method: Method, split: Split, device: torch.device | str) -> dict[str, float]:
    """The gap of the two EERs over all utterances of `split`, motion counted up to one half: `score`, and the rates.

    Raises:
        UserError: no two validation utterances are of one speaker, or all are.
    """
    vectors = utterance_vectors(method, encode(method, split, device))
    found = score(vectors, _usable(pairs.all_pairs(vectors.speaker), "validation"))
    return {
        "score": min(found.eer_dynamic, 0.5) - found.eer_static,
        "eer_static": found.eer_static,
        "eer_dynamic": found.eer_dynamic,
    }


def speaker_scores(
    method: Method, dataset: DataSet, config: EvaluationConfig, device: torch.device | str
) -> tuple[dict[str, Verification], dict[str, Probe]]:
    """Verification on the test speakers, its variants, and the probes.

    Args:
        method: trained, with an encoder.
        dataset: audio; its splits number utterances in `sequence` and speakers in `identity`.
        config: of which `seed` is read.
        device: where the method is.

    Returns:
        Verification by level and variant, and the probes by factor.

    Raises:
        UserError: the test set has no two utterances of one speaker, or one speaker only.
    """
    seed = derive(config.seed, "verification")
    test = encode(method, dataset.test, device)
    train_split = dataset.train.fixed()
    train = encode(method, train_split, device, index=_whole_utterances(train_split, MAX_TRAIN, seed))
    vectors = utterance_vectors(method, test)
    trials = _usable(pairs.all_pairs(vectors.speaker), "test")
    found = {"utterance": score(vectors, trials, POOLED, n_resamples=RESAMPLES, seed=seed)}
    segments = _segment_level(test, seed)
    if segments is not None:
        found["segment"] = segments
    generator = torch.Generator().manual_seed(seed)
    drawn = utterance_vectors(method, encode(method, dataset.test, device, generator=generator))
    flat = utterance_vectors(method, test, concat=True)
    others = _variants(vectors, flat=flat, drawn=drawn, reference=utterance_vectors(method, train))
    for name, (changed, options) in others.items():
        found[f"utterance:{name}"] = score(changed, trials, {**POOLED, **options})
    return found, _probes(dataset, train_split, train, test, seed)


def _variants(
    vectors: Vectors, *, flat: Vectors, drawn: Vectors, reference: Vectors
) -> dict[str, tuple[Vectors, dict[str, str]]]:
    """The other ways to make vectors of utterances, by name, and what is noted about each.

    Args:
        flat: with z_1:T flattened instead of averaged over time.
        drawn: of draws from the posterior instead of its means.
        reference: of the training utterances.
    """
    found = {
        "concat-z": (
            dataclasses.replace(vectors, dynamic=flat.dynamic),
            {"dynamic": "mean over segments of flattened posterior means"},
        ),
        "sampled-z": (
            dataclasses.replace(vectors, dynamic=drawn.dynamic),
            {"dynamic": "mean over time and segments of posterior draws"},
        ),
        "center=train-mean": (_centred(vectors, reference), {"center": "mean of the training utterances"}),
    }
    for size in LDA_SIZES:
        projected = _discriminants(vectors, reference, size)
        if projected is not None:
            found[f"lda-{size}"] = (projected, {"lda": f"{size} dimensions, fitted on the training speakers"})
    return found


def _usable(trials: Trials, part: str) -> Trials:
    if not trials.is_usable:
        raise UserError(
            f"the {part} utterances give no trials of both kinds: verification needs two speakers or more, "
            "and two utterances or more of one of them."
        )
    return trials


def _whole_utterances(split: Split, max_segments: int, seed: int) -> Tensor:
    """Positions of the segments of utterances drawn by seed, at most `max_segments`."""
    utterance = split.sequence.cpu().numpy()
    order = np.random.default_rng(seed).permutation(split.n_sequences)
    lengths = np.bincount(utterance, minlength=split.n_sequences)[order]
    chosen = order[np.cumsum(lengths) <= max_segments]
    return torch.from_numpy(np.flatnonzero(np.isin(utterance, chosen))).to(split.device)


def _segment_level(codes: Codes, seed: int) -> Verification | None:
    vectors = segment_vectors(codes)
    n = len(vectors.speaker)
    rows = np.arange(n)
    if n > MAX_SEGMENTS:
        rows = np.sort(np.random.default_rng(seed).choice(n, MAX_SEGMENTS, replace=False))
    kept = Vectors(vectors.static[rows], vectors.dynamic[rows], vectors.speaker[rows])
    trials = pairs.all_pairs(kept.speaker, codes.utterance[rows])
    if not trials.is_usable:
        return None
    options = {
        "static": "posterior mean",
        "dynamic": "mean over time of posterior means",
        "segments": len(rows),
        "segments_in_all": n,
        "trials": "all pairs of segments but those of one utterance",
    }
    return score(kept, trials, options, n_resamples=RESAMPLES, seed=seed)


def _centred(vectors: Vectors, reference: Vectors) -> Vectors:
    return Vectors(
        vectors.static - reference.static.mean(0), vectors.dynamic - reference.dynamic.mean(0), vectors.speaker
    )


def _discriminants(vectors: Vectors, reference: Vectors, size: int) -> Vectors | None:
    """Both codes projected on linear discriminants of the training speakers; None where there are too few."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    counts = np.bincount(reference.speaker)
    n_speakers = int((counts > 0).sum())
    smallest = min(vectors.static.shape[1], vectors.dynamic.shape[1], n_speakers - 1)
    if size > smallest or len(reference.speaker) < 2 * n_speakers:
        return None
    projected = {}
    for name, values in vectors.by_code.items():
        analysis = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=size)
        try:
            analysis.fit(reference.by_code[name], reference.speaker)
            projected[name] = np.asarray(analysis.transform(values))
        except np.linalg.LinAlgError:  # a collapsed code has no covariance to invert
            return None
    return Vectors(projected["static"], projected["dynamic"], vectors.speaker)


def _probes(dataset: DataSet, train_split: Split, train: Codes, test: Codes, seed: int) -> dict[str, Probe]:
    """Frame-wise factors (phones) read from each code, and clip-wise dynamic ones (spoken digits) from all of z."""
    rng = np.random.default_rng(seed)
    rows = _whole_utterances(train_split, MAX_TRAIN, seed)
    found = {}
    for factor in dataset.spec.frame_factors:
        parts = [
            (codes.latents.static.numpy(), codes.latents.dynamic.numpy(), labels.cpu().numpy())
            for codes, labels in (
                (train, train_split.frame_labels[factor.name][rows]),
                (test, dataset.test.frame_labels[factor.name]),
            )
        ]
        probe = frame_probe(parts[0], parts[1], max_frames=PROBE_FRAMES, rng=rng)
        if probe is not None:
            found[factor.name] = probe
    for factor in dataset.spec.by_role("dynamic"):
        labels = [train_split.labels[factor.name][rows].cpu().numpy(), dataset.test.labels[factor.name].cpu().numpy()]
        found[factor.name] = Probe(
            dynamic=linear_probe(_flat(train.latents.dynamic), labels[0], _flat(test.latents.dynamic), labels[1]),
            static=linear_probe(_flat(train.latents.static), labels[0], _flat(test.latents.static), labels[1]),
            chance=chance(*labels),
        )
    return found


def _flat(codes: Tensor) -> Array:
    flat: Array = codes.flatten(1).double().numpy()
    return flat
