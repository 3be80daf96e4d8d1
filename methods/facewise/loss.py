"""The face-wise attention loss: every token looks where it looks under the plain word "person".

    A_t = softmax(Q K_t^T / sqrt(d)),   A_r = softmax(Q K_r^T / sqrt(d)),   L_attn ~ sum_k (A_t - A_r)^2

Q is the query of the target's own pass in both, K_r the keys of the reference prompt. The squared difference
and its reduction are reconstruction: the papers' norm is not public.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from methods.backbone.attention import split_heads
from methods.config import Precision
from methods.fitting.precision import computing
from methods.hooks import Attachment, Conditioning, Pass, Site

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone


def attention_map(query: Tensor, key: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d)) in float32: query [B, H, N, d], key [B, H, T, d] -> [B, H, N, T]."""
    with torch.autocast(query.device.type, enabled=False):
        scores = query.float() @ key.float().mT / query.shape[-1] ** 0.5
        return scores.softmax(dim=-1)


def map_loss(target: Tensor, reference: Tensor, reduction: str, columns: Tensor | None = None) -> Tensor:
    """Squared difference of two maps [B, H, N, T] of one site, as a number.

    reduction: over tokens T, queries N, heads H and batch B: `mean` averages everything, `keys` sums over
               tokens, `map` over tokens and queries (the squared Frobenius norm of a map), `sum` over heads
               too; what is not summed is averaged
    columns:   bool [B, T], tokens that count; None counts all
    """
    squared = (target - reference).square()
    if columns is not None:
        squared = squared * columns[:, None, None]
    if reduction == "sum":
        return squared.sum(dim=(1, 2, 3)).mean()
    over_tokens = squared.sum(dim=-1)
    if reduction == "map":
        return over_tokens.sum(dim=-1).mean()
    if reduction == "keys":
        return over_tokens.mean()
    counted = squared.shape[-1] if columns is None else columns.sum(dim=-1)[:, None, None]
    return (over_tokens / counted).mean()


class AttentionLoss(Attachment):
    """Watches every cross-attention of one U-Net call and adds up how far its map is from the reference's.

    `expect` before the call, `take` after it. Gradients reach the target's keys and queries, not A_r.
    """

    def __init__(
        self,
        backbone: Backbone,
        reference: Tensor,
        *,
        reduction: str,
        layers: str,
        precision: Precision = "float32",
    ) -> None:
        """reference: text features [S, T, C] of the sentences with "person"; layers: `all` or `coarse`;
        precision: of the call that is watched, for keys that round alike."""
        sites = [site for site in backbone.cross_sites if layers == "all" or site.cell > 1]
        self.reduction = reduction
        with backbone.resident(*backbone.denoiser.modules()), computing(precision, backbone):
            self.reference: Mapping[int, Tensor] = {
                site.index: _keys(backbone, site, reference) for site in sites
            }
        self._device = backbone.device
        self._sentences = torch.zeros(0, dtype=torch.long)
        self._columns: Tensor | None = None
        self._keys: dict[int, Tensor] = {}
        self._terms: list[Tensor] = []

    def expect(self, sentences: Sequence[int], columns: Tensor | None) -> None:
        """Which reference sentence every row of the next call has, and which of its tokens count."""
        self._sentences = torch.tensor(list(sentences))
        self._columns = None if columns is None else columns.to(self._device)

    def take(self) -> Tensor:
        """The loss of the last call: mean over sites (`sum`: their sum)."""
        terms = torch.stack(self._terms)
        self._terms, self._keys = [], {}
        return terms.sum() if self.reduction == "sum" else terms.mean()

    def text_keys_values(
        self, site: Site, text: Conditioning, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        self._keys[site.index] = key
        return key, value

    def image_attention(self, site: Site, step: Pass, query: Tensor, output: Tensor) -> None:
        if site.index not in self.reference:
            return
        target = attention_map(query, self._keys[site.index])
        with torch.no_grad():
            key = self.reference[site.index][self._sentences]
            reference = attention_map(query, key)
        self._terms.append(map_loss(target, reference, self.reduction, self._columns))


@torch.no_grad()
def _keys(backbone: Backbone, site: Site, text: Tensor) -> Tensor:
    """K_r of a site: text features [S, T, C] -> [S, heads, T, d]."""
    return split_heads(backbone.denoiser.projections(site).k(text), site.heads)
