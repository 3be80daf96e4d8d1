"""Where a word looks: the share of its cross-attention inside the true face region of rendered portraits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.backbone.attention import AttentionSession, ColumnCapture
from methods.backbone.vae import encode_pixels
from methods.fitting.attachment import stage_of
from methods.hooks import Attachment, Conditioning
from methods.training.diffusion import NoiseSchedule

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.pocket.world import Portrait

TIMESTEPS = (100, 300, 500, 700, 900)


def face_share(
    backbone: Backbone, key: Tensor, value: Tensor, columns: Sequence[int], portraits: Sequence[Portrait]
) -> float:
    """Attention inside the face, averaged over portraits, noise levels and cross-attention sites.

    key, value: text features [S, T, C] by stage of the denoising; columns: the places of the word in it
    """
    masks = torch.from_numpy(np.stack([one.face_mask for one in portraits])).float()
    pixels = torch.from_numpy(np.stack([one.pixels for one in portraits])).permute(0, 3, 1, 2)
    latents = encode_pixels(backbone, pixels.float() / 127.5 - 1.0)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)).to(latents.device)
    schedule = NoiseSchedule(backbone)
    count, _, height, width = latents.shape
    shares = []
    for timestep in TIMESTEPS:
        stage = stage_of(float(timestep) / 1000, len(key))
        capture = ColumnCapture(torch.tensor([list(columns)] * count, device=backbone.device))
        with AttentionSession(backbone.unet, backbone.sites, Attachment(), capture) as session:
            of_stage = [one[stage].expand(count, -1, -1).to(backbone.dtype) for one in (key, value)]
            times = torch.full((count,), timestep, device=backbone.device)
            noisy = schedule.noised(latents, noise, times).latents.to(backbone.dtype)
            session.predict(noisy, times, Conditioning(*of_stage))
        for place, mask in enumerate(masks):
            for site in backbone.cross_sites:
                column = capture.maps(place)[site.name].sum(dim=-1)
                shares.append(inside(column, mask, site.grid(height, width)))
    return float(np.mean(shares))


def inside(column: Tensor, mask: Tensor, grid: tuple[int, int]) -> float:
    """Share of an attention column [N] (rows of a grid) that lies inside a mask float32 [H, W] in [0, 1]."""
    small = F.adaptive_avg_pool2d(mask[None, None], grid).flatten().to(column)
    return float((column * small).sum() / column.sum())
