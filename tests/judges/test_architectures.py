"""Networks of judges: heads, sizes, and frames that they can't take."""

from __future__ import annotations

import pytest
import torch

from seqdis.bench.core.errors import UserError
from seqdis.judges.architectures import ARCHITECTURES, build

FACTORS = {"motion": (9, "dynamic"), "hair": (6, "static")}
PAIR = {"digit_low": (10, "static"), "digit_high": (10, "static")}


@pytest.mark.parametrize("name", ["default", "second", "official"])
@pytest.mark.parametrize(("side", "channels", "frames"), [(32, 3, 2), (64, 1, 5)])
def test_video_networks_have_a_head_a_factor_and_gradients_everywhere(
    name: str, side: int, channels: int, frames: int
) -> None:
    net = build((channels, side, side), FACTORS, ARCHITECTURES[name])
    logits = net(torch.rand(3, frames, channels, side, side))
    assert {factor: tuple(value.shape) for factor, value in logits.items()} == {"motion": (3, 9), "hair": (3, 6)}
    assert net(torch.rand(2, 1, channels, side, side))["hair"].shape == (2, 6)
    torch.stack([value.square().sum() for value in logits.values()]).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_shipped_networks_stay_near_a_megabyte() -> None:
    nets = [build((3, 64, 64), FACTORS, ARCHITECTURES[name]) for name in ("default", "second")]
    nets += [build((1, 64, 64), PAIR, ARCHITECTURES[name]) for name in ("windows", "windows-deep")]
    for net in nets:
        assert sum(p.numel() for p in net.parameters()) * 4 < 1.4e6


def test_networks_refuse_frames_that_they_cannot_take() -> None:
    for frame, arch in (((3, 48, 48), "default"), ((3, 32, 32), "audio"), ((80,), "default")):
        with pytest.raises(UserError):
            build(frame, FACTORS, ARCHITECTURES[arch])
