"""The protocol on exact methods: known answers, the three controls, and what must not change the numbers."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqdis.bench.core.schema import to_json
from seqdis.datasets.base import DataSet, Joint, Spec
from seqdis.judges import metrics
from seqdis.judges.controls import Oracle
from seqdis.judges.encoders import factor_scores, labels_of, save_outputs
from seqdis.judges.judge import Judge
from seqdis.judges.protocol import evaluate, selection_score
from seqdis.judges.selection import kept_and_leaked
from seqdis.judges.settings import PROTOCOL_VERSION, EvaluationConfig
from seqdis.judges.subjects import examined_clips

CONFIG = EvaluationConfig(draws=3)
CHANCE = {"motion": 1 / 3, "colour": 1 / 3, "row": 1 / 2, "look": 1 / 6}
MARGIN = 0.1  # three standard errors of a share of 300 clips, and what the labels are out of balance


@pytest.fixture
def subject_named(exact: Callable[[str], Any], toy: DataSet) -> Callable[[str], Any]:
    """A method, or the oracle, by name."""
    return lambda name: Oracle(toy.test, toy.spec) if name == "oracle" else exact(name)


def recorded(*arguments: Any, **options: Any) -> dict[str, Any]:
    """`evaluate`, as the record has it."""
    found = to_json(evaluate(*arguments, **options))
    return {**found.pop("metrics"), **found}


def accuracy(found: dict[str, Any], direction: str) -> dict[str, float]:
    """Of each factor, mean over prior draws."""
    draws = found["directions"][direction]["draws"]
    return {factor: float(np.mean([draw[factor]["acc"] for draw in draws])) for factor in draws[0]}


@pytest.mark.parametrize("name", ["oracle", "perfect"])
def test_true_factors_reach_the_ceiling_and_leak_at_chance(
    name: str, subject_named: Callable[[str], Any], toy: DataSet, judge: Judge
) -> None:
    found = recorded(subject_named(name), toy, judge, CONFIG)
    ceiling = {factor: scores["acc"] for factor, scores in found["real"]["factors"].items()}
    fixed_z, fixed_s = accuracy(found, "fix_dynamic"), accuracy(found, "fix_static")
    assert fixed_z["motion"] == pytest.approx(ceiling["motion"], abs=0.01)
    for factor in ("colour", "row", "look"):
        assert fixed_z[factor] == pytest.approx(CHANCE[factor], abs=MARGIN)
        assert fixed_s[factor] == pytest.approx(ceiling[factor], abs=0.01)
    assert fixed_s["motion"] == pytest.approx(CHANCE["motion"], abs=MARGIN)
    assert found["reconstruction"]["mse"] == pytest.approx(0, abs=1e-5)
    for draw in found["directions"]["fix_dynamic"]["draws"]:
        assert draw["colour"]["label_entropy"] > 0.95 * math.log(3)  # what is drawn is diverse


def test_everything_in_z_leaks_every_factor(subject_named: Callable[[str], Any], toy: DataSet, judge: Judge) -> None:
    found = recorded(subject_named("all-in-z"), toy, judge, CONFIG)
    assert min(accuracy(found, "fix_dynamic").values()) > 0.98
    for factor, value in accuracy(found, "fix_static").items():
        assert value == pytest.approx(CHANCE[factor], abs=MARGIN)


def test_everything_in_s_keeps_no_motion_and_leaks_it(
    subject_named: Callable[[str], Any], toy: DataSet, judge: Judge
) -> None:
    found = recorded(subject_named("all-in-s"), toy, judge, CONFIG)
    assert min(accuracy(found, "fix_static").values()) > 0.98
    for factor, value in accuracy(found, "fix_dynamic").items():
        assert value == pytest.approx(CHANCE[factor], abs=MARGIN)


def test_selection_is_won_by_true_factors_and_by_neither_autoencoder(
    subject_named: Callable[[str], Any], toy: DataSet, judge: Judge
) -> None:
    found = {
        name: selection_score(subject_named(name), toy.validation, toy.spec, judge, CONFIG)
        for name in ("perfect", "all-in-z", "all-in-s")
    }
    assert found["perfect"]["score"] > 0.9
    assert found["all-in-z"]["acc"] > 0.98  # the papers' rule would choose it
    for control in ("all-in-z", "all-in-s"):
        assert found[control]["score"] < 0.15


@pytest.mark.parametrize("missing", ["static", "dynamic"])
def test_selection_without_labels_of_one_role_still_refuses_both_autoencoders(
    missing: str, subject_named: Callable[[str], Any], toy: DataSet, judge: Judge, other_spec: Callable[..., Spec]
) -> None:
    """As on SM-MNIST, whose motion has no classes."""
    factors = tuple(factor for factor in toy.spec.factors if factor.role != missing)
    headline = ("fix_static", "colour") if missing == "dynamic" else ("fix_dynamic", "motion")
    spec = other_spec(factors=factors, joints=(), headline=headline)
    found = {
        name: selection_score(subject_named(name), toy.validation, spec, judge, CONFIG)["score"]
        for name in ("perfect", "all-in-z", "all-in-s")
    }
    # Another motion moves the block but keeps its colour, so it changes a clip by less than another clip would.
    assert found["perfect"] > 0.7
    assert max(found["all-in-z"], found["all-in-s"]) < 0.2


def test_numbers_do_not_depend_on_the_batch_size_or_the_call(
    exact: Callable[[str], Any], toy: DataSet, judge: Judge
) -> None:
    method = exact("perfect")
    first = recorded(method, toy, judge, CONFIG)
    torch.manual_seed(123)  # the global generator is not read
    assert recorded(method, toy, judge, CONFIG) == first
    assert _close(recorded(method, toy, judge, dataclasses.replace(CONFIG, batch_size=7)), first)
    other = recorded(method, toy, judge, dataclasses.replace(CONFIG, seed=1))
    assert other["directions"] != first["directions"]
    assert other["real"] == first["real"]


def test_more_draws_leave_the_earlier_ones_as_they_were(
    exact: Callable[[str], Any], toy: DataSet, judge: Judge
) -> None:
    few = recorded(exact("perfect"), toy, judge, dataclasses.replace(CONFIG, draws=1))
    many = recorded(exact("perfect"), toy, judge, CONFIG)
    for direction in ("fix_dynamic", "fix_static"):
        draws = many["directions"][direction]["draws"]
        assert len(draws) == 3
        assert draws[:1] == few["directions"][direction]["draws"]
        assert draws[0] != draws[1]


def test_mode_of_the_method_is_left_as_it_was(exact: Callable[[str], Any], toy: DataSet, judge: Judge) -> None:
    method = exact("perfect").train()
    recorded(method, toy, judge, dataclasses.replace(CONFIG, draws=1))
    assert method.training
    selection_score(method.eval(), toy.validation, toy.spec, judge, CONFIG)
    assert not method.training


def test_every_test_clip_is_scored_once_a_draw(exact: Callable[[str], Any], toy: DataSet, judge: Judge) -> None:
    """300 clips are not a multiple of the batch: none is dropped, whichever way they were rebuilt."""
    outputs: dict[str, np.ndarray] = {}
    found = recorded(exact("perfect"), toy, judge, CONFIG, outputs=outputs)
    assert found["directions"]["fix_static"]["n_clips"] == len(toy.test) == 300
    assert {array.shape[0] for array in outputs.values()} == {300}


def test_part_of_the_clips_is_the_same_part_for_every_method(toy: DataSet) -> None:
    parts = [examined_clips(toy.test, 50) for _ in range(2)]
    assert len(parts[0]) == 50
    assert torch.equal(parts[0].x, parts[1].x)
    assert len(set(parts[0].identity.tolist())) == 50
    assert examined_clips(toy.test, 0) is toy.test
    assert examined_clips(toy.test, 10_000) is toy.test


def test_scores_can_be_computed_again_from_the_saved_outputs(
    exact: Callable[[str], Any], toy: DataSet, judge: Judge, tmp_path: Path
) -> None:
    """With none of our functions: softmax, entropies and divergences written out."""
    outputs: dict[str, np.ndarray] = {}
    found = recorded(exact("perfect"), toy, judge, CONFIG, outputs=outputs)
    save_outputs(tmp_path / "outputs.npz", outputs)
    with np.load(tmp_path / "outputs.npz", allow_pickle=False) as saved:
        for direction in ("fix_dynamic", "fix_static"):
            for number, draw in enumerate(found["directions"][direction]["draws"]):
                for factor in ("motion", "colour", "row"):
                    logits = saved[f"{direction}.{number}.{factor}"].astype(np.float64)
                    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
                    mean = p.mean(0)
                    assert draw[factor]["acc"] == np.mean(logits.argmax(1) == saved[f"labels.{factor}"])
                    assert draw[factor]["is"] == pytest.approx(np.exp((p * np.log(p / mean)).sum(1).mean()))
                    assert draw[factor]["h_y_given_x"] == pytest.approx(-(p * np.log(p)).sum(1).mean())
                    assert draw[factor]["h_y"] == pytest.approx(-(mean * np.log(mean)).sum())


def test_identity_of_the_inception_score_holds_for_each_draw_and_head(
    exact: Callable[[str], Any], toy: DataSet, judge: Judge
) -> None:
    found = recorded(exact("all-in-s"), toy, judge, CONFIG)
    scored = [draw for side in found["directions"].values() for draw in side["draws"]]
    scored += [found["real"]["factors"], found["reconstruction"]["factors"]]
    for scores in (scores for draw in scored for scores in draw.values()):
        assert math.log(scores["is"]) == pytest.approx(scores["h_y"] - scores["h_y_given_x"], abs=1e-9)


def test_result_has_the_keys_of_the_record(exact: Callable[[str], Any], toy: DataSet, judge: Judge) -> None:
    found = recorded(exact("perfect"), toy, judge, dataclasses.replace(CONFIG, draws=1))
    assert set(found) == {"protocol", "identities", "directions", "reconstruction", "real", "shuffle"}
    assert found["protocol"] == "encoder"
    assert set(found["directions"]["fix_dynamic"]["draws"][0]) == {"motion", "colour", "row", "look"}
    assert {"acc", "is", "h_y_given_x", "h_y"} <= set(found["real"]["factors"]["motion"])
    assert isinstance(PROTOCOL_VERSION, int)


def test_reconstruction_error_is_the_definition(exact: Callable[[str], Any], toy: DataSet, judge: Judge) -> None:
    method = exact("all-in-z")
    join = method.join
    method.join = lambda codes: join(codes) + 0.1
    found = recorded(method, toy, judge, dataclasses.replace(CONFIG, draws=1))["reconstruction"]
    assert found["mse"] == pytest.approx(0.01, rel=1e-4)
    assert found["sse"] == pytest.approx(0.01 * 6 * 3 * 16 * 16, rel=1e-4)


def test_clips_that_are_not_finite_are_an_error_not_a_score(
    exact: Callable[[str], Any], toy: DataSet, judge: Judge
) -> None:
    method = exact("all-in-z")
    method.join = lambda codes: codes.dynamic.unflatten(2, (3, 16, 16)) * math.nan
    with pytest.raises(ValueError, match="finite"):
        recorded(method, toy, judge, CONFIG)


def test_step_means_are_asked_for_by_the_option(exact: Callable[[str], Any], toy: DataSet, judge: Judge) -> None:
    method = exact("perfect")
    asked: list[bool] = []
    draw = method.sample_dynamic

    def sample(n: int, n_frames: int, generator: torch.Generator, *, means: bool = False) -> torch.Tensor:
        asked.append(means)
        return draw(n, n_frames, generator)

    method.sample_dynamic = sample
    for option in ("draw", "means"):
        recorded(method, toy, judge, EvaluationConfig(draws=1, sample=option))  # type: ignore[arg-type]
    assert asked == [False, True]


def test_shuffle_number_is_zero_for_an_invariant_code_and_large_for_an_ordered_one(
    exact: Callable[[str], Any], toy: DataSet, judge: Judge
) -> None:
    config = dataclasses.replace(CONFIG, draws=1)
    assert recorded(exact("perfect"), toy, judge, config)["shuffle"] == 0
    assert recorded(exact("all-in-z"), toy, judge, config)["shuffle"] == 0  # a constant code
    assert recorded(exact("all-in-s"), toy, judge, config)["shuffle"] > 0.3


def test_sorted_joint_scores_equal_a_slow_enumeration() -> None:
    rng = np.random.default_rng(0)
    heads = [rng.normal(size=(40, 4)) * 2 for _ in range(2)]
    labels = np.sort(rng.integers(0, 4, size=(40, 2)), axis=1)
    found = metrics.joint_scores(heads, [labels[:, 0], labels[:, 1]], is_sorted=True)
    pairs = [(i, j) for i in range(4) for j in range(i, 4)]
    p = np.array([[np.exp(heads[0][n, i] + heads[1][n, j]) for i, j in pairs] for n in range(40)])
    p /= p.sum(1, keepdims=True)
    assert found.h_y == pytest.approx(metrics.entropy(p.mean(0)))
    assert found.h_y_given_x == pytest.approx(np.mean([metrics.entropy(row) for row in p]))
    both = (heads[0].argmax(1) == labels[:, 0]) & (heads[1].argmax(1) == labels[:, 1])
    assert found.acc == both.mean()
    with pytest.raises(ValueError, match="decrease"):
        metrics.joint_scores(heads, [labels[:, 1] + 0, np.zeros(40, dtype=int) - 0], is_sorted=True)


def test_joint_of_the_spec_is_scored_beside_its_parts(toy: DataSet) -> None:
    labels = labels_of(toy.test, toy.spec)
    sizes = {factor.name: factor.n_classes for factor in toy.spec.factors}
    logits = {factor: 9 * np.eye(sizes[factor], dtype=np.float32)[label] for factor, label in labels.items()}
    found = factor_scores(logits, labels, toy.spec)
    assert isinstance(toy.spec.joints[0], Joint)
    assert found["look"].acc == 1
    assert found["look"].h_y == pytest.approx(math.log(6), abs=0.02)


def test_a_factor_with_one_class_counts_for_nothing(
    toy: DataSet, other_spec: Callable[..., Spec], subject_named: Callable[[str], Any], judge: Judge
) -> None:
    """As where validation clips show one class only."""
    acc = {direction: {"motion": 1.0, "colour": 0.5, "row": 1.0} for direction in ("fix_dynamic", "fix_static")}
    sides = kept_and_leaked(acc, toy.spec, {"motion": 1 / 3, "colour": 1 / 3, "row": 1.0}, {})
    assert sides["fix_static"].kept == pytest.approx(0.25)  # the colour's alone
    one_row = toy.validation.subset((toy.validation.labels["row"] == 0).nonzero()[:, 0])
    found = selection_score(subject_named("perfect"), one_row, toy.spec, judge, CONFIG)
    assert found["score"] > 0.8


def _close(found: Any, expected: Any) -> bool:
    if isinstance(found, dict):
        return set(found) == set(expected) and all(_close(found[key], expected[key]) for key in found)
    if isinstance(found, list):
        return len(found) == len(expected) and all(map(_close, found, expected))
    if isinstance(found, str):
        return bool(found == expected)
    return bool(found == pytest.approx(expected, rel=1e-4, abs=1e-5))


def test_factors_whose_test_classes_are_new_are_not_judged(toy: DataSet, recipe: Any, narrow: Any) -> None:
    """As when data are split by people: who it is cannot be learnt, and the selection score does without."""
    from seqdis.judges.training import fit_judge

    strangers = copy.copy(toy)
    strangers.train, strangers.test, strangers.validation = (
        part.subset((part.labels["row"] == row).nonzero().flatten())
        for part, row in ((toy.train, 0), (toy.test, 1), (toy.validation, 1))
    )
    found = fit_judge(strangers, recipe=dataclasses.replace(recipe, steps=2, check_every=2), architecture=narrow)
    assert set(found.factors) == {"motion", "colour"}
    scores = recorded(Oracle(strangers.test, strangers.spec), strangers, found, EvaluationConfig(draws=1))
    assert set(scores["real"]["factors"]) == {"motion", "colour"}
    assert "score" in selection_score(
        Oracle(strangers.validation, strangers.spec), strangers.validation, strangers.spec, found, CONFIG
    )


def test_counts_by_identity_add_up_to_the_headline(
    subject_named: Callable[[str], Any], toy: DataSet, judge: Judge
) -> None:
    grouped = copy.copy(toy)
    grouped.test = copy.copy(toy.test)
    grouped.test.identity = torch.arange(len(toy.test)) // 7 * 10 + 3  # numbers with gaps
    outputs: dict[str, Any] = {}
    found = recorded(subject_named("all-in-s"), grouped, judge, CONFIG, outputs=outputs)
    counts = found["identities"]
    clips, right = ([int(number) for number in counts[key].split()] for key in ("clips", "right"))
    assert (counts["unit"], counts["metric"]) == ("clip", "fix_dynamic/motion/acc")
    assert sum(clips) == len(toy.test)
    assert set(clips[:-1]) == {7}
    assert sum(right) / (sum(clips) * CONFIG.draws) == pytest.approx(
        accuracy(found, "fix_dynamic")["motion"], abs=1e-12
    )
    first = [outputs[f"fix_dynamic/{draw}/motion"][:7].argmax(1) == outputs["labels/motion"][:7] for draw in range(3)]
    assert right[0] == np.sum(first)


def test_counts_of_a_joint_want_every_part_right(
    subject_named: Callable[[str], Any], toy: DataSet, judge: Judge
) -> None:
    joined = copy.copy(toy)
    joined.spec = dataclasses.replace(toy.spec, headline=("fix_static", "look"))
    found = recorded(subject_named("all-in-z"), joined, judge, CONFIG)
    right = [int(number) for number in found["identities"]["right"].split()]
    assert sum(right) / (len(toy.test) * CONFIG.draws) == pytest.approx(
        accuracy(found, "fix_static")["look"], abs=1e-12
    )
