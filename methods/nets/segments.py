"""Nets that read a whole segment into one code and write a segment from one code (FHVAE).

`lstm` is the paper's: a recurrent net reads the frames and its last state is the summary; another is fed the code at
every step and its states are what frames are decoded from. `flat` is the plain alternative, in the spirit of the fully
connected variant in the 2018 release: one normalised hidden layer over all frames at once, and a linear map of its own
for each frame to be written. Shape legend: B segments, T frames, H hidden, D code.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from seqdis.methods.nets.sequence import Gaussian, GaussianHead

SegmentKind = Literal["auto", "lstm", "flat"]


class SegmentPosterior(nn.Module):
    """An LSTM over the frames of a segment, (B, T, in_dim) -> Gaussian (B, dim), from its last states."""

    def __init__(self, in_dim: int, hidden_dim: int, n_layers: int, dim: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(in_dim, hidden_dim, n_layers, batch_first=True)
        self.head = GaussianHead(n_layers * hidden_dim, dim)
        xavier(self)

    def forward(self, frames: Tensor) -> Gaussian:
        last = self.lstm(frames)[1][0]
        posterior: Gaussian = self.head(last.transpose(0, 1).flatten(1))
        return posterior


class SegmentUnroll(nn.Module):
    """An LSTM that is fed the same code at every step and no frame, (B, dim) -> states (B, T, hidden_dim)."""

    def __init__(self, dim: int, hidden_dim: int, n_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, hidden_dim, n_layers, batch_first=True)
        xavier(self)

    def forward(self, code: Tensor, n_frames: int) -> Tensor:
        states: Tensor = self.lstm(code[:, None].expand(-1, n_frames, -1))[0]
        return states


class FlatPosterior(nn.Module):
    """One hidden layer over all frames of a segment, (B, T, in_dim) -> Gaussian (B, dim).

    A segment shorter than `n_frames` is continued with its last frame, a longer one is refused.
    """

    def __init__(self, in_dim: int, n_frames: int, hidden_dim: int, dim: int) -> None:
        super().__init__()
        self.n_frames = n_frames
        self.hidden = nn.Linear(n_frames * in_dim, hidden_dim)
        # A step of Adam moves a sum over so many inputs far: unnormalised, log-variances ran away within some steps.
        self.norm = nn.LayerNorm(hidden_dim, elementwise_affine=False)
        self.head = GaussianHead(hidden_dim, dim)
        xavier(self)

    def forward(self, frames: Tensor) -> Gaussian:
        if frames.shape[1] < self.n_frames:
            rest = frames[:, -1:].expand(-1, self.n_frames - frames.shape[1], -1)
            frames = torch.cat([frames, rest], 1)
        if frames.shape[1] > self.n_frames:
            raise ValueError(f"flat nets of {self.n_frames} frames cannot read {frames.shape[1]}")
        posterior: Gaussian = self.head(torch.relu(self.norm(self.hidden(frames.flatten(1)))))
        return posterior


class FlatUnroll(nn.Module):
    """A linear map of its own for each frame, (B, dim) -> (B, T, hidden_dim) for T <= `n_frames`."""

    def __init__(self, dim: int, n_frames: int, hidden_dim: int) -> None:
        super().__init__()
        self.n_frames = n_frames
        self.frames = nn.Linear(dim, n_frames * hidden_dim)
        xavier(self)

    def forward(self, code: Tensor, n_frames: int) -> Tensor:
        if n_frames > self.n_frames:
            raise ValueError(f"flat nets of {self.n_frames} frames cannot write {n_frames}")
        states: Tensor = self.frames(code).unflatten(1, (self.n_frames, -1))
        return states[:, :n_frames]


def xavier(module: nn.Module) -> None:
    """Xavier weights and zero biases, as FHVAE's releases have."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
