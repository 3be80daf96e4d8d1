"""What `pocket-flux` learns from: the pocket U-Net, whose predictions under guidance become velocities.

FLUX.1-dev was distilled under guidance (Meng et al. 2023), and so is its miniature, only from a network of
another schedule. Scaled to the same signal-to-noise ratio, a point of a rectified flow is a point of the
U-Net's diffusion: x_t = (1 - t) x + t eps, divided by sqrt((1 - t)^2 + t^2), is a x + s eps with
s / a = t / (1 - t). What the teacher says of x and eps there is the velocity eps - x (Salimans & Ho 2022).
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from scripts.pocket.diffusion import upsample_by_copying


class Teacher(nn.Module):
    """A frozen Stable Diffusion pipeline with v-prediction, asked at points of a rectified flow.

    folder: the pipeline as diffusers writes it; its U-Net runs in bfloat16.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        super().__init__()
        pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
        self.text = pipeline.text_encoder.to(device)
        self.unet = pipeline.unet.to(device, torch.bfloat16, memory_format=torch.channels_last)
        upsample_by_copying(self.unet)
        self.requires_grad_(False)
        signal = pipeline.scheduler.alphas_cumprod.double().sqrt()
        self._signal = signal.to(device)
        self._levels = ((1 - signal.square()).sqrt() / signal).log().to(device)

    def timesteps(self, time: Tensor) -> Tensor:
        """Timesteps float32 `[N]` of the diffusion with the noise of flow times `[N]` in (0, 1).

        Between the schedule's own the logarithm of s / a is interpolated; beyond its ends stand its ends.
        """
        wanted = (time.double() / (1 - time.double())).log().clamp(self._levels[0], self._levels[-1])
        above = torch.searchsorted(self._levels, wanted).clamp(1, len(self._levels) - 1)
        low, high = self._levels[above - 1], self._levels[above]
        return (above - 1 + (wanted - low) / (high - low)).float()

    @torch.no_grad()
    def velocity(self, noisy: Tensor, time: Tensor, ids: Tensor, empty: Tensor, guidance: Tensor) -> Tensor:
        """The guided velocity float32 `[N,C,H,W]` at points `noisy` of times `[N]`.

        ids: CLIP tokens `[N,T]`; empty: of the empty caption `[1,T]`; guidance `[N]`: 1 is none.
        """
        at = time[:, None, None, None]
        scaled = noisy / ((1 - at).square() + at.square()).sqrt()
        steps = self.timesteps(time)
        words = self.text(torch.cat([ids, empty])).last_hidden_state
        states = torch.cat([words[-1:].expand(len(ids), -1, -1), words[:-1]]).to(torch.bfloat16)
        looked = scaled.repeat(2, 1, 1, 1).to(torch.bfloat16, memory_format=torch.channels_last)
        wordless, worded = self.unet(looked, steps.repeat(2), states, return_dict=False)[0].float().chunk(2)
        velocity = wordless + guidance[:, None, None, None] * (worded - wordless)
        signal = self._signal.float()
        low = steps.long().clamp(max=len(signal) - 2)
        a = torch.lerp(signal[low], signal[low + 1], steps - low)[:, None, None, None]
        s = (1 - a.square()).sqrt()
        return (s * scaled + a * velocity) - (a * scaled - s * velocity)
