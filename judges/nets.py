"""Networks that tell the factors of a clip: two for video, one for audio, all with one head a factor.

Shape legend: B batch, T frames, C, H, W image, F features, D clip features, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqdis.bench.core.errors import UserError
from seqdis.judges.settings import Architecture, Factors


class Heads(nn.Module):
    """One classifier a factor on clip features; dynamic factors do not see the time-mean of frames."""

    def __init__(self, factors: Factors, ordered: int, unordered: int, hidden: int) -> None:
        super().__init__()
        self.roles = {name: role for name, (_, role) in factors.items()}
        self.heads = nn.ModuleDict()
        for name, (n_classes, role) in factors.items():
            dim = ordered if role == "dynamic" else ordered + unordered
            self.heads[name] = (
                nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, n_classes))
                if hidden
                else nn.Linear(dim, n_classes)
            )

    def forward(self, ordered: Tensor, unordered: Tensor) -> dict[str, Tensor]:
        both = torch.cat([ordered, unordered], 1)
        return {name: head(ordered if self.roles[name] == "dynamic" else both) for name, head in self.heads.items()}


def _halvings(side: int) -> int:
    count, rest = 0, side
    while rest > 4 and rest % 2 == 0:
        count, rest = count + 1, rest // 2
    if rest != 4:
        raise UserError(f"a judge needs square frames of 8, 16, 32, 64 or 128 pixels, not {side}.")
    return count


class StridedFrames(nn.Module):
    """Frames (N, C, S, S) to features (N, E): strided 4x4 convolutions with BatchNorm down to 4x4, then linear."""

    def __init__(self, frame: tuple[int, ...], arch: Architecture) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = frame[0]
        for level in range(_halvings(frame[-1])):
            width = min(arch.width << level, arch.max_width)
            layers += [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        self.net = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(16 * channels, arch.embedding),
            nn.BatchNorm1d(arch.embedding),
            nn.ReLU(inplace=True),
        )

    def forward(self, frames: Tensor) -> Tensor:
        out: Tensor = self.net(frames)
        return out


class PooledFrames(nn.Module):
    """Frames (N, C, S, S) to features (N, E): 3x3 convolutions, max pooling, one strided start; then linear."""

    def __init__(self, frame: tuple[int, ...], arch: Architecture) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = frame[0]
        for level in range(_halvings(frame[-1])):
            width = min(arch.width << level, arch.max_width)
            stride = 2 if level == 0 else 1
            layers += [
                nn.Conv2d(channels, width, 5 if level == 0 else 3, stride, 2 if level == 0 else 1, bias=False),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(0.1, inplace=True),
            ]
            layers += [nn.MaxPool2d(2)] if level else []
            channels = width
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * channels, arch.embedding), nn.Tanh())

    def forward(self, frames: Tensor) -> Tensor:
        out: Tensor = self.net(frames)
        return out


class VideoLstm(nn.Module):
    """Clip features by a bi-LSTM: its two ends, as the field's, and its maxima over time (order matters in both), and
    the time-mean of the frames (it does not)."""

    def __init__(self, frame: tuple[int, ...], factors: Factors, arch: Architecture) -> None:
        super().__init__()
        self.frames = StridedFrames(frame, arch)
        self.lstm = nn.LSTM(arch.embedding, arch.hidden, batch_first=True, bidirectional=True)
        ordered, unordered = (4 * arch.hidden, arch.embedding) if arch.pooled else (2 * arch.hidden, 0)
        self.heads = Heads(factors, ordered, unordered, arch.head_hidden)
        self.hidden, self.pooled = arch.hidden, arch.pooled

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        frames = self.frames(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        out, _ = self.lstm(frames)
        ends = torch.cat([out[:, -1, : self.hidden], out[:, 0, self.hidden :]], 1)
        logits: dict[str, Tensor] = (
            self.heads(torch.cat([ends, out.amax(1)], 1), frames.mean(1))
            if self.pooled
            else self.heads(ends, ends[:, :0])
        )
        return logits


class OverTime(nn.Module):
    """Two convolutions over time on (B, T, E), then mean and maximum over T: (B, 2 hidden)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(dim, hidden, 3, padding=1, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Conv1d(hidden, hidden, 3, padding=1, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
        )

    def forward(self, frames: Tensor) -> Tensor:
        out: Tensor = self.net(frames.transpose(1, 2))
        return torch.cat([out.mean(2), out.amax(2)], 1)


class VideoTcn(nn.Module):
    """Clip features by convolutions over time: another inductive bias than the bi-LSTM's."""

    def __init__(self, frame: tuple[int, ...], factors: Factors, arch: Architecture) -> None:
        super().__init__()
        self.frames = PooledFrames(frame, arch)
        self.time = OverTime(arch.embedding, arch.hidden)
        self.heads = Heads(factors, 2 * arch.hidden, arch.embedding, arch.head_hidden)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        frames = self.frames(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        logits: dict[str, Tensor] = self.heads(self.time(frames), frames.mean(1))
        return logits


class AudioTcn(nn.Module):
    """Clip features of (B, T, F): a frame layer, convolutions over time."""

    def __init__(self, frame: tuple[int, ...], factors: Factors, arch: Architecture) -> None:
        super().__init__()
        self.frames = nn.Sequential(nn.Linear(frame[0], arch.embedding), nn.ReLU())
        self.time = OverTime(arch.embedding, arch.hidden)
        self.heads = Heads(factors, 2 * arch.hidden, arch.embedding, arch.head_hidden)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        frames = self.frames(x)
        logits: dict[str, Tensor] = self.heads(self.time(frames), frames.mean(1))
        return logits
