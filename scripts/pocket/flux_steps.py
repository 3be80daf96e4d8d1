"""What makes a `pocket-flux` training step exact and fast: residual streams, attention, compilation."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from methods.backbone.attention import merge_heads, plain_attention
from methods.backbone.families.flux import joint_heads, project_both
from scripts.pocket.common import compiles


class Products:
    """The attention of a FLUX block as plain matrix products; a processor of diffusers' `FluxAttention`.

    The backward pass of torch's fused kernel takes half of a step on a processor, this one a twentieth.
    """

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        layer: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Any:
        """Double block: image `[N,P,C]` and text tokens `[N,T,C]` to both. Single block: one to one."""
        query, key, value, _ = joint_heads(layer, hidden_states, encoder_hidden_states, image_rotary_emb)
        seen = merge_heads(plain_attention(query, key, value)).to(query.dtype)
        if encoder_hidden_states is None:
            return seen
        return project_both(layer, seen, encoder_hidden_states.shape[1])


def prepare(transformer: FluxTransformer2DModel, device: str) -> None:
    """Make the network ready for steps under bfloat16 autocast, in place; what it computes stays the same.

    Both residual streams are float32: in bfloat16 the gradients of the text side came out wrong by up to
    their own length (measured against float32 on random weights), so by 1.7 percent. Attention is plain
    products on a processor.
    """
    for embedder in (transformer.x_embedder, transformer.context_embedder):
        embedder.register_forward_hook(_in_float32)
    if torch.device(device).type == "cpu":
        transformer.set_attn_processor(Products())


def compile_blocks(transformer: FluxTransformer2DModel, device: str, always: bool) -> None:
    """Compile block by block where that is worth it.

    Compiled as a whole on a processor (TorchInductor 2.13), the gradients of plain products were not a number
    in 107 of 260 parameters; by blocks they are as near to float32 as those of the plain code.
    """
    if compiles(device, always):
        transformer.compile_repeated_blocks(dynamic=False)


def _in_float32(layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.float()
