"""What `pocket-flux` learns from: the pocket U-Net, whose predictions under guidance become velocities.

FLUX.1-dev was distilled under guidance (Meng et al. 2023), and so is its miniature, only from a network of
another schedule. Scaled to the same signal-to-noise ratio, a point of a rectified flow is a point of the
U-Net's diffusion: x_t = (1 - t) x + t eps, divided by sqrt((1 - t)^2 + t^2), is a x + s eps with
s / a = t / (1 - t). What the teacher says of x and eps there is the velocity eps - x (Salimans & Ho 2022).
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from scripts.pocket.diffusion import upsample_by_copying


class Teacher(nn.Module):
    """The frozen U-Net of a Stable Diffusion pipeline with v-prediction, asked at points of a rectified flow.

    folder: the pipeline as diffusers writes it; the U-Net runs in bfloat16.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        super().__init__()
        unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=torch.bfloat16)
        self.unet = unet.to(device, memory_format=torch.channels_last).requires_grad_(False)
        upsample_by_copying(self.unet)
        abar = DDIMScheduler.from_pretrained(folder, subfolder="scheduler").alphas_cumprod.double()
        self._levels = ((1 - abar) / abar).sqrt().log().to(device)

    def _level(self, time: Tensor) -> Tensor:
        """log(s / a) float64 `[N]` at flow times `[N]` in (0, 1), within the schedule's ends."""
        return torch.logit(time.double()).clamp(self._levels[0], self._levels[-1])

    def timesteps(self, time: Tensor) -> Tensor:
        """Timesteps float32 `[N]` of the diffusion with the noise of flow times `[N]` in (0, 1).

        Between the schedule's own the logarithm of s / a is interpolated; beyond its ends stand its ends.
        """
        level = self._level(time)
        above = torch.searchsorted(self._levels, level).clamp(min=1)
        low, high = self._levels[above - 1], self._levels[above]
        return (above - 1 + (level - low) / (high - low)).float()

    @torch.no_grad()
    def velocity(
        self, noisy: Tensor, time: Tensor, states: Tensor, empty: Tensor, guidance: Tensor
    ) -> Tensor:
        """The guided velocity float32 `[N,C,H,W]` at points `noisy` of times `[N]`.

        states: what the pipeline's CLIP says of the captions `[N,T,D]`; empty: of the empty one `[1,T,D]`;
        guidance `[N]`: 1 is none.
        """
        at = time[:, None, None, None]
        scaled = noisy / ((1 - at).square() + at.square()).sqrt()
        looked = scaled.repeat(2, 1, 1, 1).to(torch.bfloat16, memory_format=torch.channels_last)
        words = torch.cat([empty.expand_as(states), states]).to(torch.bfloat16)
        said = self.unet(looked, self.timesteps(time).repeat(2), words, return_dict=False)[0].float()
        wordless, worded = said.chunk(2)
        v = wordless + guidance[:, None, None, None] * (worded - wordless)
        level = self._level(time)[:, None, None, None]
        a, s = (torch.sigmoid(sign * level).sqrt().float() for sign in (-2, 2))
        return (s * scaled + a * v) - (a * scaled - s * v)
