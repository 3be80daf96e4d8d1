"""The W+ encoder: a feature pyramid that gives one base style and a delta per layer.

encoder4editing (Tov et al. 2021, arXiv 2102.02766), section 4, over the pyramid of pSp (Richardson et al.
2021, arXiv 2008.00951): an IR-SE network yields features at a sixteenth, an eighth and a quarter of the input
side; row 0 read from the coarsest is the base w, every other row i adds its own delta,

    w_i = w + delta_i,    delta_i read from coarse (i < 3), mid (3 <= i < 7) or fine features (7 <= i)

Module names are those of the public checkpoint, so that its `encoder.*` tensors load as they are. With
`FFHQ_1024` this is e4e itself; `POCKET` is the same network for 64 pixel crops.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MID_ROW, FINE_ROW = 3, 7
"""The first rows that read the middle and the fine features, as published."""


@dataclass(frozen=True)
class StyleShape:
    """The size of a W+ encoder.

    size:   side of the input in pixels
    rows:   rows of W+, one per style layer of the decoder
    dim:    channels of a style
    widths: channels of the four stages; units: residual units of each, the first of which halves the side
    """

    size: int
    rows: int
    dim: int
    widths: tuple[int, int, int, int]
    units: tuple[int, int, int, int]


FFHQ_1024 = StyleShape(256, 18, 512, (64, 128, 256, 512), (3, 4, 14, 3))
"""e4e for StyleGAN2 at 1024 pixels: `e4e_ffhq_encode.pt`."""

POCKET = StyleShape(64, 18, 64, (16, 32, 64, 64), (1, 1, 2, 1))
"""The pocket world's: 18 rows as well, so that row numbers mean the same in both."""


class StyleEncoder(nn.Module):
    """Aligned heads float [B, 3, S, S] in [-1, 1] -> W+ codes [B, rows, dim], without the average code."""

    def __init__(self, shape: StyleShape) -> None:
        super().__init__()
        self.shape = shape
        first, *_, last = shape.widths
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, first, 3, 1, 1, bias=False), nn.BatchNorm2d(first), nn.PReLU(first)
        )
        units: list[nn.Module] = []
        inputs = first
        for width, count in zip(shape.widths, shape.units, strict=True):
            for place in range(count):
                units.append(ResidualUnit(inputs, width, stride=1 if place else 2))
                inputs = width
        self.body = nn.Sequential(*units)
        self.styles = nn.ModuleList(
            StyleHead(last, shape.dim, halvings=_halvings(shape.size // side))
            for side in (16 if row < MID_ROW else 8 if row < FINE_ROW else 4 for row in range(shape.rows))
        )
        self.latlayer1 = nn.Conv2d(shape.widths[2], last, 1)
        self.latlayer2 = nn.Conv2d(shape.widths[1], last, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        fine, mid, coarse = self._pyramid(pictures)
        base = self.styles[0](coarse)
        rows = [base]
        for row, head in enumerate(self.styles):
            if row == 0:
                continue
            features = coarse if row < MID_ROW else mid if row < FINE_ROW else fine
            rows.append(base + head(features))
        return torch.stack(rows, dim=1)

    def _pyramid(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at a quarter, an eighth and a sixteenth of the side, all with the last stage's width."""
        x = self.input_layer(pictures)
        stages, start = [], 0
        for count in self.shape.units:
            x = self.body[start : start + count](x)
            start += count
            stages.append(x)
        _, c1, c2, c3 = stages
        p2 = _enlarged(c3, c2) + self.latlayer1(c2)
        p1 = _enlarged(p2, c1) + self.latlayer2(c1)
        return p1, p2, c3


class ResidualUnit(nn.Module):
    """BN - conv - PReLU - conv - BN - squeeze-and-excitation, beside a shortcut: ArcFace's IR-SE unit."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = (
            nn.MaxPool2d(1, stride)
            if inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            ChannelGate(outputs, reduction=16),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


class ChannelGate(nn.Module):
    """Squeeze-and-excitation: x * sigmoid(W_2 relu(W_1 mean(x)))."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.fc2 = nn.Conv2d(inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(squeezed))))


class StyleHead(nn.Module):
    """Features [B, C, s, s] -> one style [B, dim]: convolutions that halve the side until it is 1.

    Initialised to keep the variance: with torch's defaults six plain convolutions leave the styles of all
    pictures alike, and a short training spends its time on telling them apart.
    """

    def __init__(self, inputs: int, dim: int, halvings: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place in range(halvings):
            convolution = nn.Conv2d(inputs if place == 0 else dim, dim, 3, 2, 1)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="leaky_relu")
            layers += [convolution, nn.LeakyReLU()]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(dim, dim)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.convs(features).flatten(1))


class EqualLinear(nn.Module):
    """A linear layer whose unit-variance weight is scaled by 1 / sqrt(inputs) at run time (StyleGAN)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.weight.shape[1] ** -0.5, self.bias)


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


def _halvings(side: int) -> int:
    return side.bit_length() - 1
