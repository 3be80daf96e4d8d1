"""The trainable part of `pidiff`: a token per W+ row, and a gated cross-attention per text attention.

    w_proj.{weight,level,norm.weight,norm.bias}              W+ codes -> tokens
    wplus_adapter.{i}.to_{q,k,v}_wplus.weight                query, keys, values at cross site i
    wplus_adapter.{i}.gate                                   one number per row

with i the place of the site in `unet.attn_processors`, as in w-plus-adapter's public checkpoints.
*Reconstruction*: PIDiff's own sizes are unpublished; per-row tokens and gates are ours, the block is
w-plus-adapter's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

import torch
from torch import Tensor, nn

from methods.backbone.attention import KeyValue, attend, split_heads
from methods.backbone.backbone import text_width
from methods.errors import WeightsError
from methods.hooks import Site
from methods.site_adapter import SiteAdapter

if TYPE_CHECKING:
    from typing import Self

    from methods.backbone.denoiser import Denoiser


class StyleTokens(nn.Module):
    """f_r = LayerNorm(W_r w_r + e_r): codes [B, rows, dim] -> tokens [B, rows, C].

    Codes are relative to the average code, so that zeros are nobody in particular: with e = 0, where
    training starts, their tokens are zero too, and so are their values.
    """

    def __init__(self, rows: int, dim: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(rows, width, dim) * dim**-0.5)
        self.level = nn.Parameter(torch.zeros(rows, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, codes: Tensor) -> Tensor:
        return self.norm(torch.einsum("brd,rcd->brc", codes, self.weight) + self.level)


class StyleBlock(nn.Module):
    """Attn(W_q' h_txt, W_k' f, G (.) W_v' f) at one cross-attention site; G is one gate per row."""

    def __init__(self, site: Site, rows: int) -> None:
        super().__init__()
        context = site.context_width or site.width
        self.heads = site.heads
        self.to_q_wplus = nn.Linear(site.width, site.width, bias=False)
        self.to_k_wplus = nn.Linear(context, site.width, bias=False)
        self.to_v_wplus = nn.Linear(context, site.width, bias=False)
        self.gate = nn.Parameter(torch.zeros(rows))

    def forward(self, text_output: Tensor, key_value: KeyValue) -> Tensor:
        """The block's answer [B, N, width] to the text attention's output h_txt [B, N, width]."""
        key, value = key_value
        query = split_heads(self.to_q_wplus(text_output), self.heads)
        return attend(query, key.to(query.dtype), value.to(query.dtype))


class StyleAdapter(SiteAdapter[StyleBlock]):
    """Tokens from W+ codes, and the block that reads them at every cross-attention site."""

    part = "wplus_adapter"
    layers: ClassVar[Mapping[str, str]] = {"q": "to_q_wplus", "k": "to_k_wplus", "v": "to_v_wplus"}

    def __init__(self, sites: Sequence[Site], *, rows: int, dim: int) -> None:
        super().__init__()
        width = text_width(sites)
        self.rows, self.dim = rows, dim
        self.w_proj = StyleTokens(rows, dim, width)
        self.wplus_adapter = nn.ModuleDict(
            {str(site.index): StyleBlock(site, rows) for site in sites if site.kind == "cross"}
        )

    @classmethod
    def from_backbone(cls, denoiser: Denoiser, *, rows: int, dim: int, gate: float = 0.0) -> Self:
        """An untrained adapter: query, keys and values start as copies of the text attention's, float32.

        gate: 0 starts at the backbone itself. The random projection follows torch's global seed.
        """
        adapter = cls(denoiser.sites, rows=rows, dim=dim).start_at_text(denoiser)
        for block in adapter.blocks():
            nn.init.constant_(block.gate, gate)
        return adapter

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], sites: Sequence[Site], source: str) -> Self:
        """Rebuild an adapter from its own layout. Raises WeightsError naming `source` for anything else."""
        if "w_proj.weight" not in state:
            raise WeightsError(f"{source} is no pidiff adapter.", hint="Give a folder that spid train wrote.")
        rows, context, dim = state["w_proj.weight"].shape
        return cls.rebuilt(state, sites, source, context=context, rows=rows, dim=dim)

    def keys_values(self, site: Site, tokens: Tensor) -> KeyValue:
        """W_k' f and G (.) W_v' f at a site, [B, heads, rows, head_dim] each, of tokens f [B, rows, C]."""
        key, value = super().keys_values(site, tokens)
        return key, value * self.at(site).gate[:, None]

    def blocks(self) -> list[StyleBlock]:
        """All blocks, in the order of sites."""
        return [cast(StyleBlock, block) for block in self.wplus_adapter.values()]

    def tokens(self, codes: Tensor) -> Tensor:
        """Tokens f [B, rows, C] of centred W+ codes [B, rows, dim]; zeros give those of `no identity`."""
        return self.w_proj(codes.to(self.w_proj.weight.dtype))
