"""Training an identity adapter through the same attention that generates pictures.

with identity_attention(unet, adapter) as denoise:
    for latents, timesteps, text, embedding, target in batches:
        loss = F.mse_loss(denoise(latents, timesteps, text, embedding), target)
        loss.backward()                       # gradients of the adapter only, if the U-Net is frozen
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from methods.backbone.attention import AttentionSession, attend
from methods.backbone.sites import enumerate_sites
from methods.hooks import Attachment, Conditioning, Pass, Site
from methods.uniform.adapter import UniformAdapter


class Denoise(Protocol):
    """The U-Net's prediction [B, C, h, w] with the identity injected at full weight.

    latents [B, C, h, w], timesteps [B], text [B, T, width], embedding [B, D] (zero rows: identity dropped)
    """

    def __call__(
        self,
        latents: Tensor,
        timesteps: Tensor,
        text: Tensor,
        embedding: Tensor,
        added_conditions: dict[str, Tensor] | None = None,
    ) -> Tensor: ...


@contextmanager
def identity_attention(unet: nn.Module, adapter: UniformAdapter) -> Iterator[Denoise]:
    """Install the adapter into the U-Net for training; the processors found are put back on exit.

    Differentiable in the adapter (and in the U-Net, if it requires gradients); works under autocast.
    """
    hooks = _Training(adapter)
    with AttentionSession(unet, enumerate_sites(unet), hooks) as session:

        def denoise(
            latents: Tensor,
            timesteps: Tensor,
            text: Tensor,
            embedding: Tensor,
            added_conditions: dict[str, Tensor] | None = None,
        ) -> Tensor:
            hooks.tokens = adapter.tokens(embedding)
            return session.predict(latents, timesteps, Conditioning(text, text), added_conditions)

        yield denoise


class _Training(Attachment):
    def __init__(self, adapter: UniformAdapter) -> None:
        self.adapter = adapter
        self.tokens = torch.empty(0)

    def image_attention(self, site: Site, step: Pass, query: Tensor, output: Tensor) -> Tensor:
        key, value = self.adapter.keys_values(site, self.tokens)
        return attend(query, key.to(query.dtype), value.to(query.dtype))
