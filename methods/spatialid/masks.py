"""SpatialID's masks, equation by equation: response, refinement, prior, schedule.

Everything is float32, vectorised over rows (pictures of the batch) and made anew for every site and step:
nothing is averaged over layers or time. R rows, a token grid of h x w = N image tokens, row-major. On small
models the masks cost as much as they have operations, whatever their size: hence few of them.
Source: the official code as described in methods.md 1.2 (`spatialid/core.py` sections 2 to 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.spatialid.schedule import Phase, Schedule

EPS = 1e-6
"""Least spread that min-max normalisation divides by."""
STD_FACTOR = 0.5
"""A token is hard-masked above mean + STD_FACTOR * std."""
SOFT, HARD = 0.7, 0.3
"""Weights of blurred and hard mask: "beta" and "tau" in the authors' README, not the phases' .7 and .3."""

REFERENCE_TOKENS = 72 * 56
"""Token grid on which the published kernel sizes are meant: 896 x 1152 pictures, 16 pixels per token."""
BLUR_RADIUS, BLUR_SIGMA, DILATION_RADIUS = 2, 1.5, 1
"""The published 5-tap blur, its sigma, and the 3x3 dilation, in tokens of the reference grid."""


# --- response: how much each image token answers to the identity --------------------------------------


def norm_response(attention: Tensor) -> Tensor:
    """m = minmax(n), n_p = ||R_p||_2.

    attention: [R, N, C], the identity attention's output before its output projection, heads concatenated
    returns    float32 [R, N] in [0, 1]
    """
    return min_max(torch.linalg.vector_norm(attention, dim=-1, dtype=torch.float32))


def entropy_response(query: Tensor, key: Tensor) -> Tensor:
    """m = 1 - minmax(mean_h(-sum_j a_j log(a_j + 1e-8))): the published alternative, off by default.

    query: [R, heads, N, d] image queries; key: [R, heads, M, d] identity keys, M small (the map is built)
    returns float32 [R, N] in [0, 1]
    """
    a = torch.softmax(query.float() @ key.float().transpose(-1, -2) / sqrt(query.shape[-1]), dim=-1)
    entropy = -(a * torch.log(a + 1e-8)).sum(dim=-1).mean(dim=1)
    return 1 - min_max(entropy)


def min_max(n: Tensor) -> Tensor:
    """(n - min n) / max(max n - min n, 1e-6) over the tokens of each row; [R, N] -> [R, N].

    One token is always 0 and one always 1, face or no face, unless the response is flat (then all are 0).
    """
    low, high = torch.aminmax(n, dim=-1, keepdim=True)
    return (n - low) / (high - low).clamp_min(EPS)


# --- refinement: from a response to a mask ------------------------------------------------------------


@dataclass(frozen=True)
class Kernels:
    """Sizes of blur and dilation on one token grid, in tokens."""

    blur_radius: int = BLUR_RADIUS
    blur_sigma: float = BLUR_SIGMA
    dilation_radius: int = DILATION_RADIUS


@lru_cache(maxsize=64)
def scaled_kernels(h: int, w: int) -> Kernels:
    """The published kernels shrunk or grown to a token grid; our choice, for U-Nets have many grids.

    The published kernels span 5 and 3 tokens of a 72 x 56 grid. They keep their share of the picture: lengths
    scale with s = sqrt(h w / (72 * 56)), radii are rounded to whole tokens, so a 64 x 64 grid has the
    published 5 and 3, 32 x 32 has 3 and 3, 16 x 16 has 3 (sigma .38, a faint blur) and 1, and from 15 x 15
    down blur and dilation are the identity: one coarse token covers more than the published kernel.
    """
    s = sqrt(h * w / REFERENCE_TOKENS)
    return Kernels(int(BLUR_RADIUS * s + 0.5), BLUR_SIGMA * s, int(DILATION_RADIUS * s + 0.5))


def refine(m: Tensor, kernels: Kernels) -> Tensor:
    """M = clamp(.7 b + .3 dilate(1[b > mean b + .5 std b]), 0, 1), b = blur(m); [R, h, w] -> [R, h, w].

    Mean and (unbiased) standard deviation are those of each row. A grid of one token has nothing to choose
    from, and no standard deviation: its mask is 1, as the prior's is.
    """
    if m.shape[-2:].numel() == 1:
        return torch.ones_like(m)
    b = gaussian_blur(m, kernels.blur_radius, kernels.blur_sigma)
    std, mean = torch.std_mean(b, dim=(-2, -1), keepdim=True)
    hard = dilate(b > torch.add(mean, std, alpha=STD_FACTOR), kernels.dilation_radius)
    return torch.add(SOFT * b, hard, alpha=HARD).clamp(0, 1)


def gaussian_blur(m: Tensor, radius: int, sigma: float) -> Tensor:
    """Separable Gaussian of 2 * radius + 1 taps, reflect padding: B_h m B_w^T; [R, h, w] -> [R, h, w].

    A reflection reaches at most side - 1 tokens, so on a side shorter than that the kernel is cut to it.
    """
    if not radius:
        return m
    h, w = m.shape[-2:]
    return blur_matrix(h, radius, sigma, m.device) @ m @ blur_matrix(w, radius, sigma, m.device).T


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def blur_matrix(side: int, radius: int, sigma: float, device: torch.device) -> Tensor:
    """The blur of one side as a matrix, float32 [side, side]; its rows sum to 1.

    Made once for each token grid: every site and step needs it again, and on small grids making the kernel
    and padding cost more than blurring.
    """
    radius = min(radius, side - 1)
    padded = F.pad(torch.eye(side)[:, None], (radius, radius), "reflect" if radius else "constant")
    return F.conv1d(padded, gaussian_taps(radius, sigma).view(1, 1, -1))[:, 0].T.contiguous().to(device)


def gaussian_taps(radius: int, sigma: float) -> Tensor:
    """exp(-x^2 / (2 sigma^2)) for x = -radius .. radius, summing to 1; float32 [2 * radius + 1]."""
    x = torch.arange(-radius, radius + 1, dtype=torch.float32)
    taps = torch.exp(-(x**2) / (2 * sigma**2))
    return taps / taps.sum()


def dilate(hard: Tensor, radius: int) -> Tensor:
    """Maximum over a square of 2 * radius + 1 tokens; bool [R, h, w] -> 0 or 1, [R, h, w]."""
    return F.max_pool2d(hard.float(), 2 * radius + 1, stride=1, padding=radius) if radius else hard


# --- schedule: the mask of one step -------------------------------------------------------------------


def gaussian_prior(
    h: int, w: int, sigma: float, box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
) -> Tensor:
    """exp(-(x^2 + y^2) / (2 sigma^2)) on linspace(-1, 1)^2, divided by its maximum; float32 [h, w].

    Isotropic in the picture's normalised coordinates: elliptical on a picture that is not square.

    box: x0, y0, x1, y1 as fractions: the part of the picture that takes its place (ours: the paper knows one
    person, in the middle)
    """
    x0, y0, x1, y1 = box
    y = ((torch.linspace(-1, 1, h) - (y0 + y1 - 1)) / (y1 - y0))[:, None]
    x = ((torch.linspace(-1, 1, w) - (x0 + x1 - 1)) / (x1 - x0))[None, :]
    prior = torch.exp(-(x**2 + y**2) / (2 * sigma**2))
    return prior / prior.max()


def apply_phase(phase: Phase, schedule: Schedule, mask: Tensor) -> Tensor:
    """M_t of a phase from its material (the prior in the early phase, the refined mask after it).

    early, mid: as it is; late: floor + (1 - floor) M; in every phase at least `global_floor`.
    """
    if phase is Phase.LATE:
        mask = schedule.late_floor + (1 - schedule.late_floor) * mask
    return mask.clamp_min(schedule.global_floor) if schedule.global_floor > 0 else mask
