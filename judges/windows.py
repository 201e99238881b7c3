"""The judge of two moving digits: a digit classifier slid over every frame, and what it saw counted over the clip.

A window as large as a digit (half the frame) moves over the frame in steps of 1/16 of it, 9 x 9 places; digits lie
whole inside the frame, so no edge is ever padded. Each window says which digit is centred in it, or none: a softmax
over K + 1 classes. That is learnt from single windows first, many times cheaper than clips, and then from clips with
everything else (`training.py`).

Shape legend: B clips, T frames, C, S, S frame, P = 81 places, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqdis.bench.core.errors import UserError
from seqdis.judges.settings import Architecture, Factors

PLACES = 9


class Windows(nn.Module):
    """Two factors that are a sorted pair of one set of classes, read off sliding windows.

    For each class, evidence is the mean over every second frame of the log-probability of the window that shows it best, and its
    count the mean over frames of the probability summed over windows. The pair of classes i < j scores
    a_i + a_j, with a = scale * evidence + gain * count; one class twice scores 2 a_i + twice_i(count). The heads are the
    marginals of the softmax over all sorted pairs.
    """

    def __init__(self, frame: tuple[int, ...], factors: Factors, arch: Architecture) -> None:
        super().__init__()
        sizes = {n_classes for n_classes, _ in factors.values()}
        if len(factors) != 2 or len(sizes) != 1:
            raise UserError("a judge by windows reads two factors that are a sorted pair of the same classes.")
        if frame[-1] not in (32, 64):
            raise UserError(f"a judge by windows takes frames of 32 or 64 pixels, not {frame[-1]}.")
        self.names = tuple(factors)
        self.n_classes = sizes.pop()
        stack = _deep if arch.kind == "cnn-windows-deep" else _wide
        self.net = nn.Sequential(
            *stack(frame[0], frame[-1] == 64, arch),
            nn.Dropout(0.3),
            nn.Conv2d(arch.embedding, self.n_classes + 1, 1),
        )
        # Where training of clips starts: about what it finds on any digits.
        self.scale = nn.Parameter(torch.tensor(2.5))
        self.gain = nn.Parameter(torch.tensor(1.5))
        self.twice = nn.Parameter(torch.tensor([0.6, -9.0]))

    def windows(self, frames: Tensor) -> Tensor:
        """Logits (N, K + 1, 9, 9) of frames (N, C, S, S), or (N, K + 1, 1, 1) of single windows; the last is none."""
        logits: Tensor = self.net(frames)
        return logits

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        # A digit moves by a sixteenth of the frame at most: every second frame tells as much, at half the cost.
        x = x if self.training else x[:, ::2]
        logs = self.windows(x.flatten(0, 1)).flatten(2).log_softmax(1)[:, : self.n_classes]
        evidence = logs.amax(2).unflatten(0, x.shape[:2]).mean(1)
        count = logs.exp().sum(2).unflatten(0, x.shape[:2]).mean(1)
        single = self.scale * evidence + self.gain * count
        pairs = sorted_marginals(single, self.twice[0] * count + self.twice[1])
        return dict(zip(self.names, pairs, strict=True))


def _wide(channels: int, is_large: bool, arch: Architecture) -> list[nn.Module]:
    """5x5 convolutions. Windows of 32 pixels become 28, 14, 10, 5, 1; those of 16: 14, 7, 3, 1."""
    return [
        *_layer(channels, arch.width, 5 if is_large else 3),
        nn.MaxPool2d(2),
        *_layer(arch.width, arch.max_width, 5),
        *((nn.MaxPool2d(2),) if is_large else ()),
        *_layer(arch.max_width, arch.embedding, 5 if is_large else 3),
    ]


def _deep(channels: int, is_large: bool, arch: Architecture) -> list[nn.Module]:
    """3x3 convolutions. Windows of 32 pixels become 30, 28, 14, 12, 6, 4, 2, 1; those of 16: 14, 7, 5, 3, 1."""
    large = [*_layer(arch.width, arch.width, 3), nn.MaxPool2d(2), *_layer(arch.width, arch.max_width, 3)]
    return [
        *_layer(channels, arch.width, 3),
        *(large if is_large else ()),
        nn.MaxPool2d(2),
        *_layer(arch.max_width if is_large else arch.width, arch.max_width, 3),
        *_layer(arch.max_width, 2 * arch.max_width, 3),
        *_layer(2 * arch.max_width, arch.embedding, 2 if is_large else 3),
    ]


def _layer(channels: int, width: int, kernel: int) -> tuple[nn.Module, ...]:
    return (nn.Conv2d(channels, width, kernel, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def sorted_marginals(evidence: Tensor, twice: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities (B, K) of the smaller and of the larger class of a sorted pair.

    Args:
        evidence: (B, K), that a class is there.
        twice: (B, K), that it is there a second time, beyond twice the evidence.
    """
    n_classes = evidence.shape[1]
    same = torch.eye(n_classes, dtype=torch.bool, device=evidence.device)
    scores = evidence[:, :, None] + evidence[:, None, :] + torch.where(same, twice[:, :, None], 0.0)
    scores = scores.masked_fill(torch.ones_like(same).tril(-1), -torch.inf)
    total = scores.flatten(1).logsumexp(1, keepdim=True)
    return scores.logsumexp(2) - total, scores.logsumexp(1) - total


def window_loss(net: Windows, windows: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of single windows (N, C, S/2, S/2) and labels (N,) in [0, K], K for none."""
    return functional.cross_entropy(net.windows(windows)[:, :, 0, 0], labels)
