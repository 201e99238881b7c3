"""Protocols without an encoder: unbiased consistency, matching, and toy generators whose right answers are known."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from seqdis.bench.core.schema import to_json
from seqdis.datasets.base import DataSet, Factor, Joint, Spec, Split
from seqdis.judges import generation, metrics
from seqdis.judges.settings import EvaluationConfig
from seqdis.methods.base import Capabilities, Latents, Method, Shape

# The pure parts


@pytest.mark.parametrize(("repeats", "p"), [(2, (0.5, 0.5)), (3, (0.7, 0.2, 0.1)), (4, (0.25, 0.75)), (5, (1.0, 0.0))])
def test_consistency_is_unbiased(repeats: int, p: tuple[float, ...]) -> None:
    """Its expectation over every possible outcome is the probability that two draws agree."""
    outcomes = np.array(list(itertools.product(range(len(p)), repeat=repeats)))
    probability = np.array(p)[outcomes].prod(1)
    expectation = (generation.consistency(outcomes, len(p)) * probability).sum()
    assert expectation == pytest.approx(sum(q * q for q in p), abs=1e-12)


def test_consistency_is_unbiased_in_a_simulation() -> None:
    p = np.array([0.5, 0.3, 0.15, 0.05])
    drawn = np.random.default_rng(0).choice(4, size=(20_000, 5), p=p)
    values = generation.consistency(drawn, 4)
    assert values.mean() == pytest.approx((p**2).sum(), abs=4 * values.std() / math.sqrt(len(values)))


def test_consistency_is_the_share_of_ordered_pairs_that_agree() -> None:
    drawn = np.random.default_rng(1).integers(3, size=(30, 5))
    pairs = list(itertools.permutations(range(5), 2))
    slow = [np.mean([row[i] == row[j] for i, j in pairs]) for row in drawn]
    assert generation.consistency(drawn, 3).tolist() == pytest.approx(slow)


def test_agreement_of_unrelated_clips_is_that_of_their_classes() -> None:
    drawn = np.random.default_rng(2).choice(3, size=20_000, p=[0.6, 0.3, 0.1])
    assert generation.agreement(drawn, 3) == pytest.approx(0.46, abs=0.01)


@pytest.mark.parametrize(
    ("drawn", "message"),
    [(np.zeros((3, 1), int), "two or more"), (np.zeros(3, int), "two or more"), (np.full((2, 2), 3), r"\[0, 3\)")],
)
def test_consistency_refuses_what_it_cannot_count(drawn: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generation.consistency(drawn, 3)


@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_matching_finds_a_known_permutation(noise: float) -> None:
    rng = np.random.default_rng(3)
    permutation = rng.permutation(9)
    category = rng.integers(9, size=2000)
    seen = np.where(rng.random(2000) < noise, rng.integers(9, size=2000), permutation[category])
    assert generation.match_categories(category, seen, 9, 9).tolist() == permutation.tolist()


def test_matching_is_the_best_of_all_permutations_and_not_greedy() -> None:
    # Category 0 agrees most with class 0, but giving it to category 1 agrees more often in all.
    counts = np.array([[5, 4], [4, 0]])
    category, seen = np.repeat([0, 0, 1, 1], counts.ravel()), np.repeat([0, 1, 0, 1], counts.ravel())
    assert generation.match_categories(category, seen, 2, 2).tolist() == [1, 0]


def test_categories_left_over_stand_for_nothing_and_labels_left_over_get_any() -> None:
    matched = generation.match_categories([0, 1, 2, 2], [1, 0, 0, 0], 3, 2)
    assert matched.tolist() == [1, -1, 0]
    chosen = generation.categories_for([0, 1, 1, 0], matched, np.random.default_rng(0))
    assert chosen.tolist() == [2, 0, 0, 2]
    scarce = generation.categories_for(np.repeat([0, 1, 2], 200), [2, 0], np.random.default_rng(0))
    assert set(scarce[:200]) == {1}
    assert set(scarce[400:]) == {0}
    assert set(scarce[200:400]) == {0, 1}


# Toy generators: frames hold the logits of the classes, so that the judge only reads them

MOTIONS, COLOURS, SIZES = 5, 4, 2
PERMUTATION = torch.tensor([2, 0, 1, 4, 3])
SPEC = Spec(
    name="toy",
    title="Toy",
    source="synthetic",
    modality="audio",
    frame=(MOTIONS + COLOURS + SIZES,),
    n_frames=3,
    factors=(
        Factor(name="motion", classes=tuple("abcde"), role="dynamic"),
        Factor(name="colour", classes=tuple("abcd"), role="static"),
        Factor(name="size", classes=tuple("ab"), role="static"),
    ),
    joints=(Joint(name="look", factors=("colour", "size")),),
    headline=("fix_dynamic", "motion"),
    split_rule="none",
    revision="1",
    licence="none",
    citation="none",
)


class Reader:
    """A judge that reads the logits off the frames."""

    def classify(self, x: Tensor) -> dict[str, Tensor]:
        parts = x.mean(1).split([MOTIONS, COLOURS, SIZES], 1)
        return dict(zip(("motion", "colour", "size"), parts, strict=True))


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    categories: Any = "unsupervised"
    behaviour: str = "right"


class ToyGenerator(Method):
    """Its static code is a colour and a size in [0, 1), its dynamic code a category and a number in [0, 1).

    `right`: the motion is the category's; `collapsed`: one clip; `mixed`: the motion and the colour are drawn with the
    other code.
    """

    title: ClassVar[str] = "Toy"
    paper: ClassVar[str] = "none"
    Config: ClassVar[type[Any]] = ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config, Shape(frame=SPEC.frame, n_frames=3, n_train=1))
        self.n_categories = 0 if config.categories == "none" else MOTIONS

    @classmethod
    def capabilities(cls, config: ToyConfig) -> Capabilities:
        return Capabilities(encodes=False, categories=config.categories)

    def sample_static(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.rand(n, 2, generator=generator)

    def sample_dynamic(
        self, n: int, n_frames: int, generator: torch.Generator, *, means: bool = False, category: Tensor | None = None
    ) -> Tensor:
        if category is None:
            category = torch.randint(MOTIONS, (n,), generator=generator)
        code = torch.cat([category[:, None].float(), torch.rand(n, 1, generator=generator)], 1)
        return code[:, None].expand(-1, n_frames, -1)

    def decode(self, latents: Latents) -> Tensor:
        static, dynamic = latents.static, latents.dynamic[:, 0]
        motion = PERMUTATION[dynamic[:, 0].long()] if self.config.categories == "unsupervised" else dynamic[:, 0].long()
        colour, size = (static[:, 0] * COLOURS).long(), (static[:, 1] * SIZES).long()
        if self.config.behaviour == "collapsed":
            motion, colour, size = (torch.zeros_like(part) for part in (motion, colour, size))
        if self.config.behaviour == "mixed":
            motion, colour = (static[:, 0] * MOTIONS).long(), (dynamic[:, 1] * COLOURS).long()
        ones = [torch.eye(n)[part] for n, part in ((MOTIONS, motion), (COLOURS, colour), (SIZES, size))]
        return 20 * torch.cat(ones, 1)[:, None].expand(-1, latents.dynamic.shape[1], -1)


class ToyData(DataSet):
    """Random labels; the clips themselves are never looked at."""

    name = "toy"

    def __init__(self, n: int = 300) -> None:
        generator = torch.Generator().manual_seed(0)
        labels = {f.name: torch.randint(f.n_classes, (n,), generator=generator) for f in SPEC.factors}
        self.spec = SPEC
        self.test = Split(torch.zeros(n, 3, *SPEC.frame), labels, torch.arange(n))


CONFIG = EvaluationConfig(draws=2, batch_size=64)
METHODS = {
    name: ToyGenerator(ToyConfig(categories, behaviour))
    for name, categories, behaviour in (
        ("right", "unsupervised", "right"),
        ("labels", "labels", "right"),
        ("none", "none", "right"),
        ("collapsed", "unsupervised", "collapsed"),
        ("mixed", "unsupervised", "mixed"),
    )
}


def evaluated(name: str, config: EvaluationConfig = CONFIG, **options: int) -> dict[str, Any]:
    """As the record has it."""
    found: dict[str, Any] = to_json(
        generation.evaluate_generator(METHODS[name], ToyData(), Reader(), config, **options).metrics.generator
    )
    return found


@pytest.mark.parametrize(("name", "protocol"), [("right", "matched"), ("labels", "labels")])
def test_a_right_generator_is_right_whatever_its_categories_are_called(name: str, protocol: str) -> None:
    result = evaluated(name)
    assert set(result) == {protocol, "consistency"}
    assert result[protocol]["n_clips"] == 300
    assert [draw["motion"]["acc"] for draw in result[protocol]["draws"]] == [1.0, 1.0]
    assert result[protocol]["draws"][0]["motion"]["h_y"] == pytest.approx(math.log(MOTIONS), abs=0.02)


def test_categories_trained_with_labels_are_not_matched() -> None:
    """Only B may permute: a labelled generator with its categories mixed up is wrong."""
    method = ToyGenerator(ToyConfig("unsupervised", "right"))
    method.config = dataclasses.replace(method.config, categories="labels")
    method.decode = METHODS["right"].decode  # type: ignore[method-assign]
    result = to_json(generation.evaluate_generator(method, ToyData(), Reader(), CONFIG).metrics.generator)
    assert result["labels"]["draws"][0]["motion"]["acc"] == 0.0


def test_consistency_tells_which_code_a_factor_belongs_to() -> None:
    result = evaluated("right")["consistency"]
    assert result["fix_dynamic"]["motion"]["acc_consistency"] == 1.0
    assert result["fix_static"]["colour"]["acc_consistency"] == result["fix_static"]["look"]["acc_consistency"] == 1.0
    assert result["fix_static"]["motion"]["acc_consistency"] == pytest.approx(1 / MOTIONS, abs=0.03)
    assert result["fix_dynamic"]["colour"]["acc_consistency"] == pytest.approx(1 / COLOURS, abs=0.03)
    assert result["fix_dynamic"]["look"]["acc_consistency"] == pytest.approx(1 / (COLOURS * SIZES), abs=0.03)
    assert result["fix_static"]["look"]["h_y"] == pytest.approx(math.log(COLOURS * SIZES), abs=0.05)
    mixed = evaluated("mixed")["consistency"]
    assert mixed["fix_dynamic"]["motion"]["acc_consistency"] == pytest.approx(1 / MOTIONS, abs=0.03)
    assert mixed["fix_dynamic"]["colour"]["acc_consistency"] == 1.0


def test_a_collapsed_generator_is_consistent_and_shows_it_in_its_entropy() -> None:
    for direction in evaluated("collapsed")["consistency"].values():
        for scores in direction.values():
            assert scores["acc_consistency"] == 1.0
            assert scores["h_y"] == pytest.approx(0.0, abs=1e-6)


def test_entropies_beside_consistency_are_those_of_one_clip_a_code_and_agree_with_the_inception_score() -> None:
    for direction in evaluated("right")["consistency"].values():
        for scores in direction.values():
            assert "acc" not in scores
            assert math.log(scores["is"]) == pytest.approx(scores["h_y"] - scores["h_y_given_x"], abs=1e-9)


def test_factors_without_a_head_are_left_out() -> None:
    class Blind(Reader):
        def classify(self, x: Tensor) -> dict[str, Tensor]:
            return {name: logits for name, logits in super().classify(x).items() if name != "size"}

    result = to_json(generation.evaluate_generator(METHODS["right"], ToyData(), Blind(), CONFIG).metrics.generator)
    assert set(result["consistency"]["fix_static"]) == {"motion", "colour"}
    assert generation.selection_generator(METHODS["right"], ToyData().test, SPEC, Blind(), CONFIG)["score"] > 0.9


def test_without_categories_only_consistency_is_scored() -> None:
    assert set(evaluated("none")) == {"consistency"}


def test_results_depend_on_the_seed_and_not_on_the_batch_size() -> None:
    first = evaluated("mixed")
    assert evaluated("mixed", dataclasses.replace(CONFIG, batch_size=7)) == first
    assert evaluated("mixed", dataclasses.replace(CONFIG, seed=1)) != first
    assert evaluated("mixed", dataclasses.replace(CONFIG, max_clips=40))["matched"]["n_clips"] == 40


def test_a_sorted_joint_counts_the_pair_as_the_judge_sees_it() -> None:
    rng = np.random.default_rng(0)
    logits = {name: rng.normal(size=(6, 4, 3)).astype(np.float32) for name in ("low", "high")}
    factors = tuple(Factor(name=name, classes=tuple("abc"), role="static") for name in logits)
    joint = Joint(name="pair", factors=("low", "high"), is_sorted=True)
    spec = dataclasses.replace(SPEC, factors=factors, joints=(joint,), headline=("fix_static", "pair"))
    found = generation.consistency_scores(logits, spec)["pair"]
    pairs = [
        [(int(a.argmax()), int(b.argmax())) for a, b in zip(*rows, strict=True)]
        for rows in zip(logits["low"], logits["high"], strict=True)
    ]
    slow = np.mean([np.mean([x == y for x, y in itertools.permutations(row, 2)]) for row in pairs])
    assert found.acc_consistency == pytest.approx(slow)
    p = np.stack([metrics.softmax(logits[name][:, 0]) for name in logits])
    product = np.einsum("na,nb->nab", *p)[:, *np.triu_indices(3)]
    assert found.h_y == pytest.approx(metrics.inter_entropy(product / product.sum(1, keepdims=True)), abs=1e-6)


# Choosing a checkpoint


def selected(name: str) -> dict[str, float]:
    return generation.selection_generator(METHODS[name], ToyData().test, SPEC, Reader(), CONFIG)


@pytest.mark.parametrize("name", ["right", "labels", "none"])
def test_selection_prefers_a_right_generator_to_all_others(name: str) -> None:
    assert selected(name)["score"] > 0.9
    assert selected("mixed")["score"] < 0.1


def test_selection_gives_a_collapsed_generator_the_floor() -> None:
    found = selected("collapsed")
    assert found["score"] == pytest.approx(0.01)
    assert found["fix_static/kept"] == 0.0


def test_selection_counts_the_accuracy_of_categories() -> None:
    assert selected("right")["acc"] == 1.0
    assert "acc" not in selected("none")
    assert selected("right") == selected("right")
