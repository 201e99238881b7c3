"""Clips made a little worse, as decoders make them, and moved: what judges are trained on beside clean ones.

Shape legend: B batch, T frames, C, S, S square frames, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from seqdis.judges.settings import Recipe


def degrade(x: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Blurs and adds noise to the first `recipe.degraded` of a batch; strength is drawn once a clip.

    Args:
        x: (B, T, C, H, W), or (B, T, F), which gets noise only.
    """
    n = round(len(x) * recipe.degraded)
    if n == 0:
        return x
    part = x[:n]
    shape = (n, *[1] * (x.dim() - 1))
    strength = torch.rand(shape, generator=generator, device=x.device)
    level = recipe.noise * torch.rand(shape, generator=generator, device=x.device)
    noise = torch.randn(part.shape, generator=generator, device=x.device) * level
    if x.dim() == 5:
        part = part + strength * (blurred(part, recipe.blur) - part)
        part = (part + noise).clamp(0, 1)
    else:
        part = part + noise
    return torch.cat([part, x[n:]])


def shifted(x: Tensor, largest: int, generator: torch.Generator) -> Tensor:
    """Clips (B, T, C, S, S), each moved by its own whole pixels, up to `largest` at 32x32 and the like elsewhere."""
    reach = round(largest * x.shape[-1] / 32)
    if reach == 0:
        return x
    padded = functional.pad(x.flatten(1, 2), [reach] * 4, mode="replicate").unflatten(1, x.shape[1:3])
    moves = torch.randint(2 * reach + 1, (len(x), 2), generator=generator, device=x.device).tolist()
    height, width = x.shape[-2:]
    return torch.stack(
        [
            clip[..., down : down + height, right : right + width]
            for clip, (down, right) in zip(padded, moves, strict=True)
        ]
    )


def blurred(x: Tensor, box: int) -> Tensor:
    """Frames (B, T, C, S, S) averaged over `box` pixels at 32x32, and the like area at other sizes."""
    kernel = max(1, round((box - 1) * x.shape[-1] / 64)) * 2 + 1
    padded = functional.pad(x.flatten(0, 1), [kernel // 2] * 4, mode="replicate")
    return functional.avg_pool2d(padded, kernel, stride=1).reshape(x.shape)
