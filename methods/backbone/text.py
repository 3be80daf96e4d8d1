"""Prompts to text features, as diffusers' pipelines encode them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from methods.backbone.device import resident
from methods.hooks import Conditioning, Job, RowLayout

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

_REMEMBERED = 256  # encodings kept per backbone; one of SDXL takes 0.3 MB


def size_conditions(text: Conditioning, width: int, height: int) -> dict[str, Tensor] | None:
    """SDXL's added conditions for uncropped pictures of one size in pixels; None for other backbones.

    pooled text [R, P] and time ids [R, 6]: original size, crop corner, target size (height, width each)
    """
    pooled = text.pooled
    if pooled is None:
        return None
    ids = torch.tensor([(height, width, 0, 0, height, width)], dtype=pooled.dtype, device=pooled.device)
    return {"text_embeds": pooled, "time_ids": ids.expand(len(pooled), -1)}


class TextFeatures(NamedTuple):
    """One encoded prompt: hidden [T, C], pooled [P] (SDXL) or None, and what did not fit into T tokens."""

    hidden: Tensor
    pooled: Tensor | None
    truncated: str


@dataclass(eq=False)
class TextEncoder:
    """The tokenizers and text encoders of a pipeline: one pair for SD 1.x and 2.x, two for SDXL.

    zero_empty_negative: SDXL's `force_zeros_for_empty_prompt`: an empty negative prompt is all zeros.

    Every prompt is encoded alone and remembered, so its features do not depend on its company in a batch.
    """

    tokenizers: tuple[CLIPTokenizer, ...]
    models: tuple[nn.Module, ...]
    device: torch.device
    offload: bool = False
    zero_empty_negative: bool = False

    def __post_init__(self) -> None:
        self._known: OrderedDict[str, TextFeatures] = OrderedDict()

    def encode(self, prompt: str) -> TextFeatures:
        """Features of one prompt, on the device; plain tensors also inside `torch.inference_mode`."""
        if prompt in self._known:
            self._known.move_to_end(prompt)
            return self._known[prompt]
        with torch.inference_mode(False), torch.no_grad():
            features = self._encode(prompt)
        self._known[prompt] = features
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return features

    def encode_negative(self, prompt: str) -> TextFeatures:
        """Features of one negative prompt; the empty one is what the pipeline was trained to drop to."""
        features = self.encode(prompt)
        if prompt or not self.zero_empty_negative:
            return features
        hidden, pooled, _ = features
        return TextFeatures(
            torch.zeros_like(hidden), None if pooled is None else torch.zeros_like(pooled), ""
        )

    def conditioning(self, jobs: Sequence[Job], rows: RowLayout) -> Conditioning:
        """Features of every row of a batch: of every stream the negative prompts, then the prompts."""
        features: list[TextFeatures] = []
        for stream in rows.members:
            followed = [jobs[place] for place in stream.jobs]
            if rows.guided:
                features += [self.encode_negative(job.negative_prompt) for job in followed]
            features += [self.encode(job.prompt) for job in followed]
        hidden = torch.stack([one.hidden for one in features])
        pooled = [one.pooled for one in features if one.pooled is not None]
        return Conditioning(key=hidden, value=hidden, pooled=torch.stack(pooled) if pooled else None)

    def token_positions(self, prompt: str, word: str) -> list[int]:
        """Places of the first occurrence of a word (or words) among the tokens of a prompt; [] if absent.

        Place 0 is the begin token. The same for both tokenizers of SDXL, which share their vocabulary.
        """
        ids = self.tokenizers[0](prompt).input_ids
        wanted = self.tokenizers[0](word, add_special_tokens=False).input_ids
        for start in range(1, len(ids) - len(wanted) + 1):
            if ids[start : start + len(wanted)] == wanted:
                return list(range(start, start + len(wanted)))
        return []

    def token_ids(self, prompts: Sequence[str]) -> list[Tensor]:
        """Token ids of prompts, int64 [B, T] for each tokenizer: padded to T, cut where they are longer."""
        return [
            tokenizer(
                list(prompts),
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            ).input_ids
            for tokenizer in self.tokenizers
        ]

    def forward(self, ids: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Run the encoders on token ids [B, T], one tensor per tokenizer, with gradients where enabled.

        Returns hidden [B, T, C] and pooled [B, P] (SDXL) or None.
        """
        hidden: list[Tensor] = []
        pooled = None
        for own, model in zip(ids, self.models, strict=True):
            with resident(model, self.device, self.offload):
                output = model(own.to(self.device), output_hidden_states=len(self.models) > 1)
            if len(self.models) == 1:
                hidden.append(output[0])
            else:  # SDXL reads the penultimate layers, and the projected pooled output of the last encoder
                hidden.append(output.hidden_states[-2])
                pooled = output[0]
        return torch.cat(hidden, dim=-1), pooled

    def _encode(self, prompt: str) -> TextFeatures:
        hidden, pooled = self.forward(self.token_ids([prompt]))
        return TextFeatures(hidden[0], None if pooled is None else pooled[0], self._overflow(prompt))

    def _overflow(self, prompt: str) -> str:
        tokenizer = self.tokenizers[0]
        ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
        return tokenizer.decode(ids[tokenizer.model_max_length - 1 : -1]).strip()
