"""Training an identity adapter through the same attention that generates pictures.

with identity_attention(backbone.denoiser, adapter) as denoise:
    for latents, time, text, embedding, target in batches:
        loss = F.mse_loss(denoise(latents, time, text, embedding), target)
        loss.backward()                       # gradients of the adapter only, if the network is frozen
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from methods.backbone.attention import attend
from methods.backbone.denoiser import Denoiser
from methods.hooks import Attachment, Conditioning, Pass, Site
from methods.uniform.adapter import UniformAdapter


class Denoise(Protocol):
    """The network's prediction [B, C, h, w] with the identity injected at full weight.

    latents [B, C, h, w], time float64 [B], text of B rows, embedding [B, D] (zero rows: identity dropped)
    """

    def __call__(self, latents: Tensor, time: Tensor, text: Conditioning, embedding: Tensor) -> Tensor: ...


@contextmanager
def identity_attention(denoiser: Denoiser, adapter: UniformAdapter) -> Iterator[Denoise]:
    """Install the adapter into the network for training; on exit the network is as it was.

    Differentiable in the adapter (and in the network, if it requires gradients); works under autocast.
    """
    hooks = _Training(adapter)
    with denoiser.attached(hooks) as predict:

        def denoise(latents: Tensor, time: Tensor, text: Conditioning, embedding: Tensor) -> Tensor:
            hooks.tokens = adapter.tokens(embedding)
            return predict(latents, time, text)

        yield denoise


class _Training(Attachment):
    def __init__(self, adapter: UniformAdapter) -> None:
        self.adapter = adapter
        self.tokens = torch.empty(0)

    def image_attention(self, site: Site, step: Pass, query: Tensor, output: Tensor) -> Tensor:
        key, value = self.adapter.keys_values(site, self.tokens)
        return attend(query, key.to(query.dtype), value.to(query.dtype))
