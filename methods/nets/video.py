"""Frame encoder and decoders for square video frames of 16, 32, 64, ... pixels.

At 64x64 and width 64 they are the networks of the released C-DSVAE code (Bai et al. 2021, appendix C.2),
which S3VAE shares: four stride-2 convolutions of 64, 128, 256, 512 channels and a 4x4 one to the embedding.
Each halving of the frame takes one stage away. Leading dimensions (..., C, H, W) are free: frames are
flattened before and restored after.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqdis.methods.nets.convolutions import Double, FromPixel, ToPixel

DecoderKind = Literal["transposed", "upsample"]
Activation = Literal["leaky_relu", "relu"]
Output = Literal["sigmoid", "tanh", "identity"]


def stage_channels(frame: tuple[int, ...], width: int) -> list[int]:
    """Channels of the stride-2 stages, first to last: width * 1, 2, 4, ... down to 4x4.

    Raises:
        ValueError: the frame is not (C, S, S) with S a power of two of at least 16.
    """
    if len(frame) != 3 or frame[1] != frame[2] or frame[1] < 16 or frame[1] & (frame[1] - 1):
        raise ValueError(f"frames must be (C, S, S) with S = 16, 32, 64, ...; got {frame}")
    return [width * 2**stage for stage in range(frame[1].bit_length() - 3)]


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that can leave its running statistics alone while it normalises by the batch's."""

    def forward(self, input: Tensor, update_statistics: bool = True) -> Tensor:
        """Normalises (N, C, H, W); without `update_statistics` a training pass leaves no trace."""
        if update_statistics or not self.training:
            return super().forward(input)
        return F.batch_norm(input, None, None, self.weight, self.bias, training=True, eps=self.eps)


class FrameEncoder(nn.Module):
    """Frames (..., C, H, W) to embeddings (..., out_dim) in (-1, 1).

    Args:
        frame: (C, S, S).
        width: channels of the first convolution.
        out_dim: size of the embedding g.
    """

    def __init__(self, frame: tuple[int, ...], width: int, out_dim: int) -> None:
        super().__init__()
        channels = [frame[0], *stage_channels(frame, width)]
        stages = [nn.Conv2d(a, b, 4, 2, 1) for a, b in itertools.pairwise(channels)]
        self.convs = nn.ModuleList([*stages, ToPixel(channels[-1], out_dim)])
        self.norms = nn.ModuleList([BatchNorm(conv.out_channels) for conv in self.convs])  # type: ignore[arg-type]

    def forward(self, x: Tensor, update_statistics: bool = True) -> Tensor:
        """Embeds frames; batch statistics are over all frames given in the call.

        Args:
            x: (..., C, H, W) in [0, 1].
            update_statistics: whether a training pass moves the running statistics.
        """
        h = x.flatten(0, -4) if x.dim() > 4 else x
        if next(self.convs.parameters()).is_contiguous(memory_format=torch.channels_last):
            h = h.contiguous(
                memory_format=torch.channels_last
            )  # once, or the first layer would do it in both directions
        for conv, norm in zip(self.convs[:-1], self.norms[:-1], strict=True):
            h = F.leaky_relu(norm(conv(h), update_statistics), 0.2, inplace=True)
        h = torch.tanh(self.norms[-1](self.convs[-1](h), update_statistics))
        return h.reshape(*x.shape[:-3], -1)


class FrameDecoder(nn.Module):
    """Codes (..., in_dim) to frames (..., C, H, W).

    `transposed` is the released decoder. `upsample` reads the paper's list of hidden channels (512, 256,
    128, 128, 64) as nearest-neighbour upsampling and 3x3 convolutions with ReLU, as both public S3VAE ports
    do; a C-DSVAE step then costs 2.6 times as much.

    Args:
        in_dim: size of the code of one frame.
        frame: (C, S, S).
        width: channels of the last hidden layer.
        kind: which of the two.
        activation: hidden non-linearity; by default the kind's own.
        output: what the last layer ends in.
    """

    def __init__(
        self,
        in_dim: int,
        frame: tuple[int, ...],
        width: int,
        kind: DecoderKind = "transposed",
        activation: Activation | None = None,
        output: Output = "sigmoid",
    ) -> None:
        super().__init__()
        channels = stage_channels(frame, width)[::-1]
        layers: list[nn.Module] = [FromPixel(in_dim, channels[0])]
        if kind == "transposed":
            layers += [Double(a, b) for a, b in itertools.pairwise(channels)]
            last: nn.Module = Double(channels[-1], frame[0])
        elif kind == "upsample":
            channels = [*channels[:-1], 2 * width, width]
            layers += [
                nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(a, b, 3, 1, 1))
                for a, b in itertools.pairwise(channels)
            ]
            last = nn.Conv2d(width, frame[0], 1)
        else:
            raise ValueError(f"decoder must be 'transposed' or 'upsample'; got {kind!r}")
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList([BatchNorm(channel) for channel in channels])
        self.last = last
        default: Activation = "leaky_relu" if kind == "transposed" else "relu"
        self.slope = 0.2 if (activation or default) == "leaky_relu" else 0.0
        self.output = output

    def forward(self, code: Tensor, update_statistics: bool = True) -> Tensor:
        """Frames (..., C, H, W) from codes (..., in_dim)."""
        h = code.flatten(0, -2)[:, :, None, None]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            h = F.leaky_relu(norm(layer(h), update_statistics), self.slope, inplace=True)
        h = self.last(h)
        if self.output == "sigmoid":
            h = torch.sigmoid(h)
        elif self.output == "tanh":
            h = torch.tanh(h)
        return h.reshape(*code.shape[:-1], *h.shape[1:])
