"""A model of another repository, scored under the suite's protocol: what has to be written is the class below.

    python examples/wrap_model.py            # generated Sprites at 32x32; any trained weights in place of the random ones
    python examples/wrap_model.py runs       # and a record and clips for bench table, figure, publish

The model here stands for somebody's: its own names, channels last, frames in [-1, 1], no prior.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

import seqdis


class TheirModel(nn.Module):
    """Not ours: (B, T, H, W, C) in [-1, 1] to an identity (B, 16) and poses (B, T, 8), and back."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.back = nn.Linear(3 * 32 * 32, 24), nn.Linear(24, 3 * 32 * 32)

    def analyse(self, video: Tensor) -> tuple[Tensor, Tensor]:
        features = self.into(video.flatten(2))
        return features[..., :16].mean(1), features[..., 16:]

    def synthesise(self, identity: Tensor, poses: Tensor) -> Tensor:
        codes = torch.cat([identity[:, None].expand(-1, poses.shape[1], -1), poses], -1)
        return self.back(codes).tanh().unflatten(-1, (32, 32, 3))


class Wrapped(nn.Module):
    """What the suite asks for: clips (B, T, C, H, W) in [0, 1], a static and a dynamic code."""

    def __init__(self, model: TheirModel) -> None:
        super().__init__()
        self.model = model

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.analyse(x.permute(0, 1, 3, 4, 2) * 2 - 1)

    def decode(self, static: Tensor, dynamic: Tensor) -> Tensor:
        return (self.model.synthesise(static, dynamic).permute(0, 1, 4, 2, 3) + 1) / 2


if __name__ == "__main__":
    torch.manual_seed(0)
    out = sys.argv[1] if len(sys.argv) > 1 else None
    record = seqdis.evaluate(
        Wrapped(TheirModel()), "sprites", name="theirs", source="synthetic", size=32, draws=2, out=out
    )
    kept = record.metrics.directions.fix_dynamic.draws[0]["motion"].acc
    print(f"{record.title}: motion {kept:.1%} with its dynamic code kept; {'; '.join(record.notes)}")
