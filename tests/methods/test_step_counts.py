"""A training step does only the counted minimum of work: counts of operations, never times.

Hand counts, in multiply-adds times two: an encoder or decoder pass costs its forward, and twice that backward, less
the gradient of the clip that nobody asks for. Full size is 64x64 frames at width 64.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from seqdis.methods.base import Method, Shape, SignalShape

SHAPE = Shape(
    frame=(3, 64, 64),
    n_frames=8,
    n_train=18000,
    n_sequences=9000,
    n_motions=9,
    signal=SignalShape(dim=9, kind="multilabel"),
)
ENCODER = [(3, 64, 32), (64, 128, 16), (128, 256, 8), (256, 512, 4), (512, 128, 1)]  # in, out, side of the output
DECODER = [(288, 512, 1), (512, 256, 4), (256, 128, 8), (128, 64, 16), (64, 3, 32)]  # in, out, side of the input
# in, out, frames and side of the output; kernels are 4x4x4 (8 frames leave one stage 1 less than it was given).
VIDEO_CRITIC = [(3, 64, 7, 32), (64, 128, 6, 16), (128, 256, 5, 8), (256, 512, 4, 4), (512, 10, 1, 1)]
IMAGE_CRITIC = [(3, 64, 32), (64, 128, 16), (128, 256, 8), (256, 1, 4)]
CLIPS = 2


def cost(layers: list[tuple[int, int, int]]) -> list[float]:
    """MF a frame of each 4x4 layer, forward."""
    return [2 * 16 * a * b * side**2 / 1e6 for a, b, side in layers]


def minimum(encoder_passes: int) -> float:
    """MF a frame of a step with so many encoder passes and one decoder pass, forward and backward."""
    encoder, decoder = cost(ENCODER), cost(DECODER)
    return encoder_passes * (3 * sum(encoder) - encoder[0]) + 3 * sum(decoder)


def full_size(kit: Any, row: str) -> Method:
    name, _, variant = row.partition(":")
    method = kit.classes()[name]
    built: Method = method(method.Config(**method.variants.get(variant, {})), SHAPE)
    return built


def counted(kit: Any, method: Method) -> float:
    """MF a frame of one step of every player."""
    batch, ctx = kit.batch(SHAPE, CLIPS), kit.context(SHAPE)
    with FlopCounterMode(display=False) as counter:
        for player in method.players:
            method.loss(batch, player, ctx)["total"].backward(inputs=method.player_parameters(player))
    return counter.get_total_flops() / (CLIPS * SHAPE.n_frames) / 1e6


def test_hand_counts_are_the_reference_ones() -> None:
    assert minimum(1) == pytest.approx(1264, rel=0.01)
    assert minimum(2) == pytest.approx(1886, rel=0.01)


@pytest.mark.parametrize(
    ("row", "encoder_passes"),
    [
        ("dsvae", 1),
        ("dsvae:mws", 1),
        ("cdsvae", 2),
        ("cdsvae:no-content-aug", 2),
        ("cdsvae:no-motion-aug", 1),
        ("cdsvae:gamma0", 2),
        ("s3vae", 1),
        ("rwae", 1),
        ("rwae:gan", 1),
        ("rwae:weak", 1),
        ("fhvae", 1),
        ("fhvae:alpha0", 1),
        ("autoencoder:all-in-z", 1),
        ("autoencoder:all-in-s", 1),
    ],
)
def test_flops_a_frame(kit: Any, row: str, encoder_passes: int) -> None:
    assert counted(kit, full_size(kit, row)) == pytest.approx(minimum(encoder_passes), rel=0.05)


@pytest.mark.parametrize("row", ["mocogan", "mocogan:labels", "mocogan:no-categories", "mocogan:paper"])
def test_flops_a_frame_of_the_adversarial_players(kit: Any, row: str) -> None:
    """Discriminators read one real and one made batch each, made without a graph; the generator makes its own and goes
    back through both discriminators without a gradient for their weights."""
    n_frames = SHAPE.n_frames
    frame = sum(cost(DECODER))
    image = cost(IMAGE_CRITIC)
    video = [2 * 64 * a * b * t * side**2 / 1e6 for a, b, t, side in VIDEO_CRITIC]
    of_images = frame + 2 * (3 * sum(image) - image[0])
    of_videos = n_frames * frame + 2 * (3 * sum(video) - video[0])
    of_generator = 3 * n_frames * frame + 2 * sum(image) + 2 * sum(video)
    expected = (of_images + of_videos + of_generator) / n_frames
    assert counted(kit, full_size(kit, row)) == pytest.approx(expected, rel=0.05)


def test_reconstructing_half_the_frames_halves_the_decoder(kit: Any) -> None:
    cdsvae = kit.classes()["cdsvae"]
    method = cdsvae(cdsvae.Config(recon_frames=4), SHAPE)
    assert counted(kit, method) == pytest.approx(minimum(2) - 1.5 * sum(cost(DECODER)), rel=0.05)


def test_frame_nets_are_called_for_nothing_that_no_term_reads(kit: Any, each_row: str) -> None:
    """One pass of the encoder a set of frames, one of the decoder for the originals: none for augmented views."""
    shape = kit.shapes["video"]
    method = kit.build(each_row, shape)
    calls: dict[str, int] = {}
    for name, module in method.named_modules():
        if name in ("frame_encoder", "frame_decoder", "generator.frame_net"):
            module.register_forward_hook(lambda *_, name=name: calls.__setitem__(name, calls.get(name, 0) + 1))
    ctx = kit.context(shape)
    method.on_epoch(ctx)
    for player in method.players:
        method.loss(kit.batch(shape), player, ctx)
    if each_row.startswith("mocogan"):
        assert calls == {"generator.frame_net": 3}
    else:
        views = 2 if type(method).needs(method.config).motion_view else 1
        assert calls == {"frame_encoder": views, "frame_decoder": 1}


@pytest.mark.parametrize("row", ["dsvae:mws", "cdsvae", "s3vae", "rwae"])
def test_recurrent_layers_and_densities_run_once(kit: Any, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call of each recurrent layer for all views and steps; one density of each code for all frames."""
    from seqdis.methods import estimators

    shape = kit.shapes["video"]
    method = kit.build(row, shape)
    calls: dict[str, int] = {}
    for name, module in method.named_modules():
        if isinstance(module, torch.nn.RNNBase):
            module.register_forward_hook(lambda *_, name=name: calls.__setitem__(name, calls.get(name, 0) + 1))
    densities = []
    density = estimators.pairwise_log_density
    monkeypatch.setattr(estimators, "pairwise_log_density", lambda *args: densities.append(1) or density(*args))
    method.loss(kit.batch(shape), "model", kit.context(shape))
    assert calls == {"static_posterior.lstm": 1, "dynamic_posterior.rnn": 1, "prior.lstm": 1}
    assert len(densities) == (0 if row == "rwae" else 2)
