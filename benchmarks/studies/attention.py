"""Where a word looks: the share of its cross-attention inside a region of the picture.

One definition, `share_inside`, for two regions: the head of a picture that is being made (the claims ledger,
any backbone), and the true face of a rendered portrait (`face_share`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from methods.backbone.attention import ColumnCapture
from methods.backbone.vae import encode_pixels
from methods.fitting.attachment import stage_of
from methods.hooks import Attachment, Conditioning

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.pocket.world import Portrait

TIMESTEPS = (100, 300, 500, 700, 900)


def share_inside(
    attention: Mapping[str, Tensor],
    grids: Mapping[str, tuple[int, int]],
    mask: NDArray[np.bool_] | NDArray[np.floating],
) -> float:
    """Mean over sites of the share of a word's attention that lies in a mask.

    attention: site -> [N, C] columns of the word's C tokens, N = h * w of the site's grid
    grids:     site -> (h, w)
    mask:      [H, W] of the picture, bool or in [0, 1], averaged over each token of a grid
    """
    shown = torch.from_numpy(np.asarray(mask, np.float32))
    shares = []
    for site, columns in attention.items():
        column = columns.sum(dim=-1)
        small = F.adaptive_avg_pool2d(shown[None, None], grids[site]).flatten().to(column)
        shares.append(float((column * small).sum() / column.sum()))
    return sum(shares) / len(shares)


def grids_of(backbone: Backbone, height: int, width: int) -> dict[str, tuple[int, int]]:
    """Site -> (h, w) of its image tokens for latents of this size, in any family."""
    return {site.name: site.grid(height, width) for site in backbone.sites}


def face_share(
    backbone: Backbone, key: Tensor, value: Tensor, columns: Sequence[int], portraits: Sequence[Portrait]
) -> float:
    """Attention inside the face, averaged over portraits, noise levels and cross-attention sites.

    key, value: text features [S, T, C] by stage of the denoising; columns: the places of the word in it
    """
    masks = [one.face_mask for one in portraits]
    pixels = torch.from_numpy(np.stack([one.pixels for one in portraits])).permute(0, 3, 1, 2)
    latents = encode_pixels(backbone, pixels.float() / 127.5 - 1.0)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)).to(latents.device)
    count, _, height, width = latents.shape
    shares = []
    for timestep in TIMESTEPS:
        stage = stage_of(float(timestep) / 1000, len(key))
        capture = ColumnCapture(torch.tensor([list(columns)] * count, device=backbone.device))
        with backbone.denoiser.attached(Attachment(), capture) as predict:
            of_stage = [one[stage].expand(count, -1, -1).to(backbone.dtype) for one in (key, value)]
            levels = torch.full((count,), timestep / 1000, dtype=torch.float64)
            noisy, time, _ = backbone.noise.noised(latents, noise, levels)
            predict(noisy.to(backbone.dtype), time, Conditioning(*of_stage))
        grids = grids_of(backbone, height, width)
        shares += [share_inside(capture.maps(row), grids, mask) for row, mask in enumerate(masks)]
    return float(np.mean(shares))
