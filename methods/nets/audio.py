"""Frame networks for audio features: perceptrons, one frame at a time.

DSVAE's audio networks have no convolutions; C-DSVAE says it uses the same. Sizes 80-256-128 and
code-256-256-80 are documented choices (the papers give none); there is no normalisation and the output is
linear, as features are.
"""

from __future__ import annotations

from torch import Tensor, nn


class AudioFrameEncoder(nn.Module):
    """Feature frames (..., F) to embeddings (..., out_dim): F - hidden - out_dim, LeakyReLU 0.2."""

    def __init__(self, n_features: int, hidden_dim: int = 256, out_dim: int = 128) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(n_features, hidden_dim), nn.LeakyReLU(0.2), nn.Linear(hidden_dim, out_dim), nn.LeakyReLU(0.2)
        )

    def forward(self, x: Tensor, update_statistics: bool = True) -> Tensor:
        """Embeds frames. `update_statistics` is there for the video encoder's sake: this one keeps none."""
        out: Tensor = self.net(x)
        return out


class AudioFrameDecoder(nn.Module):
    """Codes (..., in_dim) to feature frames (..., F): two hidden layers, LeakyReLU 0.2, linear output."""

    def __init__(self, in_dim: int, n_features: int, hidden_dim: int = 256) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(in_dim, hidden_dim),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden_dim, hidden_dim),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden_dim, n_features),
        )

    def forward(self, code: Tensor, update_statistics: bool = True) -> Tensor:
        """Features (..., F) from codes (..., in_dim)."""
        out: Tensor = self.net(code)
        return out
