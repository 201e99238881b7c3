"""Encoders, decoders, posteriors and priors that methods share."""

from __future__ import annotations

from torch import nn

from seqdis.methods.base import Shape
from seqdis.methods.nets.audio import AudioFrameDecoder, AudioFrameEncoder
from seqdis.methods.nets.sequence import (
    DynamicKind,
    DynamicPosterior,
    Gaussian,
    GaussianHead,
    LstmPrior,
    StaticPosterior,
)
from seqdis.methods.nets.video import BatchNorm, DecoderKind, FrameDecoder, FrameEncoder, stage_channels

__all__ = [
    "AudioFrameDecoder",
    "AudioFrameEncoder",
    "BatchNorm",
    "DecoderKind",
    "DynamicKind",
    "DynamicPosterior",
    "FrameDecoder",
    "FrameEncoder",
    "Gaussian",
    "GaussianHead",
    "LstmPrior",
    "StaticPosterior",
    "frame_nets",
    "init_normal",
    "stage_channels",
]


def frame_nets(
    shape: Shape, width: int, embedding_dim: int, latent_dim: int, decoder: DecoderKind = "transposed"
) -> tuple[FrameEncoder | AudioFrameEncoder, FrameDecoder | AudioFrameDecoder]:
    """The frame encoder and decoder for the data's modality.

    Both take `update_statistics` (see `BatchNorm`). For audio, hidden layers are 4 * width wide (256 at
    width 64), and `decoder` does not matter.

    Args:
        shape: of the data.
        width: channels of the first convolution.
        embedding_dim: size of a frame's embedding.
        latent_dim: size of the code that one frame is decoded from.
        decoder: see `FrameDecoder`.
    """
    if shape.is_video:
        return (FrameEncoder(shape.frame, width, embedding_dim), FrameDecoder(latent_dim, shape.frame, width, decoder))
    return (
        AudioFrameEncoder(shape.frame[0], 4 * width, embedding_dim),
        AudioFrameDecoder(latent_dim, shape.frame[0], 4 * width),
    )


def init_normal(module: nn.Module, std: float = 0.01) -> None:
    """Draws convolution and linear weights from N(0, std^2) and zeroes their biases, as the released code
    does.

    Transposed convolutions and recurrent layers keep the framework's defaults there, and here. So do the
    audio
    perceptrons: without batch normalisation such small weights would leave no signal after three layers.
    """
    if isinstance(module, AudioFrameEncoder | AudioFrameDecoder):
        return
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for child in module.children():
        init_normal(child, std)
