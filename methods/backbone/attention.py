"""Attention kernels that all families share, and the watch on columns of attention maps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from methods.hooks import RowLayout, Site

KeyValue = tuple[Tensor, Tensor]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[R, N, heads * d] -> [R, heads, N, d]"""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """[R, heads, N, d] -> [R, N, heads * d]"""
    return x.transpose(1, 2).flatten(2)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V with heads concatenated.

    query [R, heads, N, d], key and value [R, heads, M, d] -> [R, N, heads * d]
    """
    if _Products.chosen:
        return merge_heads(plain_attention(query, key, value))
    return merge_heads(F.scaled_dot_product_attention(query, key, value))


def plain_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The same as matrix products, [R, heads, N, d]: what a backward pass costs least through on a CPU.

    torch's fused kernel takes several times as long backwards there, and its plain one looks for rows that
    are masked as a whole, of which there are none.
    """
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return scores.softmax(dim=-1) @ value


class _Products:
    """Whether `attend` is plain products now; an attribute, so that compiled blocks can watch it."""

    chosen = False


@contextmanager
def plain_products() -> Iterator[None]:
    """Within, `attend` is plain products, with gradients and without: passes that a loss compares agree."""
    before, _Products.chosen = _Products.chosen, True
    try:
        with sdpa_kernel(SDPBackend.MATH):  # for the attention that is not ours
            yield
    finally:
        _Products.chosen = before


class ColumnCapture:
    """Running mean over steps of chosen columns of the cross-attention maps.

    columns:    int64 [J, C]: for each job, the places of C tokens in its prompt
    max_tokens: sites with more image tokens than this are left out; None watches all

    Only the conditional rows of the first stream are seen; heads are averaged. A column of softmax(Q K^T)
    is attention to a value that is one at this token and zero elsewhere, so one more SDPA with C value
    channels gives all columns exactly, without the map: memory [J, heads, N, C].
    """

    def __init__(self, columns: Tensor, max_tokens: int | None = None) -> None:
        self.columns = columns
        self.max_tokens = max_tokens
        self._mean: dict[str, Tensor] = {}
        self._seen: dict[str, int] = {}

    def watch(self, site: Site, rows: RowLayout, query: Tensor, key: Tensor) -> None:
        """Take in one step of one site; query [R, heads, N, d], key [R, heads, T, d]."""
        if self.max_tokens is not None and query.shape[2] > self.max_tokens:
            return
        column = column_probabilities(query[rows.cond], key[rows.cond], self.columns).float()
        seen = self._seen[site.name] = self._seen.get(site.name, 0) + 1
        mean = self._mean.setdefault(site.name, torch.zeros_like(column))
        mean += (column - mean) / seen

    def maps(self, job: int) -> dict[str, Tensor]:
        """Mean attention of one job by site name: float32 [N, C] on the CPU, N row-major on its grid."""
        return {name: mean[job].cpu() for name, mean in self._mean.items()}


def column_probabilities(query: Tensor, key: Tensor, columns: Tensor) -> Tensor:
    """Columns of the head-averaged attention map softmax(Q K^T / sqrt(d)), the map itself never built.

    query [R, heads, N, d], key [R, heads, T, d], columns int64 [R, C] -> [R, N, C]
    """
    one_hot = F.one_hot(columns, key.shape[2]).transpose(1, 2).to(query)  # [R, T, C]
    chosen = one_hot[:, None].expand(-1, query.shape[1], -1, -1)
    return F.scaled_dot_product_attention(query, key, chosen).mean(dim=1)
