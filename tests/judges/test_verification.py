"""Speaker verification: EER against an independent slow one, trials, bootstrap, probes, and a method end to end."""

from __future__ import annotations

import dataclasses
import itertools
import types

import numpy as np
import pytest
import torch

from seqdis.bench.core.errors import UserError
from seqdis.datasets.base import Factor, Split
from seqdis.judges import probes, protocol, trials, verification
from seqdis.judges.metrics import equal_error_rate
from seqdis.judges.settings import EvaluationConfig
from seqdis.methods.base import Latents, Method


def slow_eer(scores: np.ndarray, target: np.ndarray) -> float:
    """By definition: rates at every threshold, one by one; the crossing of two line segments."""
    points = []
    for threshold in [np.inf, *sorted(set(scores.tolist()), reverse=True)]:
        accepted = [score >= threshold for score in scores]
        far = sum(a and not t for a, t in zip(accepted, target, strict=True)) / sum(~target)
        frr = sum(not a and t for a, t in zip(accepted, target, strict=True)) / sum(target)
        points.append((far, frr))
    for (far_0, frr_0), (far_1, frr_1) in itertools.pairwise(points):
        if far_1 >= frr_1:
            w = (frr_0 - far_0) / ((frr_0 - far_0) + (far_1 - frr_1))
            return far_0 + w * (far_1 - far_0)
    raise AssertionError("the rates must cross")


@pytest.mark.parametrize("seed", range(30))
def test_eer_equals_the_definition_at_ties_and_small_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    target = rng.random(n) < 0.4
    target[:2] = True, False
    scores = rng.integers(0, int(rng.integers(1, 12)) + 1, n) / 7 + 0.3 * target * (seed % 2)
    assert equal_error_rate(scores, target) == pytest.approx(slow_eer(scores, target), abs=1e-12)


def test_eer_rules() -> None:
    target = np.array([True] * 50 + [False] * 70)
    assert equal_error_rate(target.astype(float), target) == 0.0
    assert equal_error_rate(-target.astype(float), target) == 1.0  # reversed scores are not folded
    assert equal_error_rate(np.ones(120), target) == 0.5
    rng = np.random.default_rng(0)
    noise = rng.random(40_000)
    assert equal_error_rate(noise, rng.random(40_000) < 0.1) == pytest.approx(0.5, abs=0.01)


def test_trials_are_all_pairs_and_leave_out_one_utterance() -> None:
    speaker, utterance = np.array([7, 7, 3, 3, 9]), np.array([0, 0, 1, 2, 3])
    every = trials.all_pairs(speaker)
    assert len(every.first) == 10
    assert every.target.sum() == 2
    assert every.n_speakers == 3
    across = trials.all_pairs(speaker, utterance)
    assert len(across.first) == 9
    assert across.target.sum() == 1


def test_core_test_of_timit_has_18336_trials() -> None:
    every = trials.all_pairs(np.repeat(np.arange(24), 8))
    assert (len(every.first), every.target.sum()) == (18_336, 672)


def test_cosine_of_codes_without_length_is_zero_and_equal_codes_tie() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(6, 33))
    vectors[0] = 0
    vectors[1] = 1e-12
    every = trials.all_pairs(np.arange(6))
    scores = trials.cosine_scores(vectors, every)
    assert (scores[(every.first <= 1)] == 0).all()
    same = trials.cosine_scores(np.repeat(rng.normal(size=(1, 257)), 6, 0) * rng.uniform(0.1, 9, (6, 1)), every)
    assert np.unique(same).size == 1


def test_bootstrap_equals_scoring_the_repeated_trials() -> None:
    """With few distinct scores the bins are exact, so each resample must equal the EER of repeated trials."""
    rng = np.random.default_rng(1)
    speaker = np.repeat(np.arange(5), 4)
    every = trials.all_pairs(speaker)
    scores = np.round(rng.normal(size=len(every.first)) + every.target, 1)
    counts = trials.resample_speakers(5, 40, rng)
    found = trials.resampled_eer(scores, every, counts)
    for eer, count in zip(found, counts, strict=True):
        a, b = count[every.speaker_first], count[every.speaker_second]
        repeats = np.where(every.target, a, a * b).astype(int)
        target = np.repeat(every.target, repeats)
        if target.all() or not target.any():
            assert np.isnan(eer)
        else:
            assert eer == pytest.approx(equal_error_rate(np.repeat(scores, repeats), target), abs=1e-12)


def test_bootstrap_interval_covers_the_estimate_and_is_wider_than_one_over_trials() -> None:
    rng = np.random.default_rng(2)
    n_speakers, n_utterances = 24, 8
    centre = rng.normal(size=(n_speakers, 10))
    vectors = (centre[:, None] + 1.2 * rng.normal(size=(n_speakers, n_utterances, 10))).reshape(-1, 10)
    every = trials.all_pairs(np.repeat(np.arange(n_speakers), n_utterances))
    scores = trials.cosine_scores(vectors, every)
    eer = equal_error_rate(scores, every.target)
    drawn = trials.resampled_eer(scores, every, trials.resample_speakers(n_speakers, 400, rng))
    interval = trials.interval(drawn)
    assert interval is not None
    low, high = interval
    assert low < eer < high
    # Were the 18,336 trials independent, the standard error would be about sqrt(p (1 - p) / 672).
    assert high - low > 2 * 1.96 * np.sqrt(eer * (1 - eer) / 672)


def test_bootstrap_with_many_bins_is_close_to_exact() -> None:
    rng = np.random.default_rng(3)
    every = trials.all_pairs(np.repeat(np.arange(12), 12))
    scores = rng.normal(size=len(every.first)) + 1.5 * every.target
    once = np.ones((1, 12))
    exact = equal_error_rate(scores, every.target)
    assert trials.resampled_eer(scores, every, once)[0] == pytest.approx(exact, abs=2e-3)


def test_probe_reads_a_linear_code_and_no_other() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (120, 4))
    codes = np.eye(5)[labels] + 0.05 * rng.normal(size=(120, 4, 5))
    static = rng.normal(size=(120, 3))
    labels[:, 0] = -1
    part = (static, codes, labels)
    found = probes.frame_probe(part, part, max_frames=200, rng=rng)
    assert found is not None
    assert found.dynamic > 0.99
    assert found.static < 0.5
    assert 0.15 < found.chance < 0.35
    assert probes.frame_probe((static, codes, np.full((120, 4), -1)), part, max_frames=9, rng=rng) is None


def test_per_frame_repeats_codes_that_cover_several_frames() -> None:
    assert probes.per_frame(np.arange(4.0).reshape(1, 2, 2), 4)[0, :, 0].tolist() == [0, 0, 2, 2]
    assert probes.per_frame(np.ones((3, 7)), 5).shape == (3, 5, 7)


@dataclasses.dataclass(frozen=True)
class NoConfig:
    lr: float = 1.0


class Splitter(Method):
    """An ideal code: the first features are the speaker's, the others the phone's."""

    def encode(self, x: torch.Tensor, generator: torch.Generator | None = None) -> Latents:
        assert not self.training
        dynamic = x[..., 6:]
        if generator is not None:
            dynamic = dynamic + torch.randn(dynamic.shape, generator=generator)
        return Latents(static=x[..., :6].mean(1), dynamic=dynamic)


def corpus(n_speakers: int, n_utterances: int, seed: int) -> Split:
    """Segments of 20 frames: a speaker's vector beside a one-hot phone."""
    generator = torch.Generator().manual_seed(seed)
    n_segments = 5
    n = n_speakers * n_utterances * n_segments
    speaker = torch.arange(n_speakers).repeat_interleave(n_utterances * n_segments)
    phone = torch.randint(0, 8, (n, 20), generator=generator)
    voice = torch.randn(n_speakers, 6, generator=generator)[speaker]
    x = torch.cat([voice[:, None].expand(n, 20, 6), torch.eye(8)[phone]], -1)
    x = x + 0.2 * torch.randn(x.shape, generator=generator)
    return Split(
        x.half(),
        {"speaker": speaker},
        speaker,
        sequence=torch.arange(n_speakers * n_utterances).repeat_interleave(n_segments),
        frame_labels={"phone": phone},
    )


def fake_dataset() -> types.SimpleNamespace:
    spec = types.SimpleNamespace(
        frame_factors=(Factor(name="phone", classes=tuple("abcdefgh"), role="dynamic"),), by_role=lambda role: ()
    )
    return types.SimpleNamespace(spec=spec, train=corpus(16, 4, 0), test=corpus(8, 4, 1))


def test_evaluate_finds_what_an_ideal_code_holds() -> None:
    method = Splitter(NoConfig(), None)  # type: ignore[arg-type]
    method.train()
    levels, probed = verification.speaker_scores(method, fake_dataset(), EvaluationConfig(seed=0), "cpu")  # type: ignore[arg-type]
    assert method.training  # left as it was
    utterance = levels["utterance"]
    assert utterance.n_trials == 32 * 31 // 2
    assert utterance.n_target == 8 * 4 * 3 // 2
    assert utterance.eer_static < 0.05
    assert 0.4 < utterance.eer_dynamic < 0.6
    assert utterance.gap == pytest.approx(utterance.eer_dynamic - utterance.eer_static)
    low, high = utterance.gap_ci
    assert low <= utterance.gap <= high
    assert {"segment", "utterance:concat-z", "utterance:sampled-z", "utterance:center=train-mean"} <= set(levels)
    assert probed["phone"].dynamic > 0.95
    assert probed["phone"].static < 0.3


def test_same_seed_gives_the_same_numbers() -> None:
    method = Splitter(NoConfig(), None).eval()  # type: ignore[arg-type]
    first, second = (
        verification.speaker_scores(method, fake_dataset(), EvaluationConfig(seed=3), "cpu")  # type: ignore[arg-type]
        for _ in range(2)
    )
    assert first == second


def test_pooling_is_the_methods_own_and_order_does_not_matter() -> None:
    method = Splitter(NoConfig(), None).eval()  # type: ignore[arg-type]
    codes = verification.encode(method, corpus(3, 2, 0), "cpu")
    vectors = verification.utterance_vectors(method, codes)
    expected = codes.latents.static[:5].mean(0).double().numpy()
    np.testing.assert_allclose(vectors.static[0], expected, atol=1e-6)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    shuffled = verification.Codes(codes.latents[order], codes.utterance[order], codes.speaker[order])
    np.testing.assert_allclose(verification.utterance_vectors(method, shuffled).static, vectors.static, atol=1e-6)


def test_selection_verifies_every_validation_utterance_though_few_clips_are_decoded() -> None:
    class Decoder(Splitter):
        def decode(self, latents: Latents) -> torch.Tensor:
            static = latents.static[:, None].expand(-1, latents.dynamic.shape[1], -1)
            return torch.cat([static, latents.dynamic], -1)

        def sample_dynamic(self, n: int, n_frames: int, generator: torch.Generator, **_: bool) -> torch.Tensor:
            return torch.eye(8)[torch.randint(0, 8, (n, n_frames), generator=generator)]

    method = Decoder(NoConfig(), None).eval()  # type: ignore[arg-type]
    split = corpus(8, 4, 0)
    spec = types.SimpleNamespace(headline=("verification", "speaker"), n_frames=20)
    whole = verification.error_rate_gap(method, split, "cpu")
    few = [
        protocol.selection_score(method, split, spec, None, EvaluationConfig(selection_clips=n))  # type: ignore[arg-type]
        for n in (0, 10)
    ]
    for found in few:
        assert {key: found[key] for key in ("eer_static", "eer_dynamic")} == {
            key: whole[key] for key in ("eer_static", "eer_dynamic")
        }
        assert 0.1 < found["fix_static/change"] < 0.3  # words are a small part of these clips, voices the rest
    assert few[0]["fix_static/change"] != few[1]["fix_static/change"]


def test_one_speaker_only_is_refused() -> None:
    method = Splitter(NoConfig(), None).eval()  # type: ignore[arg-type]
    with pytest.raises(UserError, match="two speakers"):
        verification.error_rate_gap(method, corpus(1, 4, 0), "cpu")


def test_discriminants_need_enough_speakers() -> None:
    rng = np.random.default_rng(0)

    def of(n_speakers: int) -> verification.Vectors:
        speaker = np.repeat(np.arange(n_speakers), 6)
        centre = 3 * rng.normal(size=(n_speakers, 20))
        return verification.Vectors(
            centre[speaker] + rng.normal(size=(len(speaker), 20)), rng.normal(size=(len(speaker), 20)), speaker
        )

    assert verification._discriminants(of(5), of(8), 12) is None
    found = verification._discriminants(of(5), of(30), 12)
    assert found is not None
    assert found.static.shape == (30, 12)
