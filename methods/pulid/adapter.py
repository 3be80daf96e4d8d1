"""The weights of `pulid`: encoder and cross-attentions in the public layout, and where FLUX has them.

    pulid_encoder.*                         the identity encoder
    pulid_ca.{0..19}.{norm1,norm2,to_q,to_kv,to_out}.*

Numbers 0 to 9 stand after double blocks 0, 2, ..., 18; 10 to 19 after single blocks 0, 4, ..., 36. A smaller
FLUX has fewer. Source: PuLID@1aa2fc7 pulid/pipeline_flux.py and flux/model.py, as described in flux.md B.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from methods.adapters import OTHER_BACKBONE
from methods.errors import WeightsError
from methods.hooks import Site
from methods.pulid.encoder import identity_tokens, make_encoder
from methods.pulid.sizes import HEADS, INTERVALS, OTHER_FILE, Sizes, sizes_of
from methods.weights import fill_module


class PulidAdapter(nn.Module):
    """Encoder and attentions.

    intervals: every n-th double and every m-th single block is followed by an attention
    places:    index of a site -> number of the attention that follows its block
    """

    def __init__(self, sizes: Sizes, sites: Sequence[Site], intervals: tuple[int, int] = INTERVALS) -> None:
        super().__init__()
        self.sizes = sizes
        self.intervals = intervals
        self.places = {site.index: number for number, site in enumerate(injection_sites(sites, *intervals))}
        self.pulid_encoder = make_encoder(sizes)
        from diffusers.models.transformers.consisid_transformer_3d import PerceiverCrossAttention

        self.pulid_ca = nn.ModuleList(
            PerceiverCrossAttention(
                dim=sizes.hidden,
                dim_head=sizes.ca_inner // sizes.ca_heads,
                heads=sizes.ca_heads,
                kv_dim=sizes.output,
            )
            for _ in range(sizes.attentions)
        )

    @classmethod
    def from_state_dict(
        cls,
        state: Mapping[str, Tensor],
        sites: Sequence[Site],
        *,
        heads: tuple[int, int] = (HEADS, HEADS),
        intervals: tuple[int, int] = INTERVALS,
        source: str = "state dict",
    ) -> PulidAdapter:
        """The adapter of a state dict in the public layout, strictly.

        heads: of the encoder and of the attentions; no tensor tells
        Raises WeightsError, naming `source`, for another layout or another FLUX.
        """
        sizes = sizes_of(state, source, heads=heads[0], ca_heads=heads[1])
        places = injection_sites(sites, *intervals)
        if sizes.attentions != len(places):
            raise WeightsError(
                f"{source} has {sizes.attentions} attentions, this backbone takes {len(places)}.",
                hint=OTHER_BACKBONE,
            )
        if sizes.hidden != places[0].width:
            raise WeightsError(
                f"{source} was made for image tokens of width {sizes.hidden}, this backbone has "
                f"{places[0].width}.",
                hint=OTHER_BACKBONE,
            )
        with torch.device("meta"):
            empty = cls(sizes, sites, intervals)
        return fill_module(empty, state, source, hint=OTHER_FILE)

    def tokens(self, embeddings: Tensor, states: Sequence[Tensor]) -> Tensor:
        """z of B people (see `identity_tokens`): [B, n, output]."""
        return identity_tokens(self.pulid_encoder, embeddings, states)

    def keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """K and V of every attention for identity tokens [B, n, output]: [S, B, heads, n, d] each.

        They depend on nothing but the identity: once per person instead of once per site and step.
        """
        keys, values = [], []
        for number in range(len(self.pulid_ca)):
            attention = self.attention(number)
            key, value = attention.to_kv(attention.norm1(tokens)).chunk(2, dim=-1)
            keys.append(self._heads(key))
            values.append(self._heads(value))
        return torch.stack(keys), torch.stack(values)

    def query(self, number: int, hidden: Tensor) -> Tensor:
        """Q of image tokens [R, N, hidden] at one attention: [R, heads, N, d]."""
        attention = self.attention(number)
        return self._heads(attention.to_q(attention.norm2(hidden)))

    def attention(self, number: int) -> Any:
        """One of the attentions, a `PerceiverCrossAttention`."""
        return self.pulid_ca[number]

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.sizes.ca_heads, -1)).transpose(1, 2)


def injection_sites(sites: Sequence[Site], double: int, single: int) -> list[Site]:
    """The sites whose blocks are followed by an attention, in its order.

    A single block is told from a double one by its place in the network, `single_transformer_blocks.{i}`.
    """
    blocks = [site for site in sites if site.kind == "joint"]
    singles = [site for site in blocks if site.name.startswith("single_")]
    doubles = [site for site in blocks if not site.name.startswith("single_")]
    return doubles[::double] + singles[::single]
