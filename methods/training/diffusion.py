"""The frozen backbone as a training sees it: pictures to latents, noise on latents, prompts to features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from methods.backbone.schedulers import make_scheduler
from methods.errors import UsageError
from methods.hooks import Conditioning

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.training.draws import SampleRng


class Noised(NamedTuple):
    """Noised latents [B, C, h, w], timesteps int64 [B], and what the U-Net should predict [B, C, h, w]."""

    latents: Tensor
    timesteps: Tensor
    target: Tensor


class NoiseSchedule:
    """q(z_t | z_0) of a backbone: z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps, and its prediction target.

    The target is eps, z_0, or v = sqrt(abar_t) eps - sqrt(1 - abar_t) z_0 (Salimans & Ho 2022, appendix D),
    as the pipeline's scheduler configuration says.
    """

    def __init__(self, backbone: Backbone) -> None:
        scheduler = make_scheduler("ddim", backbone.scheduler_config)
        self.abar: Tensor = scheduler.alphas_cumprod.to(backbone.device)
        self.prediction: str = scheduler.config.prediction_type
        if self.prediction not in ("epsilon", "v_prediction", "sample"):
            raise UsageError(
                f"{backbone.name} predicts {self.prediction!r}, which nothing here can learn from.",
                hint="Give a backbone that predicts epsilon, v_prediction or sample.",
            )

    def draw(self, latents: Tensor, rng: SampleRng) -> Noised:
        """Noise clean latents, float32 [B, C, h, w], by timesteps that are stratified over the batch."""
        timesteps = self.timesteps(rng.levels())
        return self.noised(latents, rng.normal(*latents.shape[1:]), timesteps)

    def timesteps(self, levels: Tensor) -> Tensor:
        """Timesteps int64 [B] of levels in [0, 1)."""
        return (levels * len(self.abar)).long()

    def noised(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Noised:
        """z_t and its target, of clean latents, noise [B, C, h, w] and timesteps int64 [B]."""
        abar = self.abar[timesteps].view(-1, 1, 1, 1)
        signal, spread = abar.sqrt(), (1 - abar).sqrt()
        noisy = signal * latents + spread * noise
        if self.prediction == "epsilon":
            target = noise
        elif self.prediction == "sample":
            target = latents
        else:
            target = signal * noise - spread * latents
        return Noised(noisy, timesteps, target)


@torch.no_grad()
def encode_prompts(backbone: Backbone, prompts: Sequence[str]) -> Conditioning:
    """Text features of prompts in one pass, key and value [B, T, C] (the same tensor), pooled [B, P] or None.

    An empty prompt gives what the backbone was trained to drop to: zeros where its pipeline says so (SDXL).
    """
    text = backbone.text
    hidden, pooled = text.forward(text.token_ids(prompts))
    if text.zero_empty_negative:
        worded = torch.tensor([bool(prompt) for prompt in prompts], device=hidden.device)
        hidden = hidden * worded.view(-1, 1, 1)
        pooled = None if pooled is None else pooled * worded.view(-1, 1)
    return Conditioning(hidden, hidden, pooled)
