"""The frozen U-Net with gradients: noise on the photograph, and the prediction that a fit corrects."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from methods.backbone.attention import AttentionSession
from methods.backbone.device import resident
from methods.backbone.text import size_conditions
from methods.hooks import Attachment, Conditioning
from methods.training.diffusion import Noised, NoiseSchedule

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone


class Noising:
    """Draws what a fit denoises: pictures, timesteps and noise."""

    def __init__(self, backbone: Backbone, latents: Tensor, rng: torch.Generator) -> None:
        """latents: float32 [P, C, h, w] of the photographs; rng: on the CPU, so that devices agree."""
        self.schedule = NoiseSchedule(backbone)
        self.latents = latents
        self.rng = rng

    def draw(self, batch: int) -> Noised:
        """Noised latents, timesteps and targets of a batch.

        Timesteps are stratified over the batch, which lowers the variance of the loss at no cost.
        """
        levels = (torch.arange(batch) + torch.rand(batch, generator=self.rng)) / batch
        timesteps = self.schedule.timesteps(levels)
        chosen = torch.randint(len(self.latents), (batch,), generator=self.rng)
        noise = torch.randn((batch, *self.latents.shape[1:]), generator=self.rng)
        device = self.latents.device
        clean = self.latents[chosen.to(device)]
        return self.schedule.noised(clean, noise.to(device), timesteps.to(device))


class Denoiser:
    """The U-Net with the hooks of a fit; a context manager that leaves it as it was."""

    def __init__(self, backbone: Backbone, hooks: Attachment) -> None:
        self.backbone = backbone
        self.hooks = hooks
        self.session = AttentionSession(backbone.unet, backbone.sites, hooks)
        self._stack: ExitStack

    def __enter__(self) -> Denoiser:
        backbone = self.backbone
        with ExitStack() as stack:
            for module in (backbone.unet, *backbone.text.models):
                stack.enter_context(resident(module, backbone.device, backbone.offload))
            # backward reads the text encoder's weights, so it stays until the fit is over
            stack.callback(setattr, backbone.text, "offload", backbone.text.offload)
            backbone.text.offload = False
            stack.enter_context(backbone.attention_backend(gradients=True))
            stack.enter_context(self.session)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def __call__(
        self, noisy: Tensor, timesteps: Tensor, key: Tensor, value: Tensor, pooled: Tensor | None
    ) -> Tensor:
        """The prediction, float32 [B, C, h, w], for noisy latents [B, C, h, w] at timesteps [B].

        key, value [B, T, C]: text features for the keys and values of cross-attention; pooled [B, P] (SDXL).
        """
        backbone = self.backbone
        features = key.to(backbone.dtype)
        text = Conditioning(features, features if value is key else value.to(backbone.dtype), pooled)
        height, width = (side * backbone.latent_factor for side in noisy.shape[-2:])
        added = size_conditions(text, width, height)
        return self.session.predict(noisy.to(backbone.dtype), timesteps, text, added).float()
