"""Low-rank additions of FaceID checkpoints, merged into the attention layers while an identity is active."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import nn

if TYPE_CHECKING:
    from methods.backbone.denoiser import Denoiser
    from methods.uniform.adapter import UniformAdapter


class LoraMerge:
    """W <- W + s * up down at the q, k, v and out projections of every site, and exactly back to W.

    The checkpoint's additions carry no alpha of their own, so the scale is 1, as in the public code. The
    original parameters are put aside and put back, never recomputed: what was there returns bit for bit.
    """

    def __init__(self, denoiser: Denoiser, adapter: UniformAdapter, scale: float = 1.0) -> None:
        self.merged = False
        self._swaps: list[tuple[nn.Linear, nn.Parameter, nn.Parameter]] = []
        if adapter.lora_rank == 0:
            return
        for site in denoiser.sites:
            own = adapter.at(site)
            additions = (own.to_q_lora, own.to_k_lora, own.to_v_lora, own.to_out_lora)
            for linear, low_rank in zip(denoiser.projections(site), additions, strict=True):
                original = cast(nn.Parameter, linear.weight)
                merged = (original + scale * low_rank.delta().to(original)).detach()
                self._swaps.append((linear, original, nn.Parameter(merged, requires_grad=False)))

    def switch(self, on: bool) -> None:
        """Merge or restore; nothing to do for a checkpoint without low-rank additions."""
        if on == self.merged or not self._swaps:
            return
        for linear, original, merged in self._swaps:
            linear.weight = merged if on else original
        self.merged = on

    def restore(self) -> None:
        """Put the original parameters back."""
        self.switch(False)
