"""Convolutions in the form that is fast: the numbers, gradients and parameters of torch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from seqdis.methods.nets.convolutions import NARROW, Double, FromPixel, ToPixel
from seqdis.methods.nets.gan import ImageGenerator
from seqdis.methods.nets.video import FrameDecoder, FrameEncoder

FORMATS = [torch.channels_last, torch.contiguous_format]
LAYERS = [
    (ToPixel(5, 6), nn.Conv2d(5, 6, 4), (3, 5, 4, 4)),
    (FromPixel(5, 6), nn.ConvTranspose2d(5, 6, 4), (3, 5, 1, 1)),
    (FromPixel(5, 6, bias=False), nn.ConvTranspose2d(5, 6, 4, bias=False), (3, 5, 1, 1)),
    (Double(5, 1), nn.ConvTranspose2d(5, 1, 4, 2, 1), (4, 5, 6, 7)),
    (Double(5, 3, bias=False), nn.ConvTranspose2d(5, 3, 4, 2, 1, bias=False), (4, 5, 6, 7)),
    (Double(5, NARROW), nn.ConvTranspose2d(5, NARROW, 4, 2, 1), (4, 5, 1, 2)),
    (Double(5, NARROW + 1), nn.ConvTranspose2d(5, NARROW + 1, 4, 2, 1), (4, 5, 3, 3)),
]


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("layer", "plain", "shape"), LAYERS)
def test_layers_have_the_numbers_and_gradients_of_torchs(
    layer: nn.Module, plain: nn.Module, shape: tuple[int, ...], memory_format: torch.memory_format
) -> None:
    plain.load_state_dict(layer.state_dict())  # names and shapes too
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    found = []
    for module in (layer, plain):
        module = copy.deepcopy(module).to(torch.float64, memory_format=memory_format)
        own = x.clone(memory_format=memory_format).requires_grad_()
        out = module(own)
        (out * torch.arange(out.numel()).view_as(out).cos()).sum().backward()
        found.append((out.detach(), own.grad, *(p.grad for p in module.parameters())))
        with torch.inference_mode():
            torch.testing.assert_close(module(x), found[0][0], rtol=1e-12, atol=1e-12)
    for ours, torchs in zip(*found, strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("layer", "plain", "shape"), LAYERS)
def test_layers_ask_for_no_gradient_that_is_not_wanted(
    layer: nn.Module, plain: nn.Module, shape: tuple[int, ...]
) -> None:
    layer = copy.deepcopy(layer)
    layer(torch.randn(shape)).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    own = torch.randn(shape, requires_grad=True)
    layer(own).sum().backward()
    assert own.grad is not None


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (FrameEncoder((3, 32, 32), 4, 6), (7, 3, 32, 32)),
        (FrameDecoder(6, (3, 32, 32), 4), (7, 6)),
        (ImageGenerator(6, (1, 32, 32), 4), (7, 6)),
    ],
)
def test_nets_keep_their_numbers_when_their_layers_are_torchs(
    monkeypatch: pytest.MonkeyPatch, net: nn.Module, shape: tuple[int, ...]
) -> None:
    net.double()
    x = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours = net(x)
    for kind, plain in ((ToPixel, nn.Conv2d), (FromPixel, nn.ConvTranspose2d), (Double, nn.ConvTranspose2d)):
        monkeypatch.setattr(kind, "forward", plain.forward)
    torch.testing.assert_close(ours, net(x), rtol=1e-10, atol=1e-12)
