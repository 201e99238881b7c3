"""The oracle's look-up, and the trained autoencoder controls on toy clips."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from seqdis.datasets.base import DataSet, Spec
from seqdis.judges.controls import Oracle, _draw_alike
from seqdis.judges.judge import Judge
from seqdis.judges.protocol import evaluate, selection_score
from seqdis.judges.settings import EvaluationConfig
from seqdis.judges.subjects import subject_of

CPU = torch.device("cpu")


def test_oracle_is_examined_through_its_own_subject(toy: DataSet) -> None:
    subject = subject_of(Oracle(toy.test, toy.spec), toy.test, toy.spec, EvaluationConfig(), CPU)
    everything = torch.arange(len(toy.test))
    assert torch.equal(subject.reconstruct(everything), toy.test.clips(everything))


@pytest.mark.parametrize(
    ("direction", "kept", "free"),
    [("fix_dynamic", ("motion",), ("colour", "row")), ("fix_static", ("colour", "row"), ("motion",))],
)
def test_oracle_shows_real_clips_of_the_kept_labels(
    direction: Any, kept: tuple[str, ...], free: tuple[str, ...], toy: DataSet
) -> None:
    subject = Oracle(toy.test, toy.spec).subject(toy.test, CPU)
    everything = torch.arange(len(toy.test))
    shown = subject.draw(direction, torch.Generator().manual_seed(0))(everything)
    real = toy.test.clips(everything)
    # Every shown clip is one of the real ones: find which, and read its labels.
    which = (shown.flatten(1)[:, None] == real.flatten(1)).all(2).int().argmax(1)
    assert torch.equal(real[which], shown)
    for factor in kept:
        assert torch.equal(toy.test.labels[factor][which], toy.test.labels[factor])
    for factor in free:
        label = toy.test.labels[factor]
        share = torch.bincount(label).double() / len(label)
        assert float((label[which] == label).double().mean()) == pytest.approx(float(share.square().sum()), abs=0.1)
    assert torch.equal(subject.reconstruct(everything), real)


def test_oracle_without_labels_of_a_role_shows_any_clip(toy: DataSet, other_spec: Callable[..., Spec]) -> None:
    spec = other_spec(factors=toy.spec.by_role("static"), joints=())
    shown = Oracle(toy.test, spec).subject(toy.test, CPU).draw("fix_dynamic", torch.Generator().manual_seed(0))
    assert shown(torch.arange(300)).flatten(1).unique(dim=0).shape[0] > 50


def test_draw_is_uniform_over_the_alike_and_reaches_each() -> None:
    pool = torch.tensor([0, 1, 0, 1, 1, 3])
    drawn = _draw_alike(pool, torch.ones(6000, dtype=torch.long), torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn, minlength=6)
    assert counts[[0, 2, 5]].sum() == 0
    assert (counts[[1, 3, 4]] - 2000).abs().max() < 200
    assert _draw_alike(pool, torch.tensor([3]), torch.Generator().manual_seed(0)).item() == 5
    for absent in (2, 4):
        with pytest.raises(ValueError, match="no clip"):
            _draw_alike(pool, torch.tensor([absent]), torch.Generator())


@pytest.mark.parametrize("variant", ["all-in-z", "all-in-s"])
def test_trained_autoencoder_control_behaves_as_its_name_says(variant: str, toy: DataSet, judge: Judge) -> None:
    """The controls of `methods/`, trained for seconds: what their one code holds stays, the rest is lost."""
    from seqdis.methods.autoencoder import Autoencoder
    from seqdis.methods.base import Batch, Context, Shape

    torch.manual_seed(0)
    settings = {
        **Autoencoder.variants[variant],
        "lr": 4e-3,
        "static_dim": 32,
        "dynamic_dim": 16,
        "width": 8,
        "embedding_dim": 48,
        "hidden_dim": 64,
        "recon_weight": 1.0,
        "kl_weight": 0.02,
    }
    shape = Shape(frame=toy.spec.frame, n_frames=toy.spec.n_frames, n_train=len(toy.train))
    method = Autoencoder(Autoencoder.Config(**settings), shape)
    generator = torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(method.parameters(), lr=method.config.lr)
    for step in range(500):
        index = torch.randint(len(toy.train), (32,), generator=generator)
        batch = Batch(x=toy.train.clips(index), index=index, sequence=index, n_segments=torch.ones_like(index))
        context = Context(n_train=len(toy.train), step=step, epoch=0, n_steps=500, generator=generator)
        loss = method.train().loss(batch, "model", context)["total"]
        adam.zero_grad()
        loss.backward()
        adam.step()
    method.eval()
    config = EvaluationConfig(draws=1)
    found = evaluate(method, toy, judge, config).metrics
    acc = {
        direction: {factor: scores.acc for factor, scores in side.draws[0].items()}
        for direction, side in (
            ("fix_dynamic", found.directions.fix_dynamic),
            ("fix_static", found.directions.fix_static),
        )
    }
    keeps, loses = ("fix_dynamic", "fix_static") if variant == "all-in-z" else ("fix_static", "fix_dynamic")
    rebuilt = found.reconstruction.factors
    assert rebuilt["motion"].acc > 0.8
    for factor in ("motion", "colour", "row"):
        assert acc[keeps][factor] == pytest.approx(rebuilt[factor].acc, abs=0.02)
    assert acc[loses]["motion"] < 0.5
    assert acc[loses]["colour"] < 0.5
    assert selection_score(method, toy.validation, toy.spec, judge, config)["score"] < 0.2
