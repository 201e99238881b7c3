"""Protocols that need no encoder: a method that only generates is scored on clips that it makes up.

The encoder protocol keeps a code of a test clip and asks whether the judge still sees its label. Without an encoder
there is no such code, so one of three other questions is asked. They are different questions, and a table never puts
their answers in one column without a mark:

A `labels`: the method's categories were trained with motion labels. For each test clip its label is the category, the
  content and the motion noise are drawn, and the judge must see the label. It is the motion control score of the
  MoCoGAN paper.
B `matched`: the categories were found without labels. Which category means which class is found first, on a separate
  set of generated clips, by the one-to-one matching that agrees with the judge most often; then as A.
C `consistency`: for each of M codes (of the motion with its category: `fix_dynamic`; of the content: `fix_static`) R
  clips are made with the other code drawn anew, and judged. With n_k of the R clips seen as class k,

      (sum_k n_k^2 - R) / (R (R - 1))

  is the share of ordered pairs of different draws that agree, without bias the probability that two draws agree. The
  score is its mean over codes, for every factor: high where the factor belongs to the code that is fixed, and at the
  agreement of unrelated clips where it does not. A generator that has collapsed onto one clip scores 1, so that the
  score is read with H(y) beside it (near log K), taken over the first draw of every code.

M is the number of test clips. A category, where there is one, is uniform in C. All codes are drawn at once: the
numbers do not depend on the batch size.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from seqdis.bench.core.seeds import derive
from seqdis.datasets.base import DataSet, Factor, Spec, Split
from seqdis.judges import metrics
from seqdis.judges.judge import Judge
from seqdis.judges.metrics import Labels, Logits
from seqdis.judges.scores import Agreement, Consistency, Draws, Evaluation, Generator, Metrics, Scores
from seqdis.judges.selection import Side, Sides, balance, flat
from seqdis.judges.settings import DIRECTIONS, KEPT, Direction, EvaluationConfig
from seqdis.judges.subjects import examined_clips
from seqdis.methods.base import Latents, Method

MATCHING_CLIPS = 2000
REPEATS = 5

# Pure parts: numpy only


def consistency(predicted: ArrayLike, n_classes: int) -> NDArray[np.float64]:
    """Probability that two draws of one code are seen as the same class, without bias: (M,), in [0, 1].

    Args:
        predicted: (M, R) classes of R >= 2 draws of each of M codes.
        n_classes: K.
    """
    classes = np.asarray(predicted)
    if classes.ndim != 2 or classes.shape[1] < 2:
        raise ValueError(f"predicted classes must be (M, R) with R of two or more, not {classes.shape}")
    if classes.min() < 0 or classes.max() >= n_classes:
        raise ValueError(f"classes must lie in [0, {n_classes}), not in [{classes.min()}, {classes.max()}]")
    repeats = classes.shape[1]
    counts = (classes[:, :, None] == np.arange(n_classes)).sum(1).astype(np.float64)
    return np.asarray(((counts**2).sum(1) - repeats) / (repeats * (repeats - 1)))


def match_categories(category: ArrayLike, predicted: ArrayLike, n_categories: int, n_classes: int) -> Labels:
    """The class that each category stands for, (n_categories,): one to one, agreeing with the judge most often.

    Args:
        category: (N,) categories that clips were generated with.
        predicted: (N,) classes that the judge sees in them.

    Returns:
        -1 for categories that are left over, if there are more of them than classes.
    """
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((n_categories, n_classes))
    np.add.at(counts, (np.asarray(category), np.asarray(predicted)), 1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    matched = np.full(n_categories, -1, dtype=np.int64)
    matched[rows] = columns
    return matched


def categories_for(labels: ArrayLike, matched: ArrayLike, rng: np.random.Generator) -> Labels:
    """The categories (N,) to generate with, so that the clips have these labels (N,).

    A label that no category stands for gets any of them: it counts as wrong but by chance.
    """
    wanted, table = np.asarray(labels), np.asarray(matched)
    category = rng.integers(len(table), size=len(wanted))
    for number, label in enumerate(table):
        category[wanted == label] = number
    return category


def agreement(predicted: ArrayLike, n_classes: int) -> float:
    """Probability that two unrelated clips are seen as the same class, without bias, from one draw a code (N,)."""
    return float(consistency(np.asarray(predicted)[None], n_classes)[0])


# Generating and judging


class Maker:
    """Makes clips with a generator and has them judged.

    Args:
        method: a trained `Method` in evaluation mode, on `device`.
    """

    def __init__(
        self, method: Method, spec: Spec, judge: Judge, config: EvaluationConfig, device: torch.device
    ) -> None:
        self.method, self.spec, self.judge, self.config, self.device = method, spec, judge, config, device
        self.means = config.sample == "means"

    def generator(self, *purpose: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.config.seed, "generate", *purpose))

    def dynamic(self, n: int, generator: torch.Generator, category: Labels | None = None) -> Tensor:
        """Dynamic codes (n, T, D), of the given categories if any."""
        kwargs = {} if category is None else {"category": torch.as_tensor(category, device=self.device)}
        codes: Tensor = self.method.sample_dynamic(n, self.spec.n_frames, generator, means=self.means, **kwargs)
        return codes

    def static(self, n: int, generator: torch.Generator) -> Tensor:
        return self.method.sample_static(n, generator)

    def judged(self, static: Tensor, dynamic: Tensor) -> Logits:
        """Logits (N, K) of each factor for the clips of N pairs of codes."""
        codes = Latents(static=static, dynamic=dynamic)
        parts = []
        for start in range(0, len(static), self.config.batch_size):
            clips = self.method.decode(codes[start : start + self.config.batch_size])[:, : self.spec.n_frames]
            parts.append(self.judge.classify(clips))
        return {name: torch.cat([part[name] for part in parts]).float().cpu().numpy() for name in parts[0]}

    def with_categories(self, category: Labels, *purpose: str | int) -> Logits:
        """The judge on one clip of each category (N,), content and motion drawn."""
        generator = self.generator(*purpose)
        dynamic = self.dynamic(len(category), generator, category)
        return self.judged(self.static(len(category), generator), dynamic)

    def matching(self, factor: Factor, n_clips: int) -> Labels:
        """The class of `factor` that each category stands for, from `n_clips` clips of their own."""
        category = np.arange(n_clips) % self.method.n_categories
        logits = self.with_categories(category, "matching")[factor.name]
        return match_categories(category, logits.argmax(1), self.method.n_categories, factor.n_classes)

    def repeated(self, direction: Direction, n_codes: int, repeats: int) -> Logits:
        """Logits (M, R, K) of each factor: M codes of the fixed kind, each with R draws of the other."""
        generator = self.generator("consistency", direction)
        n_clips = n_codes * repeats
        if direction == "fix_dynamic":
            dynamic = self.dynamic(n_codes, generator).repeat_interleave(repeats, 0)
            static = self.static(n_clips, generator)
        else:
            static = self.static(n_codes, generator).repeat_interleave(repeats, 0)
            dynamic = self.dynamic(n_clips, generator)
        judged = self.judged(static, dynamic)
        return {name: logits.reshape(n_codes, repeats, -1) for name, logits in judged.items()}


def evaluate_generator(
    method: Method,
    dataset: DataSet,
    judge: Judge,
    config: EvaluationConfig,
    device: torch.device | str = "cpu",
    *,
    matching_clips: int = MATCHING_CLIPS,
    repeats: int = REPEATS,
) -> Evaluation:
    """Scores a method without an encoder.

    Args:
        method: trained, in evaluation mode, on `device`.
        matching_clips: clips that the categories are matched on (B).
        repeats: R, draws a code (C).
    """
    spec = dataset.spec
    test = examined_clips(dataset.test, config.max_clips)
    maker = Maker(method, spec, judge, config, torch.device(device))
    found: dict[str, Draws] = {}
    factor = category_factor(method, spec)
    if factor is not None:
        labels = test.labels[factor.name].cpu().numpy()
        name, matched = _meaning(maker, factor, matching_clips)
        draws = []
        for number in range(config.draws):
            rng = np.random.default_rng(derive(config.seed, "categories", number))
            category = categories_for(labels, matched, rng)
            logits = maker.with_categories(category, name, number)
            draws.append({factor.name: metrics.scores(logits[factor.name], labels)})
        found[name] = Draws(n_clips=len(test), draws=tuple(draws))
    agree = {
        direction: consistency_scores(maker.repeated(direction, len(test), repeats), spec) for direction in DIRECTIONS
    }
    return Evaluation(
        protocol="generator", metrics=Metrics(generator=Generator(**found, consistency=Consistency(**agree)))
    )


def category_factor(method: Method, spec: Spec) -> Factor | None:
    """The factor that the method's categories are of: the first dynamic one, as in training. None without either."""
    dynamic = spec.by_role("dynamic")
    return dynamic[0] if method.n_categories and dynamic else None


def _meaning(maker: Maker, factor: Factor, matching_clips: int) -> tuple[str, Labels]:
    """The protocol's name, and the class that each category stands for."""
    method = maker.method
    if method.capabilities(method.config).categories == "labels":
        return "labels", np.arange(factor.n_classes)
    return "matched", maker.matching(factor, matching_clips)


def consistency_scores(logits: Logits, spec: Spec) -> dict[str, Agreement]:
    """`acc_consistency` of each factor and each joint that the judge sees, from logits (M, R, K).

    Beside it `is`, `h_y_given_x`, `h_y` and `label_entropy` (nats) of the first draw of every code.
    """
    found = {}
    for factor in judged(spec, logits):
        predicted = logits[factor.name].argmax(2)
        whole = metrics.scores(logits[factor.name][:, 0], predicted[:, 0])
        found[factor.name] = _agreement(whole, consistency(predicted, factor.n_classes))
    for joint in spec.joints:
        if not set(joint.factors) <= set(logits):
            continue
        heads = [logits[name] for name in joint.factors]
        predicted = np.stack([head.argmax(2) for head in heads], 2)
        sizes = tuple(head.shape[2] for head in heads)
        number = np.ravel_multi_index(tuple(np.moveaxis(predicted, 2, 0)), sizes)
        # Only the distribution is wanted: any labels that the joint admits will do.
        admitted = np.sort(predicted[:, 0], axis=1) if joint.is_sorted else predicted[:, 0]
        whole = metrics.joint_scores([head[:, 0] for head in heads], list(admitted.T), is_sorted=joint.is_sorted)
        found[joint.name] = _agreement(whole, consistency(number, math.prod(sizes)))
    return found


def _agreement(whole: Scores, consistent: NDArray[np.float64]) -> Agreement:
    """Of the scores but `acc`: there is no true label, and what it would compare is the judge with itself."""
    return Agreement(
        is_=whole.is_,
        h_y_given_x=whole.h_y_given_x,
        h_y=whole.h_y,
        label_entropy=whole.label_entropy,
        acc_consistency=float(consistent.mean()),
    )


def judged(spec: Spec, logits: Logits) -> list[Factor]:
    """The factors that the judge has a head for: not who it is, where data are split by people."""
    return [factor for factor in spec.factors if factor.name in logits]


# Choosing a checkpoint


def selection_generator(
    method: Method, split: Split, spec: Spec, judge: Judge, config: EvaluationConfig, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """What the checkpoint of a method without an encoder is chosen by, on about as many clips as `split` has a part.

    Kept and leaked are agreements (C) rescaled so that the agreement of unrelated clips is 0, and what is kept is
    multiplied by the diversity H(y) / log K, since a collapsed generator agrees with itself. The factor of the
    categories, if there are any, is kept as far as its accuracy (A or B) is above chance.

    Returns:
        "score" to maximise, in [0.01, 1], "acc" where there are categories, "<direction>/kept" and "/leaked".
    """
    maker = Maker(method, spec, judge, config, torch.device(device))
    n_clips = max(len(split), 2)
    n_codes = max(n_clips // REPEATS, 2)
    sides: Sides = {}
    for direction, role in KEPT.items():
        logits = maker.repeated(direction, n_codes, REPEATS)
        worth = {factor: _worth(logits[factor.name], factor) for factor in judged(spec, logits)}
        kept = [agrees * diversity for factor, (agrees, diversity) in worth.items() if factor.role == role]
        leaked = [agrees for factor, (agrees, _) in worth.items() if factor.role != role]
        sides[direction] = Side(
            kept=float(np.mean(kept)) if kept else 1.0, leaked=float(np.mean(leaked)) if leaked else 0.0
        )
    found = {}
    factor = category_factor(method, spec)
    if factor is not None:
        found["acc"] = _selection_accuracy(maker, factor, split, n_clips)
        kept_category = metrics.above_chance(found["acc"], 1 / factor.n_classes)
        sides["fix_dynamic"] = dataclasses.replace(sides["fix_dynamic"], kept=kept_category)
    return {"score": balance(sides), **found, **flat(sides)}


def _worth(logits: NDArray[np.float32], factor: Factor) -> tuple[float, float]:
    """Agreement above that of unrelated clips, and diversity, of logits (M, R, K): both in [0, 1]."""
    predicted = logits.argmax(2)
    unrelated = agreement(predicted[:, 0], factor.n_classes)
    agrees = float(consistency(predicted, factor.n_classes).mean())
    diversity = metrics.inter_entropy(metrics.softmax(logits[:, 0])) / math.log(factor.n_classes)
    return metrics.above_chance(agrees, unrelated), diversity


def _selection_accuracy(maker: Maker, factor: Factor, split: Split, n_clips: int) -> float:
    _, matched = _meaning(maker, factor, n_clips)
    labels = split.labels[factor.name].cpu().numpy()
    category = categories_for(labels, matched, np.random.default_rng(derive(maker.config.seed, "selection")))
    return metrics.accuracy(maker.with_categories(category, "selection")[factor.name], labels)
