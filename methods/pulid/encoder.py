"""PuLID's identity encoder, IDFormer: a perceiver over face embedding and image tower.

The modules are those that diffusers ships for ConsisID, which took them from PuLID: same operations, same
parameter names. Two things are added here: several photographs of a person (as PuLID's own code has), and
depths of the image tower that are not as wide as the encoder (a residual network's).
Source: PuLID@1aa2fc7 pulid/encoders_transformer.py, as described in flux.md B.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from methods.compat import ensure_torchvision
from methods.pulid.sizes import Sizes


def make_encoder(sizes: Sizes) -> nn.Module:
    """An encoder with new weights; a depth of another width than the encoder's gets a mapping of its own."""
    ensure_torchvision()  # diffusers imports all its transformers at once
    from diffusers.models.transformers.consisid_transformer_3d import LocalFacialExtractor

    encoder = LocalFacialExtractor(
        id_dim=sizes.id_dim,
        vit_dim=sizes.width,
        depth=sizes.depth,
        dim_head=sizes.inner // sizes.heads,
        heads=sizes.heads,
        num_id_token=sizes.id_tokens,
        num_queries=sizes.queries,
        output_dim=sizes.output,
        ff_mult=sizes.ff // sizes.width,
        num_scale=len(sizes.scales),
    )
    for scale, width in enumerate(sizes.scales):
        if width != sizes.width:
            getattr(encoder, f"mapping_{scale}")[0] = nn.Linear(width, sizes.width)
    return encoder


def identity_tokens(encoder: Any, embeddings: Tensor, states: Sequence[Tensor]) -> Tensor:
    """z = IDFormer(e, h) of B people with n photographs each: [B, queries, output].

    q = [queries ; id tokens],  per scale i:  c = [id tokens ; mapping_i(h_i)],  then per layer
    q <- q + Attn(q, [c ; q]),  q <- q + FF(q);     z = q[: queries] W_out

    embeddings: e [B, n, id_dim]: face embedding, then the tower's unit vector
    states:     h_i [B, n * T_i, V_i], the photographs' tokens one after the other
    """
    people, photographs = embeddings.shape[:2]
    own = encoder.id_embedding_mapping(embeddings)
    own = own.reshape(people, photographs * encoder.num_id_token, encoder.vit_dim)
    latents = torch.cat([encoder.latents.expand(people, -1, -1), own], dim=1)
    for scale, seen in enumerate(states):
        context = torch.cat([own, getattr(encoder, f"mapping_{scale}")(seen)], dim=1)
        for attention, feed_forward in encoder.layers[scale * encoder.depth : (scale + 1) * encoder.depth]:
            latents = attention(context, latents) + latents
            latents = feed_forward(latents) + latents
    tokens: Tensor = latents[:, : encoder.num_queries] @ encoder.proj_out
    return tokens
