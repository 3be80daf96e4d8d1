"""Small parts of PuLID that need no backbone: sites as FLUX has them, sizes, random files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from methods.hooks import Site
from methods.pulid.adapter import PulidAdapter
from methods.pulid.sizes import Sizes
from methods.weights import save_weights

SIZES = Sizes(
    width=32,
    inner=64,
    heads=4,
    ff=64,
    queries=6,
    output=24,
    id_dim=20,
    id_tokens=3,
    scales=(32, 16),
    depth=4,
    attentions=6,
    hidden=48,
    ca_inner=32,
    ca_heads=4,
)


def flux_sites(double: int, single: int, heads: int = 4, head_dim: int = 12) -> list[Site]:
    """Sites by the names that diffusers' FLUX transformer gives them."""
    names = [f"transformer_blocks.{i}.attn" for i in range(double)]
    names += [f"single_transformer_blocks.{i}.attn" for i in range(single)]
    shape = {"cell": 2, "width": heads * head_dim, "heads": heads, "head_dim": head_dim, "text": 7}
    return [Site(name=name, index=index, kind="joint", **shape) for index, name in enumerate(names)]


SITES = flux_sites(5, 10)
"""Attentions after double blocks 0, 2, 4 and single blocks 0, 4, 8."""


def random_adapter(seed: int = 0) -> PulidAdapter:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapter = PulidAdapter(SIZES, SITES)
        for parameter in adapter.parameters():  # norms and biases would be ones and zeros
            torch.nn.init.normal_(parameter, std=0.3)
    return adapter.eval()


def random_file(path: Path, **extra: Tensor) -> Path:
    """A file in the public layout."""
    save_weights(path, {**random_adapter().state_dict(), **extra})
    return path
