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
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from methods.adapters import OTHER_BACKBONE, check_text_width, save_adapter_folder
from methods.backbone.attention import KeyValue, attend, split_heads
from methods.backbone.backbone import text_width
from methods.errors import WeightsError
from methods.hooks import Site
from methods.pidiff.info import INFO
from methods.pidiff.stylespace.load import StyleSpace, save_style_space
from methods.weights import fill_module

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

    def keys_values(self, tokens: Tensor) -> KeyValue:
        """W_k' f and G (.) W_v' f, [B, heads, rows, head_dim] each, of tokens f [B, rows, C]."""
        key = split_heads(self.to_k_wplus(tokens), self.heads)
        value = split_heads(self.to_v_wplus(tokens), self.heads)
        return key, value * self.gate[:, None]

    def forward(self, text_output: Tensor, key_value: KeyValue) -> Tensor:
        """The block's answer [B, N, width] to the text attention's output h_txt [B, N, width]."""
        key, value = key_value
        query = split_heads(self.to_q_wplus(text_output), self.heads)
        return attend(query, key.to(query.dtype), value.to(query.dtype))


class StyleAdapter(nn.Module):
    """Tokens from W+ codes, and the block that reads them at every cross-attention site."""

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
        sites = denoiser.sites
        adapter = cls(sites, rows=rows, dim=dim)
        with torch.no_grad():
            for site in sites:
                if site.kind == "cross":
                    text, block = denoiser.projections(site), adapter.at(site)
                    block.to_q_wplus.weight.copy_(text.q.weight)
                    block.to_k_wplus.weight.copy_(text.k.weight)
                    block.to_v_wplus.weight.copy_(text.v.weight)
                    block.gate.fill_(gate)
        return adapter

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], sites: Sequence[Site], source: str) -> Self:
        """Rebuild an adapter from its own layout. Raises WeightsError naming `source` for anything else."""
        if "w_proj.weight" not in state:
            raise WeightsError(f"{source} is no pidiff adapter.", hint="Give a folder that spid train wrote.")
        rows, context, dim = state["w_proj.weight"].shape
        check_text_width(context, text_width(sites), source)
        with torch.device("meta"):
            adapter = cls(sites, rows=rows, dim=dim)
        return fill_module(adapter, state, source, hint=OTHER_BACKBONE)

    def at(self, site: Site) -> StyleBlock:
        """The block of one site."""
        return cast(StyleBlock, self.wplus_adapter[str(site.index)])

    def blocks(self) -> list[StyleBlock]:
        """All blocks, in the order of sites."""
        return [cast(StyleBlock, block) for block in self.wplus_adapter.values()]

    def tokens(self, codes: Tensor) -> Tensor:
        """Tokens f [B, rows, C] of centred W+ codes [B, rows, dim]; zeros give those of `no identity`."""
        return self.w_proj(codes.to(self.w_proj.weight.dtype))


def save_adapter(
    folder: str | Path,
    adapter: StyleAdapter,
    space: StyleSpace,
    *,
    family: str | None,
    config: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write an adapter folder. It names the W+ encoder by fingerprint.

    The encoder's weights come along in `style/`, unless it is the shipped one or a checkpoint file (e4e's is
    larger than the whole backbone).
    """
    kind = "pocket" if space.name == "pocket" else "file" if Path(space.name).is_file() else "beside"
    if kind == "beside":
        save_style_space(Path(folder) / "style", space)
    save_adapter_folder(
        folder,
        adapter.state_dict(),
        method=INFO.name,
        family=family,
        config=config,
        dtype=dtype,
        extra={"style_space": {"kind": kind, "fingerprint": space.fingerprint}},
    )
