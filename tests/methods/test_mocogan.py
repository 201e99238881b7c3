"""MoCoGAN: sizes, the rules for lengths and sides, each player's loss, the category term, codes and the average."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqdis.methods.base import Batch, Context, Latents, Shape
from seqdis.methods.mocogan import GENERATOR, IMAGE, VIDEO, MoCoGAN
from seqdis.methods.mocogan import MoCoGANConfig as Config
from seqdis.methods.nets import gan

SMALL = Config(width=4, static_dim=6, dynamic_dim=5)


def shape_of(frame: tuple[int, ...] = (3, 32, 32), n_frames: int = 8, n_motions: int = 4) -> Shape:
    return Shape(frame=frame, n_frames=n_frames, n_train=20, n_motions=n_motions)


def built(config: Config = SMALL, shape: Shape | None = None, seed: int = 0) -> MoCoGAN:
    torch.manual_seed(seed)
    return MoCoGAN(config, shape or shape_of())


def batch_of(shape: Shape, n: int = 5, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, shape.n_frames, *shape.frame, generator=generator)
    labels = torch.randint(max(shape.n_motions, 1), (n,), generator=generator)
    return Batch(x=x, index=torch.arange(n), sequence=torch.arange(n), n_segments=torch.ones(n), motion_labels=labels)


def context(step: int = 0, n_steps: int = 100, seed: int = 2) -> Context:
    generator = torch.Generator().manual_seed(seed)
    return Context(n_train=20, step=step, epoch=0, n_steps=n_steps, generator=generator)


# Rules for lengths and sides


@pytest.mark.parametrize(
    ("n_frames", "plan"),
    [
        (16, (4, 0, 4)),
        (15, (4, 0, 3)),
        (13, (4, 0, 1)),
        (8, (4, 1, 4)),
        (5, (4, 1, 1)),
        (4, (3, 1, 4)),
        (20, (4, 0, 8)),
    ],
)
def test_length_rule_at_64_pixels_is_the_documented_one(n_frames: int, plan: tuple[int, int, int]) -> None:
    assert gan.temporal_plan(n_frames, 4) == plan


@pytest.mark.parametrize("stages", [2, 3, 4])
@pytest.mark.parametrize("n_frames", range(1, 24))
def test_length_rule_tells_what_the_convolutions_leave(n_frames: int, stages: int) -> None:
    kernel, padding, remaining = gan.temporal_plan(n_frames, stages)
    x = torch.zeros(1, 1, n_frames)
    for _ in range(stages):
        x = functional.conv1d(x, torch.zeros(1, 1, kernel), padding=padding)
    assert x.shape[2] == remaining >= 1


@pytest.mark.parametrize(("side", "stages"), [(16, 2), (32, 3), (64, 4), (128, 5)])
def test_a_frame_is_halved_down_to_four_pixels(side: int, stages: int) -> None:
    assert gan.n_stages(side) == stages


@pytest.mark.parametrize("side", [8, 28, 48, 65])
def test_other_sides_are_refused(side: int) -> None:
    with pytest.raises(ValueError, match=str(side)):
        gan.n_stages(side)


def test_the_published_sizes_at_64_pixels_and_16_frames() -> None:
    method = built(Config(), Shape(frame=(3, 64, 64), n_frames=16, n_train=1, n_motions=6))
    transposed = [
        (m.in_channels, m.out_channels) for m in method.generator.modules() if isinstance(m, nn.ConvTranspose2d)
    ]
    assert transposed == [(66, 512), (512, 256), (256, 128), (128, 64), (64, 3)]
    images = [tuple(m.weight.shape) for m in method.image_discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert images == [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (1, 256, 4, 4)]
    videos = [tuple(m.weight.shape) for m in method.video_discriminator.modules() if isinstance(m, gan.TemporalConv)]
    assert videos == [(64, 12, 4, 4), (128, 256, 4, 4), (256, 512, 4, 4), (512, 1024, 4, 4), (7, 2048, 4, 4)]
    assert method.generator.recurrent.hidden_size == method.generator.recurrent.input_size == 10


def test_temporal_convolution_is_torch_s_own_in_three_dimensions() -> None:
    reference = nn.Conv3d(3, 5, (3, 4, 4), (1, 2, 2), (1, 1, 1), bias=False)
    ours = gan.TemporalConv(3, 5, 3, padding=(1, 1))
    with torch.no_grad():
        ours.weight.copy_(reference.weight.flatten(1, 2))
    x = torch.randn(2, 3, 4, 8, 8)
    torch.testing.assert_close(ours(x), reference(x))


def test_temporal_convolution_starts_like_torch_s_own() -> None:
    torch.manual_seed(0)
    reference = nn.Conv3d(16, 64, (4, 4, 4), bias=False).weight
    torch.manual_seed(0)
    torch.testing.assert_close(gan.TemporalConv(16, 64, 4).weight, reference.flatten(1, 2))


def test_it_can_be_moved_to_channels_last_as_a_whole() -> None:
    method = built()
    before = method.loss(batch_of(method.shape), VIDEO, context())["total"]
    method = built().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    after = method.loss(batch_of(method.shape), VIDEO, context())["total"]
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


# Losses

AUDIO = shape_of((11,), 20, 0)
SHAPES = [shape_of(), shape_of((1, 32, 32), 15, 0), shape_of((3, 64, 64), 4, 3), AUDIO]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.frame}x{shape.n_frames}")
def test_every_player_s_loss_reaches_all_of_its_parameters(shape: Shape) -> None:
    method = built(shape=shape)
    seen: set[int] = set()
    for player in method.players:
        parameters = method.player_parameters(player)
        assert seen.isdisjoint(map(id, parameters))
        seen |= set(map(id, parameters))
        losses = method.loss(batch_of(shape, 3), player, context())
        gradients = torch.autograd.grad(losses["total"], parameters)
        assert all(g.isfinite().all() and g.abs().sum() > 0 for g in gradients)
    assert seen == set(map(id, method.parameters()))


def generated(method: MoCoGAN, n: int, n_frames: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Clips in the nets' range and their categories, one frame at a time, drawn as the losses draw them."""
    codes, category = method._frame_codes(n, n_frames, generator)
    frames = method.generator.frame_net(codes.flatten(0, 1))
    return frames.unflatten(0, (n, n_frames)), category


def bce(logits: Tensor, target: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def test_video_discriminator_tells_real_from_generated_and_learns_the_categories_it_is_shown() -> None:
    method = built(dataclasses.replace(SMALL, noise=0.0, category_weight=0.7))
    batch, generator = batch_of(method.shape), context().generator
    losses = method.loss(batch, VIDEO, context())
    with torch.no_grad():
        fake, category = generated(method, len(batch.x), 8, generator)
        on_real, _ = method.video_discriminator(2 * batch.x - 1)
        on_fake, classes = method.video_discriminator(fake)
    expected = bce(on_real, 1.0) + bce(on_fake, 0.0) - 0.7 * classes.log_softmax(1)[torch.arange(5), category].mean()
    torch.testing.assert_close(losses["total"], expected)
    torch.testing.assert_close(losses["accuracy_real"], (torch.sigmoid(on_real) > 0.5).float().mean())


def test_image_discriminator_tells_real_from_generated_frames() -> None:
    method = built(dataclasses.replace(SMALL, noise=0.0), shape_of(n_frames=1))
    batch, ctx = batch_of(method.shape), context()
    losses = method.loss(batch, IMAGE, ctx)
    generator = context().generator
    torch.randint(1, (5,), generator=generator)  # the (only) real frame
    with torch.no_grad():
        fake, _ = generated(method, 5, 1, generator)
        expected = bce(method.image_discriminator(2 * batch.x[:, 0] - 1), 1.0)
        expected = expected + bce(method.image_discriminator(fake[:, 0]), 0.0)
    torch.testing.assert_close(losses["total"], expected)


def test_generator_is_judged_by_both_discriminators_and_the_category_head() -> None:
    method = built(dataclasses.replace(SMALL, noise=0.0), shape_of(n_frames=1))
    losses = method.loss(batch_of(method.shape), GENERATOR, context())
    fake, category = generated(method, 5, 1, context().generator)
    on_fake, classes = method.video_discriminator(fake)
    image = bce(method.image_discriminator(fake[:, 0]), 1.0)
    torch.testing.assert_close(losses["adversarial_image"], image)
    torch.testing.assert_close(losses["total"], image + bce(on_fake, 1.0) + functional.cross_entropy(classes, category))


def trunk_gradient(method: MoCoGAN) -> Tensor:
    weight = next(m for m in method.video_discriminator.modules() if isinstance(m, gan.TemporalConv)).weight
    losses = method.loss(batch_of(method.shape), VIDEO, context())
    return torch.autograd.grad(losses["total"], weight)[0]


def test_without_labels_the_head_and_its_trunk_are_trained_by_the_category_term() -> None:
    with_term, without = built(), built(dataclasses.replace(SMALL, category_weight=0.0))
    assert not torch.allclose(trunk_gradient(with_term), trunk_gradient(without))


def test_without_labels_the_head_learns_the_categories_of_a_generator_that_stands_still() -> None:
    method = built(dataclasses.replace(SMALL, noise=0.0))
    optimiser = torch.optim.Adam(method.player_parameters(VIDEO), lr=5e-3)
    category = []
    for step in range(80):
        losses = method.loss(batch_of(method.shape, 16), VIDEO, context(seed=step))
        optimiser.zero_grad()
        losses["total"].backward()
        optimiser.step()
        category.append(losses["category"])
    assert torch.stack(category[-10:]).mean() < 0.6 * math.log(4)


def test_with_labels_the_head_is_trained_on_real_clips() -> None:
    method = built(dataclasses.replace(SMALL, categories="labels"))
    batch = batch_of(method.shape)
    assert batch.motion_labels is not None
    other = dataclasses.replace(batch, motion_labels=(batch.motion_labels + 1) % 4)
    one, two = (method.loss(b, VIDEO, context())["category"] for b in (batch, other))
    assert one != two
    x = 2 * batch.x - 1
    generator = context().generator
    with torch.no_grad():
        codes, _ = method._frame_codes(5, 8, generator)
        torch.randn((*codes.shape[:2], 3, 32, 32), generator=generator)  # the noise on the generated clips
        _, classes = method.video_discriminator(x + 0.1 * torch.randn(x.shape, generator=generator))
    torch.testing.assert_close(one, functional.cross_entropy(classes, batch.motion_labels))


def test_with_labels_a_batch_must_bring_them() -> None:
    method = built(dataclasses.replace(SMALL, categories="labels"))
    with pytest.raises(ValueError, match="motion labels"):
        method.loss(dataclasses.replace(batch_of(method.shape), motion_labels=None), VIDEO, context())


@pytest.mark.parametrize(
    ("config", "n_motions"), [(Config(categories="labels"), 0), (Config(categories="labels", n_categories=3), 4)]
)
def test_labels_need_one_category_a_motion_class(config: Config, n_motions: int) -> None:
    with pytest.raises(ValueError, match="motion"):
        built(config, shape_of(n_motions=n_motions))


@pytest.mark.parametrize(
    ("variant", "n_categories", "needs_labels", "ranked"),
    [("", 4, False, True), ("labels", 4, True, False), ("no-categories", 0, False, True), ("paper", 4, False, True)],
)
def test_variants_say_what_they_need_and_can_do(
    variant: str, n_categories: int, needs_labels: bool, ranked: bool
) -> None:
    config = dataclasses.replace(SMALL, **MoCoGAN.variants.get(variant, {}))
    capabilities = MoCoGAN.capabilities(config)
    assert built(config).n_categories == n_categories
    assert MoCoGAN.needs(config).motion_labels is needs_labels
    assert not capabilities.encodes
    assert capabilities.ranked is ranked
    assert capabilities.categories == config.categories


def test_instance_noise_falls_to_nothing() -> None:
    method = built()
    x = torch.zeros(4, 8, 3, 32, 32)
    deviations = [float(method._noisy(x, context(step, 100)).std()) for step in (0, 50, 100)]
    assert deviations[0] == pytest.approx(0.1, rel=0.05)
    assert deviations[1] == pytest.approx(0.05, rel=0.05)
    assert deviations[2] == 0


def test_optimisation_is_the_release_s() -> None:
    settings = built(Config(width=4)).optimisation(GENERATOR)
    assert dataclasses.astuple(settings) == (2e-4, (0.5, 0.999), 1e-5)


# Codes


def test_dynamic_code_is_the_category_then_the_path_of_the_recurrent_net() -> None:
    method = built(dataclasses.replace(SMALL, ema=0.0)).double()
    generator = torch.Generator().manual_seed(3)
    torch.set_default_dtype(torch.float64)
    try:
        code = method.sample_dynamic(2, 4, generator, category=torch.tensor([3, 1]))
        generator.manual_seed(3)
        h, noise = torch.randn(2, 5, generator=generator), torch.randn(2, 4, 5, generator=generator)
    finally:
        torch.set_default_dtype(torch.float32)
    assert code[:, :, :4].tolist() == [[[0, 0, 0, 1.0]] * 4, [[0, 1.0, 0, 0]] * 4]
    cell = method.generator.recurrent
    (ir, iz, in_), (hr, hz, hn) = cell.weight_ih.chunk(3), cell.weight_hh.chunk(3)
    (bir, biz, bin_), (bhr, bhz, bhn) = cell.bias_ih.chunk(3), cell.bias_hh.chunk(3)
    for t in range(4):
        e = noise[:, t]
        reset = torch.sigmoid(e @ ir.T + bir + h @ hr.T + bhr)
        update = torch.sigmoid(e @ iz.T + biz + h @ hz.T + bhz)
        new = torch.tanh(e @ in_.T + bin_ + reset * (h @ hn.T + bhn))
        h = (1 - update) * new + update * h
        torch.testing.assert_close(code[:, t, 4:], h)


def test_categories_are_uniform_if_they_are_not_chosen() -> None:
    method = built().eval()
    code = method.sample_dynamic(4000, 1, torch.Generator().manual_seed(0))[:, 0, :4]
    assert (code.sum(1) == 1).all()
    assert code.mean(0).tolist() == pytest.approx([0.25] * 4, abs=0.03)


def test_a_category_cannot_be_chosen_where_there_is_none() -> None:
    method = built(dataclasses.replace(SMALL, categories="none"))
    with pytest.raises(ValueError, match="no categories"):
        method.sample_dynamic(2, 8, torch.Generator(), category=torch.tensor([0, 1]))
    assert method.sample_dynamic(2, 8, torch.Generator()).shape == (2, 8, 5)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.frame}x{shape.n_frames}")
@pytest.mark.parametrize("n_frames", [1, 7])
def test_clips_of_any_length_are_decoded_in_the_data_s_range(shape: Shape, n_frames: int) -> None:
    method = built(shape=shape).eval()
    generator = torch.Generator().manual_seed(0)
    latents = Latents(static=method.sample_static(3, generator), dynamic=method.sample_dynamic(3, n_frames, generator))
    x = method.decode(latents)
    assert x.shape == (3, n_frames, *shape.frame)
    if shape.is_video:
        assert 0 <= x.min() < x.max() <= 1


def test_it_says_that_it_has_no_encoder() -> None:
    with pytest.raises(NotImplementedError, match="no encoder"):
        built().encode(torch.zeros(1, 8, 3, 32, 32))


# The moving average


def test_average_follows_the_formula_and_holds_no_parameters() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = gan.WeightAverage(module)
    before = module[0].weight.detach().clone()
    with torch.no_grad():
        module[0].weight.add_(1.0)
        module[1](torch.randn(5, 3))
    average.update(module, 0.9)
    torch.testing.assert_close(average.module[0].weight, before + 0.1)
    assert average.module[1].num_batches_tracked == 1
    assert not list(average.parameters())
    assert not average.train().module.training


def test_evaluation_uses_the_average_and_training_the_weights() -> None:
    method = built()
    latents = Latents(static=torch.ones(2, 6), dynamic=torch.ones(2, 3, 9))
    before = method.eval().decode(latents)
    with torch.no_grad():
        for parameter in method.generator.parameters():
            parameter.mul_(3.0)
    torch.testing.assert_close(method.decode(latents), before)
    method.on_step_end(context(step=0))
    assert not torch.allclose(method.decode(latents), before)
    weight = method.average.module.recurrent.weight_hh if method.average else None
    torch.testing.assert_close(weight, (0.9 + 0.1 / 3) * method.generator.recurrent.weight_hh)


def test_average_s_decay_grows_to_the_config_s() -> None:
    method = built(dataclasses.replace(SMALL, ema=0.5))
    assert method.average is not None
    target = method.generator.recurrent.weight_hh
    start = target.detach().clone()
    with torch.no_grad():
        target.add_(1.0)
    method.on_step_end(context(step=1_000_000))
    torch.testing.assert_close(method.average.module.recurrent.weight_hh, start + 0.5)


def test_a_saved_method_generates_the_same_clips() -> None:
    method, other = built(seed=0), built(seed=1)
    method.on_step_end(context())
    other.load_state_dict(method.state_dict())
    latents = Latents(static=torch.ones(2, 6), dynamic=torch.ones(2, 3, 9))
    torch.testing.assert_close(other.eval().decode(latents), method.eval().decode(latents))


def test_random_frames_are_frames_of_their_own_clip() -> None:
    from seqdis.methods.mocogan import _random_frame

    x = torch.arange(2000)[:, None] * 10 + torch.arange(4)
    chosen = _random_frame(x, torch.Generator().manual_seed(0))
    assert torch.equal(chosen // 10, torch.arange(2000))
    assert torch.bincount(chosen % 10).float().div(2000).tolist() == pytest.approx([0.25] * 4, abs=0.04)
