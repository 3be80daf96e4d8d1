"""Decoupled identity cross-attention: the identity's own keys and values under the text's query."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from methods.backbone.attention import attend
from methods.backbone.denoiser import Denoiser
from methods.hooks import Conditioning, Job, Pass, Site, StepInfo
from methods.site_adapter import AdapterAttention
from methods.uniform.adapter import UniformAdapter
from methods.uniform.lora import LoraMerge


class IdentityAttention(AdapterAttention[UniformAdapter]):
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
        super().__init__(adapter, jobs, tokens, null)
        self._lora = LoraMerge(denoiser, adapter, lora_scale)
        self._merged_text: tuple[Conditioning, Conditioning] | None = None

    def __exit__(self, *exception: object) -> None:
        self._lora.restore()

    def on_step(self, step: StepInfo) -> None:
        super().on_step(step)
        self._lora.switch(self.weight is not None)

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
        return attend(query, *self.projected(site, step))

    def image_attention(self, site: Site, step: Pass, query: Tensor, output: Tensor) -> Tensor | None:
        if self.weight is None:
            return None
        return self.weight * self.response(site, step, query)
