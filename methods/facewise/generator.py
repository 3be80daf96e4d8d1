"""From one word to a pair of tokens per stage. Reconstruction in the shape of ProSpect's block.

The project page draws "one embedding into a self-attention module, five (K, V) pairs out of it"; that the
module is ProSpect's (arXiv 2305.16225: self-attention, second attention, GEGLU feed-forward that widens to
all tokens, 8 heads, dropout .1) is inference: its ten tokens are five pairs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TokenGenerator(nn.Module):
    """v [n, d] -> tokens [pairs, 2, n, d]: for every stage one for keys (0) and one for values (1).

    A residual to v whose last layer starts at zero: before the first step every token *is* v. With shared
    tokens keys and values get the same one.
    """

    def __init__(self, width: int, pairs: int, *, shared: bool = False, heads: int = 8, dropout: float = 0.1):
        super().__init__()
        self.pairs, self.shared = pairs, shared
        kinds = 1 if shared else 2
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attentions = nn.ModuleList(_Attention(width, heads) for _ in range(2))
        self.gate = nn.Linear(width, 8 * width)
        self.dropout = nn.Dropout(dropout)
        self.widen = nn.Linear(4 * width, pairs * kinds * width)
        nn.init.zeros_(self.widen.weight)
        nn.init.zeros_(self.widen.bias)

    def forward(self, v: Tensor) -> Tensor:
        x = v
        for norm, attention in zip(self.norms, self.attentions, strict=False):
            x = x + attention(norm(x))
        inner, gate = self.gate(self.norms[2](x)).chunk(2, dim=-1)
        tokens = self.widen(self.dropout(inner * F.gelu(gate)))  # [n, pairs * kinds * d]
        tokens = tokens.unflatten(-1, (self.pairs, -1, v.shape[-1])).permute(1, 2, 0, 3)
        return v + tokens.expand(-1, 2, -1, -1)


class _Attention(nn.Module):
    """Self-attention among the rows of a word [n, d], `heads` of 64 channels; over one row it is linear."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * 64 * heads, bias=False)
        self.to_out = nn.Linear(64 * heads, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.to_qkv(x).unflatten(-1, (3, self.heads, 64)).permute(1, 2, 0, 3)
        attended = torch.softmax(query @ key.mT / 8.0, dim=-1) @ value  # [heads, n, 64]
        return self.to_out(attended.transpose(0, 1).flatten(1))
