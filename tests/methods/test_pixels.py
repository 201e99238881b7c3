"""A decoder's last layer computes one thing in two ways: with gradients, and faster without."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from seqdis.methods.nets.gan import ImageGenerator
from seqdis.methods.nets.video import FrameDecoder, ToPixels


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("out_channels", [1, 3])
def test_layer_without_gradients_is_the_transposed_convolution(
    out_channels: int, memory_format: torch.memory_format, bias: bool
) -> None:
    torch.manual_seed(0)
    layer = ToPixels(5, out_channels, bias=bias).double()
    x = torch.randn(4, 5, 6, 7, dtype=torch.float64).contiguous(memory_format=memory_format)
    expected = F.conv_transpose2d(x, layer.weight, layer.bias, 2, 1)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("net", [FrameDecoder(6, (3, 32, 32), 4), ImageGenerator(6, (1, 32, 32), 4)])
def test_decoders_make_the_same_frames_without_gradients(net: torch.nn.Module) -> None:
    net.double().eval()
    code = torch.randn(7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with_gradients = net(code)
    assert with_gradients.requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(net(code), with_gradients.detach(), rtol=1e-9, atol=1e-12)


def test_weights_have_the_names_and_shapes_of_a_transposed_convolution() -> None:
    ours, torchs = ToPixels(5, 3).state_dict(), torch.nn.ConvTranspose2d(5, 3, 4, 2, 1).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in torchs.items()}
