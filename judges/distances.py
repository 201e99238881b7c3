"""Numbers that need no judge: how far clips or codes move when something about them is changed.

Shape legend: N clips, B batch, T frames.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqdis.bench.core.seeds import derive
from seqdis.datasets.base import Spec, Split
from seqdis.judges.settings import EvaluationConfig
from seqdis.judges.subjects import Rebuild, Subject, positions, spread
from seqdis.methods.base import Method


def squared_errors(
    subject: Subject, split: Split, spec: Spec, config: EvaluationConfig, device: torch.device
) -> dict[str, float]:
    """`mse` and `sse` of the reconstructions."""
    errors = [
        squared_error(subject.reconstruct(index.to(device)), split.clips(index).to(device))
        for index in positions(split, config.batch_size)
    ]
    return error_summary(torch.cat(errors), spec)


def relative_change(
    subject: Subject, rebuild: Rebuild, split: Split, config: EvaluationConfig, device: torch.device
) -> float:
    """How much a draw changes a clip, in [0, 1]: 0 not at all, 1 as much as putting another clip in its place.

    The mean squared distance between a clip rebuilt with the draw and without, relative to that between two different
    clips, 2 (sum |k_i|^2 - N |mean k|^2) / (N - 1), which takes one pass and does not depend on the clips' order.
    """
    changed, squares, n = 0.0, 0.0, len(split)
    total: Tensor | None = None
    for index in positions(split, config.batch_size):
        position = index.to(device)
        kept, drawn = subject.reconstruct(position), rebuild(position)
        changed += float(squared_error(drawn, kept).sum())
        squares += float(squared_error(kept, torch.zeros_like(kept)).sum())
        part = kept.sum(0, dtype=torch.float64)
        total = part if total is None else total + part
    if n < 2 or total is None:
        return 0.0
    between = 2 * (squares - float(total.square().sum()) / n) / (n - 1)
    return min(changed / n / between, 1.0) if between > 1e-9 * squares else 0.0


def shuffle_change(method: Method, split: Split, config: EvaluationConfig, device: torch.device) -> float:
    """How far the static code moves when a clip's frames are shuffled.

    Root mean square distance between the codes of a clip and of its shuffled self, relative to that between the codes
    of two clips: 0 is invariant, 1 means that a shuffled clip is as far as another clip. A constant code gives 0.
    """
    generator = torch.Generator().manual_seed(derive(config.seed, "shuffle"))
    kept: list[Tensor] = []
    moved: list[Tensor] = []
    count = min(config.shuffle_clips, len(split))
    for index in torch.split(spread(split, count), config.batch_size):
        x = split.clips(index).to(device)
        order = torch.rand(x.shape[:2], generator=generator, device=generator.device).argsort(1).to(device)
        shuffled = x[torch.arange(len(x), device=device)[:, None], order]
        kept.append(method.encode(x).static.double())
        moved.append(method.encode(shuffled).static.double())
    static = torch.cat(kept)
    between = 2 * (static - static.mean(0)).square().sum(1).mean() * count / max(count - 1, 1)
    within = (static - torch.cat(moved)).square().sum(1).mean()
    return float((within / between).sqrt()) if between > 0 else 0.0


def squared_error(clips: Tensor, target: Tensor) -> Tensor:
    """Summed over a clip: (B,) float64, of clips (B, T, ...) and what they should be."""
    return (clips.float() - target).square().flatten(1).sum(1, dtype=torch.float64)


def error_summary(errors: Tensor, spec: Spec) -> dict[str, float]:
    """`mse` (a value) and `sse` (a clip) of all clips' errors (N,)."""
    sse = float(errors.mean())
    return {"mse": sse / (spec.n_frames * math.prod(spec.frame)), "sse": sse}
