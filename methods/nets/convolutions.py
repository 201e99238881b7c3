"""Convolutions with a kernel of 4, as torch has them, computed in the form that is fastest where they run.

Parameters, their names and initial values are torch's own, and so are the results, up to the order of sums.

Shape legend: N images, C, H, W image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

NARROW = 16
"""Output channels up to which a CPU doubles an image by one dense convolution, 1.2 to 3 times faster in float32."""


class ToPixel(nn.Conv2d):
    """A convolution whose kernel covers the whole image, (N, C, K, K) to (N, out, 1, 1): a matrix product."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 4) -> None:
        super().__init__(in_channels, out_channels, kernel)

    def forward(self, input: Tensor) -> Tensor:
        # Channels last on both sides: neither is copied where images and weights lie so.
        images, kernels = (value.permute(0, 2, 3, 1).flatten(1) for value in (input, self.weight))
        return F.linear(images, kernels, self.bias)[:, :, None, None]


class FromPixel(nn.ConvTranspose2d):
    """A transposed convolution that makes the first image, (N, in, 1, 1) to (N, out, K, K): a matrix product."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 4, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel, bias=bias)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        kernel = self.kernel_size[0]
        # Not F.linear: its gradient would lie across the weight, and be copied.
        codes, kernels = input.flatten(1), self.weight.permute(0, 2, 3, 1).flatten(1)
        pixels = codes @ kernels if self.bias is None else torch.addmm(self.bias.repeat(kernel**2), codes, kernels)
        return pixels.unflatten(1, (kernel, kernel, -1)).permute(0, 3, 1, 2)


class Double(nn.ConvTranspose2d):
    """A 4x4 transposed convolution of stride 2 and padding 1, (N, C, H, W) to (N, out, 2H, 2W)."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 4, 2, 1, bias=bias)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        dense = input.device.type == "cpu" and self.out_channels <= NARROW and not torch.is_autocast_enabled("cpu")
        if output_size is not None or not dense:
            return super().forward(input, output_size)
        pixels: Tensor = _Doubled.apply(input, self.weight, self.bias)
        return pixels


def doubled(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The transposed convolution of `Double`, (N, C, H, W) to (N, out, 2H, 2W), as one dense 2x2 convolution.

    Few output channels leave most of a CPU's vector lanes empty. Each 2x2 window of the padded input decides 2x2 pixels
    of the output: they are made as channels of the window's position, and laid out side by side.

    Args:
        input: (N, C, H, W).
        weight: (C, out, 4, 4).
        bias: (out,).
    """
    channels = weight.shape[1]
    # Row k of a kernel gives row 2i + k - 1 of the output from row i of the input: of a window's two rows the second
    # comes with k = 0, 1, the first with k = 2, 3.
    windows = weight.unflatten(3, (2, 2)).unflatten(2, (2, 2)).flip(2, 4)
    kernels = windows.permute(3, 5, 1, 0, 2, 4).flatten(0, 2).contiguous(memory_format=torch.channels_last)
    quads = F.conv2d(input, kernels, None if bias is None else bias.repeat(4), padding=1)
    pixels = quads.permute(0, 2, 3, 1).unflatten(3, (2, 2, channels)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    # Copied, since whatever comes next is slow on a cut.
    return pixels[:, 1:-1, 1:-1].contiguous().permute(0, 3, 1, 2)


class _Doubled(torch.autograd.Function):
    """`doubled` with the library's gradients, which are fast."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return doubled(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad)
        channels = [weight.shape[1]] if wanted[2] else None
        found: tuple[Tensor | None, ...] = torch.ops.aten.convolution_backward(
            grad, input, weight, channels, [2, 2], [1, 1], [1, 1], True, [0, 0], 1, wanted
        )
        return found
