"""The capacity schedule: its curves, what a step makes of them, and that nothing is recorded which was not applied."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqdis.bench.cell.capacity import level, levels
from seqdis.bench.cell.check.bed import KINDS, Row, make_batch, make_context, weights_in_total
from seqdis.bench.cell.trainer import Interrupted, Trainer
from seqdis.bench.core.errors import UserError
from seqdis.bench.plan import catalog
from seqdis.bench.plan.catalog import MethodRef
from seqdis.bench.records.config import TrainingConfig
from seqdis.datasets.base import Factor, Spec, Split
from seqdis.methods.base import Batch, Context, Shape, with_total

LATE = {"kl_static": ((0.3, 20.0), (0.6, 1.0)), "kl_dynamic": ((0.3, 0.1), (0.6, 1.0))}
N = 24
SHAPE = Shape(frame=(6,), n_frames=5, n_train=N, n_sequences=N)
SPEC = Spec(
    name="toy",
    title="Toy",
    source="synthetic",
    modality="audio",
    frame=(6,),
    n_frames=5,
    factors=(Factor(name="kind", classes=("a", "b"), role="dynamic"),),
    headline=("fix_dynamic", "kind"),
    split_rule="none",
    revision="1",
    licence="none",
    citation="none",
)


def late(progress: float, start: float, hold: float, until: float) -> float:
    """The closed form: `start` up to `hold`, then geometrically to 1 at `until`."""
    return 1.0 if progress >= until else start ** (1 - max(0.0, progress - hold) / (until - hold))


@pytest.mark.parametrize("start", [20.0, 100.0, 0.1, 1.0])
@pytest.mark.parametrize("progress", [0.0, 0.12, 0.2999, 0.3, 0.31, 0.45, 0.5999, 0.6, 0.61, 1.0])
def test_a_factor_holds_and_then_falls_geometrically(start: float, progress: float) -> None:
    found = level(((0.3, start), (0.6, 1.0)), progress, is_linear=False)
    assert found == pytest.approx(late(progress, start, 0.3, 0.6), rel=1e-12)


def test_noise_is_linear_and_so_is_a_factor_from_or_to_0() -> None:
    schedule = {"noise_static": ((0.2, 2.0), (0.7, 0.0)), "mi_cross": ((0.2, 0.0), (0.4, 1.0)), "recon": ((0.5, 3.0),)}
    assert levels(schedule, 0.0) == {"noise_static": 2.0, "mi_cross": 0.0, "recon": 3.0}
    assert levels(schedule, 0.3) == pytest.approx({"noise_static": 1.6, "mi_cross": 0.5, "recon": 3.0})
    assert levels(schedule, 0.9) == {"noise_static": 0.0, "mi_cross": 1.0, "recon": 3.0}
    assert level(((0.0, 1.0), (0.5, 100.0), (1.0, 1.0)), 0.75, is_linear=False) == pytest.approx(10.0)


def terms_of(name: str, capacity: dict[str, float], **changes: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The terms of a small model of a method at one batch, and the gradient of their total by parameter."""
    method = Row(name, catalog.load_method(MethodRef(name))).build(KINDS["video"], **changes)
    terms = method.loss(make_batch(KINDS["video"]), method.players[0], make_context(KINDS["video"], capacity=capacity))
    terms["total"].backward()
    return terms, {key: p.grad for key, p in method.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["dsvae", "cdsvae", "s3vae", "fhvae"])
def test_a_factor_is_the_same_as_another_weight(name: str) -> None:
    scheduled, gradients = terms_of(name, {"kl_static": 20.0, "kl_dynamic": 0.1})
    plain, _ = terms_of(name, {})
    if name == "fhvae":  # whose weight of kl_static is the table's prior's too
        weighted, wanted = terms_of(name, {"table_prior": 1 / 20.0}, kl_static_weight=20.0, kl_dynamic_weight=0.1)
    else:
        weighted, wanted = terms_of(name, {}, kl_static_weight=20.0, kl_dynamic_weight=0.1)
    assert scheduled["total"].item() == pytest.approx(weighted["total"].item(), rel=1e-5)
    assert scheduled["total"].item() != plain["total"].item()
    assert gradients.keys() == wanted.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[key], rtol=1e-3, atol=1e-4)


def test_the_total_is_weight_times_factor_of_what_has_a_weight() -> None:
    terms = {name: torch.tensor(value, requires_grad=True) for name, value in (("a", 2.0), ("b", 3.0), ("c", 5.0))}
    ctx = make_context(KINDS["video"], capacity={"a": 10.0, "c": 7.0, "d": 3.0})
    found = with_total(terms, {"a": 0.5, "b": 1.0, "c": 0.0, "d": 1.0}, ctx)
    assert found["total"].item() == 0.5 * 10 * 2 + 3
    assert weights_in_total(found) == {"a": 5.0, "b": 1.0}
    assert ctx.applied == {"a", "b"}


def test_noise_has_its_deviation_and_draws_only_when_it_is_on() -> None:
    code, ctx = (
        torch.zeros(400, 300),
        make_context(KINDS["video"], capacity={"noise_static": 2.0, "noise_dynamic": 0.0}),
    )
    before = ctx.generator.get_state()
    assert ctx.noisy("dynamic", code) is code
    assert torch.equal(ctx.generator.get_state(), before)
    noisy = ctx.noisy("static", code)
    assert noisy.std().item() == pytest.approx(2.0, rel=0.01)
    assert noisy.mean().item() == pytest.approx(0.0, abs=0.03)
    assert not torch.equal(ctx.generator.get_state(), before)
    assert ctx.applied == {"noise_static", "noise_dynamic"}


def test_noise_on_the_static_code_of_rwae_is_what_the_frames_and_the_penalty_read() -> None:
    plain, noisy = terms_of("rwae", {})[0], terms_of("rwae", {"noise_static": 50.0})[0]
    assert noisy["recon"].item() != plain["recon"].item()
    assert noisy["penalty_static"].item() > plain["penalty_static"].item()


def test_a_compiled_loss_is_not_compiled_anew_as_the_factor_changes() -> None:
    compiled = 0

    def backend(module: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        nonlocal compiled
        compiled += 1
        return module.forward

    def loss(x: Tensor, ctx: Context) -> Tensor:
        return with_total({"recon": x.sum(), "kl_static": x.mean()}, {"recon": 1.0, "kl_static": 2.0}, ctx)["total"]

    fast, x = torch.compile(loss, backend=backend), torch.arange(4.0)
    for step in range(12):
        ctx = make_context(KINDS["video"], capacity={"kl_static": 20 * 0.8**step})
        assert fast(x, ctx).item() == pytest.approx(6.0 + 40 * 0.8**step * 1.5)
        assert "kl_static" in ctx.applied
    assert compiled <= 3


def trainer_of(tmp: Path | None, name: str = "dsvae", stop_at: int = -1, **training: Any) -> Trainer:
    """A trainer of a small model on random features, which saves itself into `tmp` and stops there at a step."""
    x = torch.rand(N, 5, 6, generator=torch.Generator().manual_seed(3)).half()
    split = Split(x, {"kind": torch.arange(N) % 2}, torch.arange(N), sequence=torch.arange(N))
    found = Trainer(
        Row(name, catalog.load_method(MethodRef(name))).build(SHAPE),
        split,
        SPEC,
        TrainingConfig(**{"steps": 20, "batch_size": 4, "log_every": 1, "validations": 0, **training}),
        seed=1,
        device=torch.device("cpu"),
        checkpoint=tmp / "checkpoint.safetensors" if tmp else None,
    )
    found.should_stop = lambda: found.state.step == stop_at
    return found


def test_the_trainer_gives_each_step_its_factors() -> None:
    trainer = trainer_of(None, capacity=LATE)
    trainer.fit()
    assert len(trainer.state.losses) == 20
    config = trainer.method.config
    for row in trainer.state.losses:
        numbers = {key: float(value) for key, value in row.items() if key != "player"}
        at = (numbers["step"] - 1) / 20
        total = (
            config.recon_weight * numbers["recon"]
            + config.kl_static_weight * late(at, 20.0, 0.3, 0.6) * numbers["kl_static"]
            + config.kl_dynamic_weight * late(at, 0.1, 0.3, 0.6) * numbers["kl_dynamic"]
        )
        assert numbers["total"] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("stop_at", [1, 9, 15])
def test_a_run_that_goes_on_in_the_middle_of_its_schedule_gives_the_same_bits(tmp_path: Path, stop_at: int) -> None:
    capacity = {**LATE, "noise_static": ((0.2, 1.0), (0.9, 0.0))}
    whole = trainer_of(None, capacity=capacity)
    whole.fit()
    with pytest.raises(Interrupted):
        trainer_of(tmp_path, stop_at=stop_at, capacity=capacity).fit()
    resumed = trainer_of(tmp_path, capacity=capacity)
    resumed.fit()
    assert resumed.resumed is not None
    assert resumed.state.losses == whole.state.losses
    for name, value in whole.method.state_dict().items():
        assert torch.equal(value, resumed.method.state_dict()[name]), name


def test_without_a_schedule_the_numbers_are_those_of_factors_of_1() -> None:
    plain, ones = (
        trainer_of(None),
        trainer_of(None, capacity={"kl_static": ((0.0, 1.0),), "noise_static": ((0.5, 0.0),)}),
    )
    plain.fit(), ones.fit()
    assert plain.state.losses == ones.state.losses


def test_a_schedule_that_the_loss_does_not_apply_is_refused_at_the_first_step() -> None:
    trainer = trainer_of(None, capacity={"mi_cross": ((0.0, 2.0),)})  # a weight of 0: logged at most
    with pytest.raises(
        UserError, match=r"DSVAE has no use for training\.capacity\.mi_cross with these settings: leave"
    ):
        trainer.fit()


def test_a_loss_that_sums_by_hand_is_refused_too() -> None:
    trainer = trainer_of(None, capacity=LATE)
    original = trainer.compiled

    def by_hand(batch: Batch, player: str, ctx: Context) -> dict[str, Tensor]:
        terms = original(batch, player, dataclasses.replace(ctx, capacity={}, applied=set()))
        return {**terms, "total": terms["recon"] + terms["kl_static"]}

    trainer.compiled = by_hand
    with pytest.raises(UserError, match=r"no use for training\.capacity\.kl_dynamic"):
        trainer.fit()
