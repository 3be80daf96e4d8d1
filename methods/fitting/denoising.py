"""The frozen network with gradients: noise on the photograph, and the prediction that a fit corrects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from methods.backbone.noise import Noised
from methods.config import Precision
from methods.fitting.precision import computing, in_force, prepared
from methods.hooks import Attachment, Conditioning

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone


class Noising:
    """Draws what a fit denoises: pictures, noise levels and noise."""

    def __init__(self, backbone: Backbone, latents: Tensor, rng: torch.Generator) -> None:
        """latents: float32 [P, C, h, w] of the photographs; rng: on the CPU, so that devices agree."""
        self.noise = backbone.noise
        self.latents = latents
        self.rng = rng

    def draw(self, batch: int) -> Noised:
        """Noised latents, times and targets of a batch.

        Levels are stratified over the batch, which lowers the variance of the loss at no cost.
        """
        levels = (torch.arange(batch) + torch.rand(batch, generator=self.rng)) / batch
        chosen = torch.randint(len(self.latents), (batch,), generator=self.rng)
        noise = torch.randn((batch, *self.latents.shape[1:]), generator=self.rng)
        device = self.latents.device
        return self.noise.noised(self.latents[chosen.to(device)], noise.to(device), levels)


class Denoise(Protocol):
    """The prediction, float32 [B, C, h, w], for noised latents [B, C, h, w] at times float64 [B].

    key, value [B, T, C]: text features for the keys and values of cross-attention; pooled [B, P] or None
    """

    def __call__(
        self, noisy: Tensor, time: Tensor, key: Tensor, value: Tensor, pooled: Tensor | None
    ) -> Tensor: ...


@contextmanager
def denoising(backbone: Backbone, hooks: Attachment, precision: Precision = "float32") -> Iterator[Denoise]:
    """The network with the hooks of a fit, and afterwards as it was.

    The text encoders stay on the device with it: backward reads their weights.
    """
    chosen = in_force(precision, backbone)
    with (
        backbone.resident(*backbone.denoiser.modules(), *backbone.text.models),
        backbone.attention_backend(gradients=True),
        prepared(chosen, backbone),
        backbone.denoiser.attached(hooks) as predict,
    ):

        def denoise(noisy: Tensor, time: Tensor, key: Tensor, value: Tensor, pooled: Tensor | None) -> Tensor:
            features = key.to(backbone.dtype)
            text = Conditioning(features, features if value is key else value.to(backbone.dtype), pooled)
            with computing(chosen, backbone):
                return predict(noisy.to(backbone.dtype), time, text).float()

        yield denoise
