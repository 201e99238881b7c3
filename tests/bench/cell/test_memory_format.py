"""Channels-last weights for what has them: two-dimensional convolutions, whatever else a method holds."""

from __future__ import annotations

import copy

import torch
from torch import nn

from seqdis.bench.cell.device import to_channels_last


def test_convolutions_over_time_are_left_as_they_are() -> None:
    """A plug-in may hold a Conv3d, which `Module.to(memory_format=torch.channels_last)` fails on."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv3d(3, 4, 2), nn.Flatten(1, 2), nn.Conv2d(12, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(20, 2)
    )
    before = copy.deepcopy(net)
    assert to_channels_last(net) is net  # type: ignore[arg-type]  # any module will do
    assert net[2].weight.is_contiguous(memory_format=torch.channels_last)
    assert net[0].weight.is_contiguous()
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before.state_dict()[name]), name
    x = torch.randn(2, 3, 4, 5, 5)
    torch.testing.assert_close(net(x), before(x))
    net(x).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
