"""Prompts to FLUX's text features: T5's hidden states, and CLIP's pooled summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from methods.backbone.device import Placement
from methods.backbone.text import TextFeatures, TokenEncoder
from methods.hooks import Conditioning

if TYPE_CHECKING:
    from transformers import CLIPTokenizer, T5Tokenizer


class FluxText(TokenEncoder):
    """CLIP-L and T5 as diffusers' `FluxPipeline` runs them.

    length: tokens T that T5 pads or cuts a prompt to. Padding is not masked and takes part in attention, so
            another length makes another picture: 512 in the pipeline, 128 in PuLID, 256 for schnell in the
            reference code

    CLIP reads 77 tokens and gives its pooled output alone; what it cuts is not told, since T5 reads it.
    """

    def __init__(
        self,
        tokenizers: tuple[CLIPTokenizer, T5Tokenizer],
        models: tuple[nn.Module, nn.Module],
        placement: Placement,
        length: int,
        again: Callable[[], Sequence[nn.Module]] | None = None,
    ) -> None:
        super().__init__(models, placement, again=again)
        self.tokenizers = tokenizers
        self.length = length

    @property
    def lengths(self) -> tuple[int, int]:
        clip, _ = self.tokenizers
        return clip.model_max_length, self.length

    def token_positions(self, prompt: str, word: str) -> list[int]:
        """Places of the first occurrence of a word (or words) among T5's tokens of a prompt; [] if absent."""
        _, tokenizer = self.tokenizers
        ids = tokenizer(prompt).input_ids
        wanted = tokenizer(word, add_special_tokens=False).input_ids
        for start in range(min(len(ids), self.length) - len(wanted) + 1):
            if ids[start : start + len(wanted)] == wanted:
                return list(range(start, start + len(wanted)))
        return []

    def token_ids(self, prompts: Sequence[str]) -> list[Tensor]:
        """Token ids of prompts, int64: CLIP's [B, 77] and T5's [B, length]; padded, cut where longer."""
        return [
            tokenizer(
                list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
            ).input_ids
            for tokenizer, length in zip(self.tokenizers, self.lengths, strict=True)
        ]

    def forward(self, ids: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Run the encoders on the ids of `token_ids`, with gradients where enabled.

        Returns T5's hidden states [B, length, C] and CLIP's pooled output [B, P].
        """
        clip, t5 = self.models
        with self.placement.resident(clip):
            pooled = clip(ids[0].to(self.device), output_hidden_states=False).pooler_output
        with self.placement.resident(t5):
            hidden = t5(ids[1].to(self.device), output_hidden_states=False)[0]
        return hidden, pooled

    @torch.no_grad()
    def encode_batch(self, prompts: Sequence[str]) -> Conditioning:
        hidden, pooled = self.forward(self.token_ids(prompts))
        return Conditioning(hidden, hidden, pooled)

    def _encode(self, prompt: str) -> TextFeatures:
        hidden, pooled = self.forward(self.token_ids([prompt]))
        return TextFeatures(hidden[0], pooled[0], self.overflow(prompt))

    def overflow(self, prompt: str) -> str:
        _, tokenizer = self.tokenizers
        ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
        return tokenizer.decode(ids[self.length - 1 : -1]).strip() if len(ids) > self.length else ""
