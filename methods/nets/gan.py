"""Generators and discriminators of MoCoGAN, for square frames and for feature frames, and a moving average of
weights.

Shape legend: B batch, T frames, C, H, W image, F features, K categories, w width. All layers of the image
nets are free of biases; LeakyReLU's slope is 0.2; discriminators answer with logits.

The published nets are for 64x64 frames and 16 of them. Two rules carry them to other sizes:

* Side: every stage halves (or doubles) the side, down to (from) 4x4, so 64x64 has four stages and 32x32
  three; what is left out is the stage with the most channels.
* Length: each of the S stages of the video discriminator has a temporal kernel of 4. Without temporal padding
  a stage eats 3 frames, and T >= 3 S + 1 is needed (13 for 64x64 frames, 10 for 32x32). Shorter clips are
  padded by 1 in time (a stage eats 1 frame, T >= S + 1), and still shorter ones get a kernel of 3 with
  padding 1, which keeps the length. The last layer's temporal kernel is what is left. 16 frames of 64x64 give
  the published net exactly.
"""

from __future__ import annotations

import copy
import math
from typing import Generic, NamedTuple, Self, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqdis.methods.nets.convolutions import Double, FromPixel

SLOPE = 0.2
BASE_SIDE = 4
AUDIO_STAGES = 3


def n_stages(side: int) -> int:
    """Halvings that bring a frame's side to 4.

    Raises:
        ValueError: the side is not a power of two of at least 16.
    """
    stages = side.bit_length() - 3
    if side < 16 or side != BASE_SIDE << stages:
        raise ValueError(f"frames must be 2^k pixels wide and at least 16, not {side}")
    return stages


class TemporalPlan(NamedTuple):
    """Temporal kernel and padding of every stage, and the length that is left for the last layer."""

    kernel: int
    padding: int
    remaining: int


def temporal_plan(n_frames: int, stages: int) -> TemporalPlan:
    """The length rule of the module's docstring for clips of `n_frames` frames and `stages` stages."""
    if n_frames < 1:
        raise ValueError(f"a clip has at least one frame, not {n_frames}")
    if n_frames > 3 * stages:
        return TemporalPlan(4, 0, n_frames - 3 * stages)
    if n_frames > stages:
        return TemporalPlan(4, 1, n_frames - stages)
    return TemporalPlan(3, 1, n_frames)


class ImageGenerator(nn.Module):
    """DCGAN generator: (N, in_dim) -> (N, C, H, W) in [-1, 1]. For 64x64: 8w-4w-2w-w-C channels."""

    def __init__(self, in_dim: int, frame: tuple[int, ...], width: int) -> None:
        super().__init__()
        channels, side = frame[0], frame[-1]
        stages = n_stages(side)
        out_dim = width << (stages - 1)
        layers: list[nn.Module] = [
            FromPixel(in_dim, out_dim, bias=False),
            nn.BatchNorm2d(out_dim),
            nn.ReLU(inplace=True),
        ]
        for stage in reversed(range(stages - 1)):
            layers += [
                Double(width << (stage + 1), width << stage, bias=False),
                nn.BatchNorm2d(width << stage),
                nn.ReLU(inplace=True),
            ]
        self.net = nn.Sequential(*layers, Double(width, channels, bias=False), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        return cast(Tensor, self.net(z[:, :, None, None]))


class FeatureGenerator(nn.Module):
    """Multilayer perceptron: (N, in_dim) -> (N, F), unbounded. No paper's: the image generator's like for
    features."""

    def __init__(self, in_dim: int, frame: tuple[int, ...], width: int) -> None:
        super().__init__()
        hidden = 4 * width
        self.net = nn.Sequential(
            nn.Linear(in_dim, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, frame[0]),
        )

    def forward(self, z: Tensor) -> Tensor:
        return cast(Tensor, self.net(z))


def _normalised(layer: nn.Module, norm: nn.Module | None) -> list[nn.Module]:
    return [layer, *([norm] if norm is not None else []), nn.LeakyReLU(SLOPE, inplace=True)]


class ImageDiscriminator(nn.Module):
    """Patch discriminator of the release: (N, C, H, W) -> (N, 16) logits, one a cell of a 4x4 map."""

    def __init__(self, frame: tuple[int, ...], width: int) -> None:
        super().__init__()
        stages = n_stages(frame[-1])
        layers: list[nn.Module] = []
        channels = frame[0]
        for stage in range(stages - 1):
            norm = nn.BatchNorm2d(width << stage) if stage else None
            layers += _normalised(nn.Conv2d(channels, width << stage, 4, 2, 1, bias=False), norm)
            channels = width << stage
        self.net = nn.Sequential(*layers, nn.Conv2d(channels, 1, 4, 2, 1, bias=False), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.net(x))


class FeatureDiscriminator(nn.Module):
    """Multilayer perceptron on one feature frame: (N, F) -> (N, 1) logits."""

    def __init__(self, frame: tuple[int, ...], width: int) -> None:
        super().__init__()
        hidden = 4 * width
        self.net = nn.Sequential(
            *_normalised(nn.Linear(frame[0], hidden), None),
            *_normalised(nn.Linear(hidden, hidden, bias=False), nn.BatchNorm1d(hidden)),
            nn.Linear(hidden, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.net(x))


class TemporalConv(nn.Module):
    """A 3-D convolution without bias: spatial kernel 4, any temporal kernel.

    Its weight is kept with four axes, (out, in * kernel, 4, 4): a method is moved to the channels_last format
    as a whole, which torch refuses to do with five.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        kernel: temporal kernel.
        stride: spatial stride; the temporal one is 1.
        padding: temporal and spatial padding.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 2, padding: tuple[int, int] = (0, 0)
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels * kernel, 4, 4))
        # nn.Conv3d's own initialisation: the fan-in is the same.
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) to (B, out, T', H', W')."""
        weight = self.weight.reshape(len(self.weight), -1, self.kernel, 4, 4)
        time, space = self.padding
        return functional.conv3d(x, weight, stride=(1, self.stride, self.stride), padding=(time, space, space))


class VideoDiscriminator(nn.Module):
    """(B, T, C, H, W) -> 1 + K numbers a clip: the logit of being real, and the logits of the categories."""

    def __init__(self, frame: tuple[int, ...], n_frames: int, width: int, n_categories: int) -> None:
        super().__init__()
        stages = n_stages(frame[-1])
        kernel, padding, remaining = temporal_plan(n_frames, stages)
        layers: list[nn.Module] = []
        channels = frame[0]
        for stage in range(stages):
            conv = TemporalConv(channels, width << stage, kernel, padding=(padding, 1))
            layers += _normalised(conv, nn.BatchNorm3d(width << stage) if stage else None)
            channels = width << stage
        last = TemporalConv(channels, 1 + n_categories, remaining, stride=1)
        self.net = nn.Sequential(*layers, last, nn.Flatten())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B,) of being real and (B, K) of the categories."""
        logits = self.net(x.transpose(1, 2))
        return logits[:, 0], logits[:, 1:]


class FeatureSequenceDiscriminator(nn.Module):
    """(B, T, F) -> the same two answers, by convolutions over time with the length rule of three stages."""

    def __init__(self, frame: tuple[int, ...], n_frames: int, width: int, n_categories: int) -> None:
        super().__init__()
        kernel, padding, remaining = temporal_plan(n_frames, AUDIO_STAGES)
        hidden = 4 * width
        layers: list[nn.Module] = []
        channels = frame[0]
        for stage in range(AUDIO_STAGES):
            conv = nn.Conv1d(channels, hidden, kernel, 1, padding, bias=False)
            layers += _normalised(conv, nn.BatchNorm1d(hidden) if stage else None)
            channels = hidden
        last = nn.Conv1d(channels, 1 + n_categories, remaining, bias=False)
        self.net = nn.Sequential(*layers, last, nn.Flatten())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B,) of being real and (B, K) of the categories."""
        logits = self.net(x.transpose(1, 2))
        return logits[:, 0], logits[:, 1:]


ModuleT = TypeVar("ModuleT", bound=nn.Module)


class WeightAverage(nn.Module, Generic[ModuleT]):
    """An exponential moving average of a module's weights and statistics, held in buffers and always in eval
    mode.

    Buffers, not parameters: it is saved and moved with its owner but never counted, trained or given a
    gradient.
    """

    module: ModuleT

    def __init__(self, module: ModuleT) -> None:
        super().__init__()
        self.module = copy.deepcopy(module)
        for part in self.module.modules():
            for name, parameter in list(part.named_parameters(recurse=False)):
                delattr(part, name)
                part.register_buffer(name, parameter.detach().clone())
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode whatever its owner's mode is."""
        super().train(False)
        return self

    @torch.no_grad()
    def update(self, module: nn.Module, decay: float) -> None:
        """average <- decay * average + (1 - decay) * current, for every floating tensor; counters are
        copied."""
        current = module.state_dict(keep_vars=True)
        averaged, live = [], []
        for name, buffer in self.module.named_buffers():
            if buffer.is_floating_point():
                averaged.append(buffer)
                live.append(current[name].detach())
            else:
                buffer.copy_(current[name])
        torch._foreach_lerp_(averaged, live, 1 - decay)
