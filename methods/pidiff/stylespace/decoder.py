"""A small StyleGAN2 synthesis network: W+ codes back to the pocket world's aligned heads.

Karras et al. 2020 (arXiv 1912.04958), section 2 and figure 7: a learned constant, modulated convolutions with
demodulation, pictures summed over resolutions (skips); no noise inputs, because a head is to be told from its
code alone. 18 style layers over five resolutions, so that rows mean about what they mean at 1024 pixels:

    4, 8 px: rows 0-3 (coarse)    16 px: rows 4-7 (mid)    32, 64 px: rows 8-17 (fine)

The design at 64 pixels is ours; the real W+ belongs to StyleGAN2's own generator. Weights carry their scale
themselves instead of being scaled at run time: a short training moves them 25 times as fast.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = {4: 64, 8: 64, 16: 64, 32: 32, 64: 16}
LAYERS = {4: 2, 8: 2, 16: 4, 32: 6, 64: 4}
"""Channels and style layers of every resolution; the last layer of each paints the picture."""


class StyleDecoder(nn.Module):
    """W+ codes [B, 18, dim] -> pictures [B, 3, 64, 64], in about [-1, 1] (not clamped)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.rows = sum(LAYERS.values())
        self.constant = nn.Parameter(torch.randn(1, WIDTHS[4], 4, 4))
        self.levels = nn.ModuleList()
        inputs = WIDTHS[4]
        for size, layers in LAYERS.items():
            convolutions = [
                StyledConvolution(inputs if place == 0 else WIDTHS[size], WIDTHS[size], dim)
                for place in range(layers - 1)
            ]
            paint = ModulatedConvolution(WIDTHS[size], 3, dim, kernel=1, demodulate=False)
            self.levels.append(nn.ModuleList([*convolutions, paint]))
            inputs = WIDTHS[size]
        self.colour = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, codes: Tensor) -> Tensor:
        x = self.constant.expand(len(codes), -1, -1, -1)
        picture: Tensor = self.colour
        row = 0
        for place, level in enumerate(self.levels):
            if place:
                x, picture = _doubled(x), _doubled(picture)
            *convolutions, paint = cast(nn.ModuleList, level)
            for layer in convolutions:
                x = layer(x, codes[:, row])
                row += 1
            picture = picture + paint(x, codes[:, row])
            row += 1
        return picture


class ModulatedConvolution(nn.Module):
    """y = d * conv(s * x, w),  s = A(style),  d = 1 / sqrt(sum (s w)^2 + eps) per output channel.

    StyleGAN2's equations 1 to 3 scale the weights of every sample; scaling input and output instead is the
    same sum with one convolution for the whole batch.
    """

    def __init__(self, inputs: int, outputs: int, dim: int, *, kernel: int, demodulate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.randn(outputs, inputs, kernel, kernel) * (inputs * kernel**2) ** -0.5
        )
        self.affine = nn.Linear(dim, inputs)
        nn.init.normal_(self.affine.weight, std=dim**-0.5)
        nn.init.ones_(self.affine.bias)
        self.demodulate = demodulate

    def forward(self, x: Tensor, style: Tensor, gain: float = 1.0) -> Tensor:
        s = self.affine(style)  # [B, inputs]
        y = F.conv2d(x * s[:, :, None, None], self.weight, padding=self.weight.shape[-1] // 2)
        if self.demodulate:
            power = self.weight.square().sum(dim=(2, 3))  # [outputs, inputs]
            d = gain * torch.rsqrt(s.square() @ power.T + 1e-8)
            y = y * d[:, :, None, None]
        return y


class StyledConvolution(nn.Module):
    """A modulated 3 x 3 convolution, bias, leaky ReLU (0.2) with gain sqrt 2, which commutes with it."""

    def __init__(self, inputs: int, outputs: int, dim: int) -> None:
        super().__init__()
        self.convolution = ModulatedConvolution(inputs, outputs, dim, kernel=3)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        y = self.convolution(x, style, gain=2**0.5)
        return F.leaky_relu(y + self.bias[None, :, None, None], 0.2)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
