"""Speaker verification: vectors of utterances, discriminants, and a method end to end."""

from __future__ import annotations

import dataclasses
import types

import numpy as np
import pytest
import torch

from seqdis.bench.core.errors import UserError
from seqdis.datasets.base import Factor, Split
from seqdis.judges import protocol, verification
from seqdis.judges.settings import EvaluationConfig
from seqdis.methods.base import Latents, Method


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
