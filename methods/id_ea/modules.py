"""What ID-EA trains beside the tokens. C is the width of the text features, D of the face embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

HEADS = 8
MIX = 0.4
"""beta of the released `train.py` (its class default is .3)."""


class Enhancer(nn.Module):
    """ID-Enhancer: the face embedding attends to the celebrity tokens.

        a' = W_a a,   E_f = W MHA(W_q a', W_kv E_0)            a [D], E_0 [2, C] -> E_f [2, 2C]

    a' stands in both rows of the query. W_a is the release's 512 -> 1024 expander.
    """

    def __init__(self, embedding: int, width: int) -> None:
        super().__init__()
        self.expand = nn.Linear(embedding, width)
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(width, width)
        self.attention = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.widen = nn.Linear(width, 2 * width)

    def forward(self, face: Tensor, tokens: Tensor) -> Tensor:
        query = self.to_q(self.expand(face)).expand(1, len(tokens), -1)
        memory = self.to_kv(tokens)[None]
        attended, _ = self.attention(query, memory, memory, need_weights=False)
        return self.widen(attended[0])


class Adapter(nn.Module):
    """ID-Adapter: gated self-attention over text and identity, outside the U-Net (after GLIGEN).

        f = W_f E_f,   y' = y + beta tanh(gamma) MHA([y; f])[:T]      y [B, T, C], E_f [2, 2C] -> [B, T, C]

    gamma starts at 0: at the first step only gamma itself has a gradient.
    """

    def __init__(self, width: int, mix: float = MIX) -> None:
        super().__init__()
        self.mix = mix
        self.narrow = nn.Linear(2 * width, width)
        self.attention = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, text: Tensor, enhanced: Tensor) -> Tensor:
        identity = self.narrow(enhanced).expand(len(text), -1, -1)
        both = torch.cat([text, identity], dim=1)
        attended, _ = self.attention(both, both, both, need_weights=False)
        return text + self.mix * torch.tanh(self.gamma) * attended[:, : text.shape[1]]
