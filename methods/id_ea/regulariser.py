"""How far the tokens may go from where they started: three readings of ID-EA's Mahalanobis distance.

    R(delta) = mean_i sqrt( max( delta_i^T Sigma^-1 delta_i, 1e-8 ) ),   Sigma = cov(E0) + 2e-5 I

With two rows the covariance has rank one: Sigma = u u^T + r I, u = (e_0 - e_1) / sqrt(2).

- `ridge`: Sigma^-1 as written, by the Sherman-Morrison identity; nearly |delta| / sqrt(r) = 224 |delta|.
- `pinv`: what the public code computes. `torch.linalg.pinv` drops singular values below C eps sigma_max, for
  1024 channels 1.2e-4 sigma_max; once |e_0 - e_1| exceeds about .57 that is the whole ridge, and only the
  single direction u is constrained, weakly. Cross-initialised rows are encoder outputs, far longer than that.
- `l2`: Cross Initialization's |delta|^2.

The gradient of the first two is exactly zero under the clamp of 1e-8, which covers delta = 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 2e-5
FLOOR = 1e-8


class Regulariser:
    """The distance of tokens from their anchor, by one of the three readings."""

    def __init__(self, kind: str, anchor: Tensor) -> None:
        """kind: `ridge`, `pinv` or `l2`; anchor: E0 float32 [2, C]."""
        self.kind = kind
        self.anchor = anchor
        self._inverse = pseudo_inverse(anchor) if kind == "pinv" else None

    def __call__(self, tokens: Tensor) -> Tensor:
        """R of tokens [2, C], a number."""
        delta = tokens - self.anchor
        if self.kind == "l2":
            return delta.square().sum(-1).mean()
        if self._inverse is None:
            squared = ridge_distance(delta, self.anchor)
        else:
            squared = torch.einsum("nc,cd,nd->n", delta, self._inverse, delta)
        return squared.clamp(min=FLOOR).sqrt().mean()


def ridge_distance(delta: Tensor, anchor: Tensor, ridge: float = RIDGE) -> Tensor:
    """delta_i^T (u u^T + r I)^-1 delta_i = (|delta|^2 - (u^T delta)^2 / (r + |u|^2)) / r, without a matrix.

    delta [n, C], anchor [2, C] -> [n]. Written as the part across u over r plus the part along u over
    r + |u|^2, so that a delta along u does not cancel to noise.
    """
    u = (anchor[0] - anchor[1]) / 2**0.5
    length = u.norm()
    if length == 0:
        return delta.square().sum(-1) / ridge
    along = delta @ (u / length)
    across = delta - along[:, None] * (u / length)
    return across.square().sum(-1) / ridge + along.square() / (ridge + length.square())


def pseudo_inverse(anchor: Tensor, ridge: float = RIDGE) -> Tensor:
    """The released computation: pinv(cov(E0^T) + r I) with torch's default cut-off, [C, C]."""
    covariance = torch.cov(anchor.float().T)
    return torch.linalg.pinv(covariance + ridge * torch.eye(len(covariance), device=anchor.device))
