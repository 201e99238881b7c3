"""Shared networks: shapes, what they may and may not see, batch statistics, teacher forcing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seqdis.methods.base import Shape
from seqdis.methods.nets import (
    DynamicPosterior,
    FrameDecoder,
    FrameEncoder,
    LstmPrior,
    StaticPosterior,
    frame_nets,
    init_normal,
    stage_channels,
)


def draw(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("side", [16, 32, 64, 128])
@pytest.mark.parametrize("kind", ["transposed", "upsample"])
def test_frames_of_any_power_of_two(side: int, kind: str) -> None:
    shape = Shape(frame=(3, side, side), n_frames=2, n_train=4)
    encoder, decoder = frame_nets(shape, 2, 7, 5, kind)  # type: ignore[arg-type]
    assert encoder(torch.rand(3, 2, 3, side, side)).shape == (3, 2, 7)
    assert encoder(torch.rand(4, 3, side, side)).shape == (4, 7)
    clips = decoder(draw(3, 2, 5))
    assert clips.shape == (3, 2, 3, side, side)
    assert ((clips > 0) & (clips < 1)).all()


@pytest.mark.parametrize("frame", [(3, 48, 48), (3, 8, 8), (3, 32, 64), (80,)])
def test_other_frames_are_refused(frame: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="frames must be"):
        stage_channels(frame, 4)


def test_full_size_channels_are_the_published_ones() -> None:
    encoder = FrameEncoder((3, 64, 64), 64, 128)
    assert [conv.out_channels for conv in encoder.convs] == [64, 128, 256, 512, 128]
    released = FrameDecoder(288, (3, 64, 64), 64)
    assert [layer.out_channels for layer in [*released.layers, released.last]] == [512, 256, 128, 64, 3]
    paper = FrameDecoder(288, (3, 64, 64), 64, "upsample")
    assert [norm.num_features for norm in paper.norms] == [512, 256, 128, 128, 64]
    assert (released.slope, paper.slope) == (0.2, 0.0)


def test_encoder_matches_a_plain_stack() -> None:
    encoder = FrameEncoder((3, 32, 32), 4, 6)
    layers: list[nn.Module] = []
    for conv, norm in zip(encoder.convs, encoder.norms, strict=True):
        plain = nn.BatchNorm2d(norm.num_features)
        layers += [conv, plain, nn.LeakyReLU(0.2)]
    reference = nn.Sequential(*layers[:-1], nn.Tanh(), nn.Flatten())
    x = torch.rand(5, 2, 3, 32, 32)
    torch.testing.assert_close(encoder(x), reference(x.flatten(0, 1)).unflatten(0, (5, 2)))


def test_statistics_can_be_left_alone() -> None:
    encoder = FrameEncoder((1, 16, 16), 3, 4)
    x = torch.rand(6, 1, 16, 16)
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    quiet = encoder(x, update_statistics=False)
    for name, value in encoder.named_buffers():
        assert torch.equal(value, before[name]), name
    torch.testing.assert_close(encoder(x), quiet)
    assert any(not torch.equal(value, before[name]) for name, value in encoder.named_buffers())
    encoder.eval()
    torch.testing.assert_close(encoder(x, update_statistics=False), encoder(x))


def test_audio_nets_work_frame_by_frame() -> None:
    encoder, decoder = frame_nets(Shape(frame=(20,), n_frames=4, n_train=4), 4, 6, 5)
    x = draw(3, 4, 20)
    torch.testing.assert_close(encoder(x)[1, 2], encoder(x[1, 2]))
    assert decoder(draw(3, 4, 5)).shape == (3, 4, 20)


def test_static_posterior_reads_both_ends() -> None:
    posterior = StaticPosterior(5, 4, 3)
    x = draw(2, 6, 5)
    final = posterior.lstm(x)[1][0]
    torch.testing.assert_close(posterior.summary(posterior.states(x)), torch.cat([final[0], final[1]], dim=1))
    mean, logvar = posterior(x)
    assert mean.shape == logvar.shape == (2, 3)
    for t in range(6):
        changed = x.clone()
        changed[:, t] += 1
        assert not torch.allclose(posterior(changed).mean, mean)


def test_leaky_heads_shrink_negative_values() -> None:
    plain, leaky = StaticPosterior(5, 4, 3), StaticPosterior(5, 4, 3, leaky_heads=True)
    leaky.load_state_dict(plain.state_dict())
    x = 5 * draw(8, 6, 5)
    for a, b in zip(plain(x), leaky(x), strict=True):
        torch.testing.assert_close(b, torch.where(a > 0, a, 0.2 * a))


@pytest.mark.parametrize(("kind", "causal"), [("causal", True), ("nested", True), ("rnn_bilstm", False)])
def test_dynamic_posteriors_see_what_they_say(kind: str, causal: bool) -> None:
    posterior = DynamicPosterior(10, 6, 3, kind)  # type: ignore[arg-type]
    static = StaticPosterior(5, 5, 2)

    def means(features: Tensor) -> Tensor:
        inputs = static.states(features) if kind == "rnn_bilstm" else features.repeat(1, 1, 2)
        return posterior(inputs, torch.Generator().manual_seed(0))[0].mean

    x = draw(2, 6, 5)
    changed = x.clone()
    changed[:, 4] += 1
    same = torch.isclose(means(x), means(changed)).flatten(2).all(-1).all(0)
    assert same.tolist() == [causal] * 4 + [False] * 2


def test_nested_posterior_reads_its_own_samples() -> None:
    posterior, x = DynamicPosterior(5, 6, 3, "nested"), draw(2, 6, 5)
    first, z = posterior(x, torch.Generator().manual_seed(0))
    second, _ = posterior(x, torch.Generator().manual_seed(1))
    torch.testing.assert_close(first.mean[:, 0], second.mean[:, 0])
    assert not torch.allclose(first.mean[:, 1:], second.mean[:, 1:])
    state = None
    previous = torch.zeros(2, 3)
    for t in range(6):
        state = posterior.rnn(torch.cat([x[:, t], previous], dim=1), state)
        torch.testing.assert_close(posterior.head(state[0]).mean, first.mean[:, t])
        previous = z[:, t]


def test_means_without_a_generator_agree_with_mean_only_calls() -> None:
    x = draw(2, 6, 5)
    for kind in ("causal", "nested"):
        posterior = DynamicPosterior(5, 6, 3, kind)  # type: ignore[arg-type]
        q, z = posterior(x)
        torch.testing.assert_close(z, q.mean)
        torch.testing.assert_close(posterior.mean(x), z)


def cells(prior: LstmPrior) -> list[nn.LSTMCell]:
    """The prior's layers as cells, the way the released code builds it."""
    built = []
    for layer in range(prior.lstm.num_layers):
        size = prior.lstm.input_size if layer == 0 else prior.lstm.hidden_size
        cell = nn.LSTMCell(size, prior.lstm.hidden_size)
        cell.load_state_dict({name: getattr(prior.lstm, f"{name}_l{layer}") for name in cell.state_dict()})
        built.append(cell)
    return built


def test_teacher_forced_prior_equals_a_loop_of_cells() -> None:
    prior, z = LstmPrior(3, 5), draw(4, 7, 3)
    stack: list[tuple[Tensor, Tensor] | None] = [None, None]
    previous, together = torch.zeros(4, 3), prior(z)
    for t in range(7):
        h = previous
        for layer, cell in enumerate(cells(prior)):
            stack[layer] = cell(h, stack[layer])
            h = stack[layer][0]  # type: ignore[index]
        torch.testing.assert_close(together.mean[:, t], prior.head.to_mean(h))
        torch.testing.assert_close(together.logvar[:, t], prior.head.to_logvar(h))
        previous = z[:, t]


def test_free_running_prior_feeds_back_its_draws() -> None:
    prior = LstmPrior(3, 5)
    nn.init.constant_(prior.head.to_logvar.bias, -1.0)
    drawn = prior.sample(4, 6, torch.Generator().manual_seed(3))
    means = prior.sample(4, 6, torch.Generator().manual_seed(3), means=True)
    forced = prior(drawn)
    torch.testing.assert_close(forced.mean, means)
    noise = (drawn - forced.mean) / torch.exp(0.5 * forced.logvar)
    generator = torch.Generator().manual_seed(3)
    torch.testing.assert_close(noise, torch.cat([torch.randn(4, 1, 3, generator=generator) for _ in range(6)], 1))


def test_initial_weights() -> None:
    shape = Shape(frame=(3, 64, 64), n_frames=2, n_train=4)
    encoder, decoder = frame_nets(shape, 16, 32, 40)
    transposed = [layer.weight.detach().clone() for layer in decoder.layers]  # type: ignore[union-attr]
    posterior = StaticPosterior(32, 64, 32)
    recurrent = posterior.lstm.weight_hh_l0.detach().clone()
    init_normal(nn.ModuleList([encoder, decoder, posterior]))
    for conv in encoder.convs:  # type: ignore[union-attr]
        assert conv.weight.std().item() == pytest.approx(0.01, rel=0.2)
        assert not conv.bias.any()
    assert posterior.head.to_mean.weight.std().item() == pytest.approx(0.01, rel=0.2)
    assert torch.equal(posterior.lstm.weight_hh_l0, recurrent)
    for layer, before in zip(decoder.layers, transposed, strict=True):  # type: ignore[union-attr,arg-type]
        assert torch.equal(layer.weight, before)
