"""Nouns that look at what they name: attention of "person", "man", "woman" and of names, kept on the head.

In Stable Diffusion the cross-attention of a noun lies on the thing it names (DAAM, Tang et al. 2022); methods
such as facewise build on it. A network of two text layers trained on captions alone has no need for that: its
words may be read anywhere. The term below teaches it, on the cross-attention of the denoiser's own pass.
"""

from __future__ import annotations

import re

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor
from transformers import CLIPTokenizer

from methods.pocket.world.names import NAMED

NOUNS = ("person", "man", "woman")


def subject_tokens(tokenizer: CLIPTokenizer) -> Tensor:
    """Token ids int64 `[K]` of the nouns and of the names that the tokenizer knows as whole words."""
    names = [part for name in NAMED for part in re.findall("[a-z]+", name.lower())]
    ids = tokenizer(list(dict.fromkeys([*NOUNS, *names])), add_special_tokens=False).input_ids
    return torch.tensor([one[0] for one in ids if len(one) == 1])


class Grounding:
    """-log of the share of the subject's attention that lies on the head, mean over pictures and sites.

    Takes over the attention processors of `unet`: plain matrix products, as the pocket trainings use them.
    `expect` before a call of the network, `take` after it.
    """

    def __init__(self, unet: UNet2DConditionModel, tokenizer: CLIPTokenizer) -> None:
        self._subjects = subject_tokens(tokenizer).to(unet.device)
        self._columns = self._heads = torch.zeros(0)
        self._terms: list[Tensor] = []
        self._expecting = False
        self._watched, self._plain = _Watched(self), AttnProcessor()
        self.attach(unet)

    def attach(self, unet: UNet2DConditionModel) -> None:
        """Set the processors anew (saving a pipeline replaces them); others would void a compiled network."""
        names = unet.attn_processors
        unet.set_attn_processor({name: self._watched if "attn2" in name else self._plain for name in names})

    def expect(self, ids: Tensor, landmarks: np.ndarray) -> None:
        """ids: tokens int64 `[N,T]` of the next call; landmarks of the true pictures: `[N,5,2]` in pixels."""
        self._columns = torch.isin(ids, self._subjects).float()
        self._heads = (
            (2.0 * head_bumps(landmarks)).clamp(max=1.0).to(ids.device)
        )  # 1 within 1.2 distances between the eyes
        self._expecting = True

    def take(self) -> Tensor:
        """The term of the last call, a number; pictures whose caption names nobody count as 0."""
        term = torch.stack(self._terms).mean()
        self._terms, self._expecting = [], False
        return term

    def see(self, probabilities: Tensor, heads: int) -> None:
        """probabilities: `[N*heads, Q, T]` of one cross-attention over a square grid of Q queries."""
        if not self._expecting:
            return
        count, queries = len(self._columns), probabilities.shape[1]
        maps = probabilities.float().view(count, heads, queries, -1).mean(dim=1)
        column = torch.einsum("nqt,nt->nq", maps, self._columns)
        named = self._columns.any(dim=1).float()
        side = int(queries**0.5)
        head = F.adaptive_avg_pool2d(self._heads, side).flatten(1)
        share = (column * head).sum(dim=1) / column.sum(dim=1).clamp(min=1e-12)
        self._terms.append(-(share.clamp(min=1e-4).log() * named).sum() / count)


class _Watched:
    """Cross-attention by plain matrix products that shows its probabilities to a Grounding."""

    def __init__(self, grounding: Grounding) -> None:
        self._grounding = grounding

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
        value = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states))
        probabilities = attn.get_attention_scores(query, key, attention_mask)
        self._grounding.see(probabilities, attn.heads)
        output = attn.batch_to_head_dim(torch.bmm(probabilities, value))
        return attn.to_out[1](attn.to_out[0](output))


def head_bumps(landmarks: np.ndarray, grid: int = 16, size: int = 128) -> Tensor:
    """Gaussians over the heads: float32 `[N,1,grid,grid]`, 1 in the middle of the landmarks.

    landmarks: `[N,5,2]` in pixels of `size`; a standard deviation is what the eyes are apart.
    """
    points = torch.from_numpy(landmarks).float() * (grid / size)
    centre = points.mean(dim=1)
    width = (points[:, 1] - points[:, 0]).norm(dim=-1).clamp(min=1.0)[:, None]
    axis = torch.arange(grid) + 0.5
    x = torch.exp(-0.5 * ((axis - centre[:, :1]) / width).square())
    y = torch.exp(-0.5 * ((axis - centre[:, 1:]) / width).square())
    return y[:, None, :, None] * x[:, None, None, :]
