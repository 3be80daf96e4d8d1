"""Decoupled identity cross-attention: the identity's own keys and values under the text's query."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from methods.backbone.attention import attend
from methods.backbone.denoiser import Denoiser
from methods.hooks import Attachment, Conditioning, Job, Pass, Site, StepInfo
from methods.uniform.adapter import UniformAdapter
from methods.uniform.lora import LoraMerge


class IdentityAttention(Attachment):
    """Adds alpha * Attn(Q, Z W_k', Z W_v') at every cross-attention site, at every image token alike.

    Methods that inject the same attention elsewhere or differently override `image_attention` and start
    from `response`.

    tokens: identity tokens Z of each job [n, C], None for a job without identity
    null:   tokens of the zero embedding [n, C]: what the unconditional rows see
    """

    def __init__(
        self,
        denoiser: Denoiser,
        adapter: UniformAdapter,
        jobs: Sequence[Job],
        tokens: Sequence[Tensor | None],
        null: Tensor,
        lora_scale: float = 1.0,
    ) -> None:
        self.adapter = adapter
        self.jobs = jobs
        self.weight: Tensor | None = None
        self._tokens = [null if own is None else own for own in tokens]
        self._null = null
        self._projected: dict[int, tuple[Tensor, Tensor]] = {}
        self._lora = LoraMerge(denoiser, adapter, lora_scale)
        self._merged_text: tuple[Conditioning, Conditioning] | None = None

    def __exit__(self, *exception: object) -> None:
        self._lora.restore()

    def on_step(self, step: StepInfo) -> None:
        """Weight alpha of every row at this step, [R, 1, 1]; None when no row has an identity to add."""
        weights = step.weights(self.jobs)
        active = any(weights)
        alpha = torch.tensor(weights, device=self._null.device, dtype=self._null.dtype)
        self.weight = alpha.view(-1, 1, 1) if active else None
        self._lora.switch(active)

    def conditioning(self, step: StepInfo, text: Conditioning) -> Conditioning:
        """The text itself; under a different name while low-rank additions change its projections."""
        if not self._lora.merged:
            return text
        if self._merged_text is None or self._merged_text[0] is not text:
            self._merged_text = (text, Conditioning(text.key, text.value, text.pooled))
        return self._merged_text[1]

    def response(self, site: Site, step: Pass, query: Tensor) -> Tensor:
        """R = Attn(Q, Z W_k', Z W_v') before any weight and before the output projection.

        query [R, heads, N, head_dim] -> [R, N, width], heads concatenated.
        Keys and values are projected once per batch.
        """
        if site.index not in self._projected:
            tokens = torch.stack(step.rows.per_row(self._tokens, uncond=self._null))  # [R, n, C]
            self._projected[site.index] = self.adapter.keys_values(site, tokens)
        key, value = self._projected[site.index]
        return attend(query, key, value)

    def image_attention(self, site: Site, step: Pass, query: Tensor, output: Tensor) -> Tensor | None:
        if self.weight is None:
            return None
        return self.weight * self.response(site, step, query)
