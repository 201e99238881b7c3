"""Warnings while training: each provoked by a small real training of one of the suite's methods, and silent in a good one."""

from __future__ import annotations

import importlib
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from seqdis.bench.cell.alarms import LOGS, LONG, Alarms
from seqdis.bench.cell.trainer import Trainer
from seqdis.bench.records.config import TrainingConfig
from seqdis.datasets.base import Factor, Spec, Split
from seqdis.methods.base import Latents, Method, Shape

N, T, SIDE = 32, 4, 32
DRAWS = 32
SPEC = Spec(
    name="bars",
    title="Bars",
    source="synthetic",
    modality="video",
    frame=(3, SIDE, SIDE),
    n_frames=T,
    factors=(Factor(name="way", classes=("left", "right"), role="dynamic"),),
    headline=("fix_dynamic", "way"),
    split_rule="none",
    revision="1",
    licence="none",
    citation="none",
)


def bars(*, leaps: bool = False) -> tuple[Tensor, Tensor]:
    """Clips (N, T, C, H, W) of a coloured bar that moves to the left (0) or to the right (1), and which way (N,).

    If it `leaps`, each clip has a motion of its own.
    """
    generator = torch.Generator().manual_seed(0)
    way = torch.arange(N) % 2
    clips = torch.zeros(N, T, 3, SIDE, SIDE)
    for number in range(N):
        colour = 0.4 + 0.6 * torch.rand(3, generator=generator)
        places = 4 + 6 * (torch.arange(T) if way[number] else torch.arange(T).flip(0))
        if leaps:
            places = torch.randint(SIDE - 6, (T,), generator=generator)
        for frame, left in enumerate(places.tolist()):
            clips[number, frame, :, :, left : left + 6] = colour[:, None, None]
    return (255 * clips).to(torch.uint8), way


def trainer(
    name: str,
    *,
    variant: str = "",
    settings: dict[str, Any] | None = None,
    leaps: bool = False,
    n: int = N,
    **training: Any,
) -> Trainer:
    kind: type[Method] = importlib.import_module(f"seqdis.methods.{name}").METHOD
    small = {"width": 4, "static_dim": 4, "dynamic_dim": 2, "embedding_dim": 16, "hidden_dim": 16}
    fields = kind.Config.__dataclass_fields__
    changes = {**small, **kind.variants.get(variant, {}), **(settings or {})}
    config = kind.Config(**{key: value for key, value in changes.items() if key in fields})
    clips, way = bars(leaps=leaps)
    clips, way = clips[:n], way[:n]
    split = Split(clips, {"way": way}, torch.arange(len(way)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        method = kind(config, Shape(frame=SPEC.frame, n_frames=T, n_train=len(way), n_sequences=len(way), n_motions=2))
    chosen = {"steps": 60, "batch_size": 8, "log_every": 2, "validations": 0, **training}
    return Trainer(method, split, SPEC, TrainingConfig(**chosen), seed=0, device=torch.device("cpu"))


def motion_with_s_alone(method: Method) -> dict[str, float]:
    """How far the way of the bar survives with z drawn anew, judged by where the light moves."""
    clips, way = bars()
    generator, right = torch.Generator().manual_seed(1), 0.0
    with torch.no_grad():
        codes = method.encode(clips.float() / 256)
        for _ in range(DRAWS):
            drawn = Latents(static=codes.static, dynamic=method.sample_dynamic(N, T, generator))
            made = method.decode(drawn).mean((2, 3))
            place = (made * torch.arange(SIDE)).sum(-1) / made.sum(-1)
            right += ((place[:, -1] > place[:, 0]).long() == way).float().mean().item() / DRAWS
    return {"score": right, "fix_static/leaked": max(0.0, 2 * right - 1)}


def kinds(trained: Trainer) -> set[str]:
    return set(trained.alarms.found)


@pytest.mark.parametrize("code", ["static", "dynamic"])
def test_a_code_that_collapses_is_named(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    trained = trainer("dsvae", settings={f"kl_{code}_weight": 1e4, "lr": 0.01})
    trained.fit()
    assert f"collapse_{code}" in kinds(trained)
    found = trained.alarms.found[f"collapse_{code}"]
    assert found.until == trained.n_steps
    assert f"{'s' if code == 'static' else 'z'} collapsed" in trained.alarms.now
    assert f"warning at step {found.step}: {found.text}" in capsys.readouterr().out.splitlines()


def test_a_code_that_a_schedule_keeps_shut_has_not_collapsed() -> None:
    shut = {"kl_static": ((0.0, 1e4), (1.0, 0.0))}
    trained = trainer("dsvae", settings={"lr": 0.01}, capacity=shut)
    trained.fit()
    assert "collapse_static" not in kinds(trained)
    assert any(line["kl_static"] < 0.1 for line in trained.state.losses)


@pytest.mark.parametrize(("variant", "leaks"), [("all-in-s", True), ("all-in-z", False)])
def test_motion_in_s_is_named(variant: str, leaks: bool) -> None:
    trained = trainer("autoencoder", variant=variant, settings={"lr": 0.01}, steps=100, validations=2, batch_size=16)
    trained.validate = motion_with_s_alone
    trained.fit()
    assert ("motion_in_static" in kinds(trained)) is leaks, trained.state.validation


def test_a_discriminator_that_wins_is_named() -> None:
    trained = trainer("mocogan", steps=80)
    trained.fit()
    assert "discriminator" in kinds(trained), trained.state.losses[-3:]
    assert "discriminator wins" in trained.alarms.found["discriminator"].text


def test_an_estimate_at_its_ceiling_is_named() -> None:
    """Codes of four clips that are trained to tell of each other soon tell all that four clips can."""
    weights = {
        "recon": 1e-4,
        "kl_static": 0.0,
        "kl_dynamic": 0.0,
        "mi_static": 0.0,
        "mi_dynamic": 0.0,
        "mi_cross": -1.0,
    }
    settings = {f"{term}_weight": value for term, value in weights.items()}
    sizes = {"static_dim": 16, "dynamic_dim": 16, "lr": 0.01, "mws_reduction": "mean"}
    trained = trainer("dsvae", variant="mws", settings={**settings, **sizes}, leaps=True, n=4, steps=120, batch_size=4)
    trained.fit()
    assert "estimate" in kinds(trained), trained.state.losses[-3:]
    assert f"ln 4 = {math.log(4):.2f}" in trained.alarms.found["estimate"].text


def test_an_estimate_that_is_a_sum_over_frames_is_divided_by_them() -> None:
    """As of S3VAE: a sum beyond ln B says nothing against its frames."""
    for frames, is_so in ((1, True), (2, False)):
        alarms = Alarms(batch_size=4, frames=frames)
        for step in range(LOGS):
            alarms.logged(step, "model", {"mi_cross": 1.38})
        assert ("estimate" in alarms.found) is is_so
    summed = trainer("dsvae", variant="mws", settings={"mws_reduction": "sum"})
    assert summed.alarms.frames == T


def test_a_training_that_diverges_is_named() -> None:
    trained = trainer("dsvae", settings={"lr": 3.0}, clip_norm=1.0, steps=12, log_every=1)
    trained.fit()
    assert "divergence" in kinds(trained), [line["recon"] for line in trained.state.losses]


def test_a_good_training_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    free = {"kl_static_weight": 0.1, "kl_dynamic_weight": 0.1, "recon_weight": 10.0}
    trained = trainer("dsvae", settings={"lr": 0.01, **free}, steps=100, log_every=5)
    trained.fit()
    assert kinds(trained) == set()
    assert trained.alarms.now == ""
    assert "warning" not in capsys.readouterr().out


def test_the_same_lines_again_give_the_same_warnings() -> None:
    trained = trainer("dsvae", settings={"kl_static_weight": 1e4, "lr": 0.01})
    trained.fit()
    assert trained._alarms().found == trained.alarms.found


def test_one_batch_is_no_trouble_and_what_passes_is_no_longer_shown() -> None:
    alarms = Alarms(batch_size=8)
    for step in range(LOGS - 1):
        assert alarms.logged(step, "model", {"kl_static": 0.0}) == []
    (found,) = alarms.logged(LOGS - 1, "model", {"kl_static": 0.0})
    assert found.kind == "collapse_static"
    assert alarms.now == "s collapsed"
    assert alarms.logged(LOGS, "model", {"kl_static": 5.0}) == []
    assert alarms.now == ""
    assert alarms.found["collapse_static"].until == LOGS - 1


def test_a_discriminator_must_win_for_long() -> None:
    alarms = Alarms(batch_size=8)
    said = [alarms.logged(step, "critic", {"accuracy_real": 1.0, "accuracy_fake": 0.95}) for step in range(LONG)]
    assert [len(found) for found in said] == [0] * (LONG - 1) + [1]


def test_where_nothing_moves_by_label_s_cannot_carry_motion() -> None:
    assert Alarms(batch_size=8, has_motion=False).validated(1, {"fix_static/leaked": 0.9}) == []
