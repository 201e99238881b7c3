"""The shared model, DSVAE, C-DSVAE, S3VAE and R-WAE: their terms against slow formulas, their views and options."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqdis.methods import estimators
from seqdis.methods.base import Latents, Method
from seqdis.methods.nets import Gaussian
from seqdis.methods.vae import Inference, SequentialModel, permute_frames, reconstruction_error

FAMILY = ("dsvae", "dsvae:mws", "cdsvae", "s3vae", "rwae", "rwae:gan", "rwae:weak")


def buffers(method: Method) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in method.named_buffers()}


def test_terms_of_the_bound_match_a_slow_computation(kit: Any) -> None:
    shape = kit.shapes["video"]
    method = kit.build("dsvae", shape).eval()
    batch, ctx = kit.batch(shape, 3), kit.context(shape)
    terms = method.loss(batch, "model", ctx)
    q = method.infer(method.embed(batch.x), torch.Generator().manual_seed(0))
    clips = method.decode(Latents(static=q.s, dynamic=q.z))
    recon = kl_static = kl_dynamic = 0.0
    for i in range(3):
        recon += (batch.x[i] - clips[i]).square().sum().item() / 3
        mean, logvar = q.static.mean[i], q.static.logvar[i]
        kl_static += 0.5 * (logvar.exp() + mean**2 - 1 - logvar).sum().item() / 3
        for t in range(shape.n_frames):
            history = F.pad(q.z[i : i + 1, :t], (0, 0, 1, 0))
            prior = method.prior.head(method.prior.lstm(history)[0][:, -1])
            ratio = (q.dynamic.logvar[i, t].exp() + (q.dynamic.mean[i, t] - prior.mean) ** 2) / prior.logvar.exp()
            kl_dynamic += 0.5 * (prior.logvar - q.dynamic.logvar[i, t] + ratio - 1).sum().item() / 3
    assert terms["recon"].item() == pytest.approx(recon, rel=1e-5)
    assert terms["kl_static"].item() == pytest.approx(kl_static, rel=1e-4, abs=1e-6)
    assert terms["kl_dynamic"].item() == pytest.approx(kl_dynamic, rel=1e-4, abs=1e-6)
    assert terms["total"].item() == pytest.approx(recon + kl_static + kl_dynamic, rel=1e-5)


def test_reconstructing_some_frames_is_unbiased() -> None:
    x, codes = torch.rand(2, 4, 3, dtype=torch.float64), torch.rand(2, 4, 3, dtype=torch.float64)
    whole = reconstruction_error(x, codes, lambda value: value, 0, torch.Generator())
    drawn = [
        reconstruction_error(x, codes, lambda value: value, 2, torch.Generator().manual_seed(seed)).item()
        for seed in range(3000)
    ]
    error = torch.tensor(drawn).std().item() / math.sqrt(len(drawn))
    assert abs(sum(drawn) / len(drawn) - whole.item()) < 4 * error
    per_frame = [(x - codes).square().sum(-1)[clip].tolist() for clip in range(2)]
    possible = {
        round(a + b, 9)
        for a in map(sum, itertools.combinations(per_frame[0], 2))
        for b in map(sum, itertools.combinations(per_frame[1], 2))
    }
    assert {round(value, 9) for value in drawn} == possible, "each clip draws its own two frames of four"


def test_fewer_frames_decode_fewer_frames(kit: Any) -> None:
    shape = kit.shapes["video"]
    method = kit.build("dsvae", shape, recon_frames=3)
    seen: list[tuple[int, ...]] = []
    method.frame_decoder.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[:2])))
    method.loss(kit.batch(shape), "model", kit.context(shape))
    assert seen == [(6, 3)]


@pytest.mark.parametrize("kind", ["causal", "nested", "rnn_bilstm"])
def test_views_inferred_together_equal_views_inferred_alone(kit: Any, kind: str) -> None:
    method = kit.build("cdsvae", kit.shapes["video"], dynamic_posterior=kind)
    own, content, motion = (torch.randn(5, 8, 12, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    q = method.infer(own, torch.Generator().manual_seed(0), content=content, motion=motion)
    alone = method.infer(own, torch.Generator().manual_seed(0))
    torch.testing.assert_close((q.s, q.z, *q.static, *q.dynamic), (alone.s, alone.z, *alone.static, *alone.dynamic))
    torch.testing.assert_close(q.content_mean, method.infer(content).static.mean)
    torch.testing.assert_close(q.motion_mean, method.infer(motion).dynamic.mean)


@pytest.mark.parametrize("row", FAMILY)
def test_static_codes_are_drawn_from_a_standard_normal(kit: Any, row: str) -> None:
    method = kit.build(row, kit.shapes["video"])
    drawn = method.sample_static(4000, torch.Generator().manual_seed(0))
    assert drawn.mean().abs() < 0.03
    assert drawn.std().item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    "option",
    [
        {"dynamic_posterior": "nested"},
        {"dynamic_posterior": "rnn_bilstm"},
        {"leaky_heads": True},
        {"prior_layers": 1},
        {"decoder": "upsample"},
        {"mws_reduction": "sum"},
        {"mws_reduction": "trajectory"},
        {"mws_dynamic": "sum"},
        {"mws_logvar_bug": True},
        {"mws_relu": True},
        {"init": "framework"},
        {"recon_frames": 4},
        {"log_information": True},
    ],
)
@pytest.mark.parametrize("row", ["dsvae:mws", "cdsvae", "s3vae"])
def test_every_option_trains(kit: Any, row: str, option: dict[str, Any]) -> None:
    shape = kit.shapes["video"]
    history = kit.train(kit.build(row, shape, **option), shape, 3)
    assert all(math.isfinite(step["model"]) for step in history)


def scattered(shape: Any) -> Inference:
    """Posteriors that differ between clips, and samples of them."""
    static, dynamic = (
        Gaussian(*(torch.randn(*size, generator=torch.Generator().manual_seed(seed)) for seed in range(2)))
        for size in ((6, 6), (6, shape.n_frames, 4))
    )
    generator = torch.Generator().manual_seed(2)
    return Inference(static=static, dynamic=dynamic, s=static.sample(generator), z=dynamic.sample(generator))


def test_released_density_reads_log_variance_as_log_sigma(kit: Any) -> None:
    shape = kit.shapes["video"]
    q, terms = scattered(shape), {}
    for bug in (False, True):
        method = kit.build("cdsvae", shape, mws_logvar_bug=bug)
        terms[bug] = method.information(q, shape.n_train, {"mi_cross": 1.0})

    def density(x: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
        scaled = (x[:, None] - mean[None]) * torch.exp(-log_sigma[None])
        return -0.5 * (scaled**2 + 2 * log_sigma[None] + math.log(2 * math.pi)).sum(-1)

    static = density(q.s, *q.static).double()
    dynamic = torch.stack(
        [density(q.z[:, t], q.dynamic.mean[:, t], q.dynamic.logvar[:, t]) for t in range(shape.n_frames)]
    ).double()
    released = estimators.mws_cross_information(static, dynamic, shape.n_train).item()
    assert terms[True]["mi_cross"].item() == pytest.approx(released, abs=1e-4)
    assert abs(terms[False]["mi_cross"].item() - released) > 0.01
    for name in ("mi_static", "mi_dynamic"):
        assert terms[True][name] == terms[False][name], "only I(s; z) has the released density"


def test_information_has_a_gradient_only_where_it_is_weighted(kit: Any) -> None:
    shape = kit.shapes["video"]
    method = kit.build("dsvae", shape, log_information=True)
    q = method.infer(method.embed(kit.batch(shape).x), torch.Generator())
    logged = method.information(q, 40, {})
    assert set(logged) == {"mi_static", "mi_dynamic", "mi_cross"}
    assert not any(value.requires_grad for value in logged.values())
    one = method.information(q, 40, {"mi_cross": 1.0})
    assert [name for name, value in one.items() if value.requires_grad] == ["mi_cross"]
    assert kit.build("dsvae", shape).information(q, 40, {}) == {}


def test_all_mws_maximises_information_of_codes_and_minimises_it_between_them(kit: Any) -> None:
    shape = kit.shapes["video"]
    method = kit.build("dsvae:mws", shape)
    terms = method.loss(kit.batch(shape), "model", kit.context(shape))
    expected = (
        terms["recon"]
        + terms["kl_static"]
        + terms["kl_dynamic"]
        - terms["mi_static"]
        - terms["mi_dynamic"]
        + terms["mi_cross"]
    )
    torch.testing.assert_close(terms["total"], expected)


def test_total_is_the_weighted_sum(kit: Any) -> None:
    shape = kit.shapes["video"]
    method = kit.build(
        "cdsvae",
        shape,
        recon_weight=2.0,
        kl_static_weight=3.0,
        kl_dynamic_weight=0.5,
        contrastive_static_weight=7.0,
        contrastive_dynamic_weight=11.0,
        mi_cross_weight=13.0,
    )
    terms = method.loss(kit.batch(shape), "model", kit.context(shape))
    expected = (
        2 * terms["recon"]
        + 3 * terms["kl_static"]
        + 0.5 * terms["kl_dynamic"]
        + 7 * terms["contrastive_static"]
        + 11 * terms["contrastive_dynamic"]
        + 13 * terms["mi_cross"]
    )
    torch.testing.assert_close(terms["total"], expected)


def test_permuted_embeddings_equal_encoding_the_shuffled_clip(kit: Any) -> None:
    """Forward and backward, in training mode: the shuffled view holds the same frames, so the same statistics."""
    shape = kit.shapes["video"]
    batch = kit.batch(shape)
    results = []
    for encodes_again in (False, True):
        method = kit.build("cdsvae", shape, contrastive_dynamic_weight=0.0).double()
        x = batch.x.double()
        features = method.embed(x)
        content = (
            method.embed(permute_frames(x, batch.content_view), update_statistics=False)
            if encodes_again
            else permute_frames(features, batch.content_view)
        )
        q = method.infer(features, content=content)
        value = estimators.infonce(q.static.mean, q.content_mean)
        results.append((value, torch.autograd.grad(value, [*method.frame_encoder.parameters()])))
    torch.testing.assert_close(results[0], results[1])


def test_contrastive_terms_match_full_passes_over_the_views(kit: Any) -> None:
    shape = kit.shapes["video"]
    method, batch = kit.build("cdsvae", shape), kit.batch(shape)
    terms = method.loss(batch, "model", kit.context(shape))

    def means(x: Tensor) -> tuple[Tensor, Tensor]:
        q = method.infer(method.embed(x, update_statistics=False))
        return q.static.mean, q.dynamic.mean.flatten(1)

    own, shuffled = means(batch.x), means(permute_frames(batch.x, batch.content_view))
    changed = means(batch.motion_view)
    torch.testing.assert_close(
        terms["contrastive_static"], estimators.infonce(own[0], shuffled[0]), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        terms["contrastive_dynamic"], estimators.infonce(own[1], changed[1]), rtol=1e-4, atol=1e-5
    )


def test_running_statistics_come_from_originals_only(kit: Any) -> None:
    shape, states = kit.shapes["video"], {}
    for row, option in (("dsvae", {}), ("cdsvae", {}), ("cdsvae", {"bn_stats": "all_views"})):
        method = kit.build(row, shape, **option)
        method.loss(kit.batch(shape), "model", kit.context(shape))
        states[row, len(option)] = {
            name: value for name, value in buffers(method).items() if name.startswith("frame_encoder")
        }
    torch.testing.assert_close(states["dsvae", 0], states["cdsvae", 0])
    mixed = states["cdsvae", 1]
    assert any(not torch.allclose(value, states["dsvae", 0][name]) for name, value in mixed.items())


@pytest.mark.parametrize(
    ("row", "content", "motion"),
    [
        ("cdsvae", True, True),
        ("cdsvae:no-content-aug", False, True),
        ("cdsvae:no-motion-aug", True, False),
        ("cdsvae:gamma0", True, True),
        ("dsvae", False, False),
        ("s3vae", True, False),
    ],
)
def test_only_views_with_a_weight_are_asked_for_and_encoded(kit: Any, row: str, content: bool, motion: bool) -> None:
    shape = kit.shapes["video"]
    method = kit.build(row, shape)
    needs = type(method).needs(method.config)
    assert (needs.content_view, needs.motion_view) == (content, motion)
    calls = {"frame_encoder": 0, "frame_decoder": 0}
    for name in calls:
        getattr(method, name).register_forward_hook(lambda *_, name=name: calls.__setitem__(name, calls[name] + 1))
    batch = kit.batch(shape)
    if not content:
        batch.content_view = None
    if not motion:
        batch.motion_view = None
    method.loss(batch, "model", kit.context(shape))
    assert calls == {"frame_encoder": 1 + motion, "frame_decoder": 1}


def test_a_missing_view_is_an_error(kit: Any) -> None:
    shape = kit.shapes["video"]
    batch = kit.batch(shape)
    batch.content_view = None
    with pytest.raises(ValueError, match="content_view"):
        kit.build("cdsvae", shape).loss(batch, "model", kit.context(shape))


@pytest.mark.parametrize("data", ["video", "large-video"])
def test_prediction_reads_one_frame_and_sums(kit: Any, data: str) -> None:
    shape = kit.shapes[data]
    method, batch = kit.build("s3vae", shape), kit.batch(shape)
    z = torch.randn(6, 8, 4)
    predicted = method.predictor(z)
    slow = 0.0
    for i, t, k in itertools.product(range(6), range(8), range(shape.signal.dim)):
        value, target = predicted[i, t, k].item(), batch.signal[i, t, k].item()
        if shape.signal.kind == "multilabel":
            probability = 1 / (1 + math.exp(-value))
            slow -= math.log(probability if target else 1 - probability) / 6
        else:
            slow += (value - target) ** 2 / 6
    assert method.prediction_error(z, batch.signal).item() == pytest.approx(slow, rel=1e-4)
    changed = z.clone()
    changed[:, 3] += 1
    assert [t for t in range(8) if not torch.equal(method.predictor(changed)[:, t], predicted[:, t])] == [3]


def test_port_units_are_the_ports_loss_times_2t(kit: Any) -> None:
    """The port: half the squared error of one frame, sums of KL, 1000, 100 a frame, 1."""
    shape = kit.shapes["video"]
    method = kit.build("s3vae", shape)
    terms = method.loss(kit.batch(shape), "model", kit.context(shape))
    port = (
        terms["recon"] / 16
        + terms["kl_static"]
        + terms["kl_dynamic"]
        + 1000 * terms["triplet"]
        + 100 * terms["prediction"] / 8
        + terms["mi_cross"]
    )
    torch.testing.assert_close(terms["total"], 16 * port)
    plain = kit.build("s3vae", shape, units="sum", triplet_weight=5.0)
    assert plain.weights(8) == {
        "recon": 1.0,
        "kl_static": 1.0,
        "kl_dynamic": 1.0,
        "triplet": 5.0,
        "prediction": 100.0,
        "mi_cross": 1.0,
    }


def test_triplet_compares_the_shuffled_clip_and_another_one(kit: Any) -> None:
    shape = kit.shapes["video"]
    method, batch = kit.build("s3vae", shape), kit.batch(shape)
    terms = method.loss(batch, "model", kit.context(shape))
    own = method.infer(method.embed(batch.x, update_statistics=False)).static.mean
    copy = permute_frames(batch.x, batch.content_view)
    shuffled = method.infer(method.embed(copy, update_statistics=False)).static.mean
    slow = (
        sum(max((own[i] - shuffled[i]).norm().item() - (own[i] - own[i - 1]).norm().item() + 1, 0) for i in range(6))
        / 6
    )
    assert terms["triplet"].item() == pytest.approx(slow, rel=1e-3)


def test_a_signal_that_is_not_there_is_refused(kit: Any) -> None:
    import dataclasses

    shape = dataclasses.replace(kit.shapes["video"], signal=None)
    with pytest.raises(ValueError, match="prediction_weight"):
        kit.build("s3vae", shape)
    without = kit.build("s3vae", shape, prediction_weight=0.0)
    assert not type(without).needs(without.config).signal
    assert type(without).capabilities(without.config).note == ""
    assert "prediction" not in without.loss(kit.batch(shape), "model", kit.context(shape))


@pytest.mark.parametrize("row", ["rwae", "rwae:gan", "rwae:weak"])
def test_the_penalty_alone_trains_the_prior(kit: Any, row: str) -> None:
    shape = kit.shapes["video"]
    method = kit.build(row, shape)
    terms = method.loss(kit.batch(shape), "model", kit.context(shape))
    parameters = [*method.prior.parameters()]
    recon = torch.autograd.grad(terms["recon"], parameters, retain_graph=True, allow_unused=True)
    assert all(grad is None for grad in recon)
    penalty = torch.autograd.grad(terms["penalty_dynamic"], parameters, allow_unused=True)
    assert all(grad is not None and grad.abs().sum() > 0 for grad in penalty)


def test_prior_learns_the_cloud_it_is_matched_to(kit: Any) -> None:
    """A fixed posterior cloud away from the prior: the penalty moves the prior there."""
    method = kit.build("rwae", kit.shapes["video"])
    generator = torch.Generator().manual_seed(0)
    z = 2 + 0.3 * torch.randn(64, 3, 4, generator=generator)
    optimiser = torch.optim.Adam(method.prior.parameters(), lr=3e-2)
    for _ in range(150):
        drawn = method.prior(z).sample(generator)
        penalty = estimators.mmd_unbiased(z.transpose(0, 1), drawn.transpose(0, 1)).sum()
        optimiser.zero_grad()
        penalty.backward()
        optimiser.step()
    rolled = method.sample_dynamic(500, 3, generator)
    assert (rolled.mean((0, 1)) - 2).abs().max() < 0.3
    assert rolled.std().item() < 0.8


def test_critic_reads_the_codes_of_the_models_step(kit: Any) -> None:
    shape = kit.shapes["video"]
    method, batch, ctx = kit.build("rwae:gan", shape), kit.batch(shape), kit.context(shape)
    calls: list[int] = []
    method.frame_encoder.register_forward_hook(lambda *_: calls.append(1))
    model = method.loss(batch, "model", ctx)
    critic = method.loss(batch, "critic", ctx)
    assert len(calls) == 1
    params = {player: {id(p) for p in method.player_parameters(player)} for player in method.players}
    assert not params["model"] & params["critic"]
    assert len(params["model"]) + len(params["critic"]) == len([*method.parameters()])
    grads = torch.autograd.grad(critic["total"], [*method.parameters()], allow_unused=True)
    reached = {id(p) for p, grad in zip(method.parameters(), grads, strict=True) if grad is not None}
    assert reached == params["critic"]
    assert model["total"].requires_grad
    before = buffers(method)
    alone = method.loss(batch, "critic", kit.context(shape))
    torch.testing.assert_close(buffers(method), before)
    assert len(calls) == 2
    assert math.isfinite(alone["total"].item())


def test_mmd_rwae_has_one_player(kit: Any) -> None:
    assert kit.build("rwae", kit.shapes["video"]).players == ("model",)
    assert kit.build("rwae:gan", kit.shapes["video"]).players == ("model", "critic")


@pytest.mark.parametrize("option", [{"generator": "lstm"}, {"joint_history": True}, {"penalty": "gan"}])
@pytest.mark.parametrize("row", ["rwae", "rwae:weak"])
def test_rwae_options_train(kit: Any, row: str, option: dict[str, Any]) -> None:
    shape = kit.shapes["video"]
    method = kit.build(row, shape, **option)
    assert all(math.isfinite(total) for step in kit.train(method, shape, 3) for total in step.values())
    latents = method.eval().encode(kit.batch(shape).x)
    assert method.decode(latents).shape == kit.batch(shape).x.shape


def test_actions_are_one_hot_constant_and_differentiable(kit: Any) -> None:
    shape = kit.shapes["video"]
    method = kit.build("rwae:weak", shape)
    for dynamic in (
        method.sample_dynamic(50, 8, torch.Generator().manual_seed(0)),
        method.encode(kit.batch(shape).x).dynamic.detach(),
    ):
        action = dynamic[..., -3:]
        torch.testing.assert_close(action, action[:, :1].expand_as(action))
        torch.testing.assert_close(action.sort(-1).values, torch.tensor([0.0, 0.0, 1.0]).expand_as(action))
    terms = method.loss(kit.batch(shape), "model", kit.context(shape))
    grads = torch.autograd.grad(terms["recon"], [*method.action_head.parameters()])
    assert all(grad.abs().sum() > 0 for grad in grads)
    capabilities = type(method).capabilities(method.config)
    assert not capabilities.ranked
    assert "number of actions" in capabilities.note
    with pytest.raises(ValueError, match="number of actions"):
        kit.build("rwae:weak", kit.shapes["audio"])


@pytest.mark.parametrize(("row", "read"), [("autoencoder:all-in-z", "dynamic"), ("autoencoder:all-in-s", "static")])
def test_controls_decode_one_code_only(kit: Any, row: str, read: str) -> None:
    shape = kit.shapes["video"]
    method = kit.build(row, shape).eval()
    latents = method.encode(kit.batch(shape).x)
    clips = method.decode(latents)
    for name in ("static", "dynamic"):
        changed = method.encode(kit.batch(shape).x)
        setattr(changed, name, getattr(changed, name) + 1)
        assert torch.equal(method.decode(changed), clips) == (name != read)
    assert not type(method).capabilities(method.config).ranked
    assert getattr(latents, read).abs().sum() > 0


def test_family_shares_one_backbone(kit: Any) -> None:
    """Rows differ in their objective, not in their networks."""
    shape = kit.shapes["video"]
    names = ("frame_encoder", "frame_decoder", "static_posterior", "dynamic_posterior", "prior")

    def sizes(row: str) -> dict[str, int]:
        method = kit.build(row, shape)
        assert isinstance(method, SequentialModel)
        modules = dict(method.named_children())
        return {name: sum(p.numel() for p in modules[name].parameters()) for name in names}

    assert sizes("dsvae") == sizes("cdsvae") == sizes("s3vae") == sizes("rwae") == sizes("rwae:gan")
    assert isinstance(kit.build("dsvae", shape).frame_encoder, nn.Module)
