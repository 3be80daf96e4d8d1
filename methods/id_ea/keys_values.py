"""Tuned keys and values of cross-attention, as additions to the frozen projections of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from methods.backbone.attention import split_heads
from methods.fitting.attachment import Spoken, WordAttachment
from methods.hooks import Attachment, Conditioning, Job, Site

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone


class KeyValueDeltas(nn.ParameterDict):
    """dW_K and dW_V of every cross-attention, [width, C] each: `<site index>_k` and `_v`; zero at first."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        for site in backbone.cross_sites:
            for kind in "kv":
                zero = torch.zeros(site.width, backbone.context_width, device=backbone.device)
                self[f"{site.index}_{kind}"] = nn.Parameter(zero)


class TunedText(Attachment):
    """Every row of a fit sees the tuned keys and values: K = (W_K + dW_K) c, V = (W_V + dW_V) c."""

    def __init__(self, deltas: Mapping[str, Tensor]) -> None:
        self.deltas = deltas

    def text_keys_values(
        self, site: Site, text: Conditioning, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        added_key, added_value = _project(site, self.deltas, text)
        return key + added_key, value + added_value


class TunedWordAttachment(WordAttachment):
    """A learned word, and the tuned keys and values of its identity in all rows of its jobs.

    Like a pipeline with the tuned U-Net, the unconditional rows have them too; id_weight scales them.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        spoken: Sequence[Spoken | None],
        deltas: Sequence[Mapping[str, Tensor] | None],
    ) -> None:
        super().__init__(jobs, spoken)
        self.deltas = deltas

    def text_keys_values(
        self, site: Site, text: Conditioning, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        if not any(self.weights):
            return key, value
        key, value = key.clone(), value.clone()
        for place, (weight, deltas) in enumerate(zip(self.weights, self.deltas, strict=True)):
            if deltas is None or not weight:
                continue
            for row in range(place, len(key), len(self.jobs)):
                own = Conditioning(text.key[row : row + 1], text.value[row : row + 1])
                added_key, added_value = _project(site, deltas, own)
                key[row] += weight * added_key[0]
                value[row] += weight * added_value[0]
        return key, value


def _project(site: Site, deltas: Mapping[str, Tensor], text: Conditioning) -> tuple[Tensor, Tensor]:
    """dW_K c and dW_V c, [R, heads, T, d] each."""
    key = text.key @ deltas[f"{site.index}_k"].to(text.key.dtype).T
    value = text.value @ deltas[f"{site.index}_v"].to(text.value.dtype).T
    return split_heads(key, site.heads), split_heads(value, site.heads)
