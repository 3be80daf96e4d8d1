"""The attention layers of a U-Net, by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from methods.hooks import Site

if TYPE_CHECKING:
    from torch import nn


def attention_layer(unet: nn.Module, site: Site) -> Any:
    """The diffusers `Attention` module of a site."""
    return unet.get_submodule(site.name)


def enumerate_sites(unet: Any) -> tuple[Site, ...]:
    """Every attention layer of a `UNet2DConditionModel` in the order of its `attn_processors`."""
    deepest = len(unet.config.block_out_channels) - 1
    sites = []
    for index, key in enumerate(unet.attn_processors):
        name = key.removesuffix(".processor")
        layer = unet.get_submodule(name)
        cross = name.endswith("attn2")
        sites.append(
            Site(
                name=name,
                index=index,
                kind="cross" if cross else "self",
                cell=2 ** _level(name, deepest),
                width=layer.to_q.out_features,
                heads=layer.heads,
                head_dim=layer.to_q.out_features // layer.heads,
                context_width=layer.to_k.in_features if cross else None,
            )
        )
    return tuple(sites)


def text_width(sites: Iterable[Site]) -> int:
    """Channels C of the text features that the cross-attention sites of a U-Net read."""
    return next(site.context_width for site in sites if site.context_width is not None)


def _level(name: str, deepest: int) -> int:
    block = re.match(r"(down|up)_blocks\.(\d+)\.", name)
    if block is None:
        return deepest
    number = int(block[2])
    return number if block[1] == "down" else deepest - number
