"""Sizes of a PuLID adapter, read off the tensors of its file: the public ones and miniatures alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from methods.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

HEADS = 16
"""Heads of both kinds of attention in the public files: 16 x 64 in the encoder, 16 x 128 at the sites."""
INTERVALS = (2, 4)
"""Every second double block and every fourth single block has an attention in the public files."""

OTHER_FILE = "Give pulid_flux_v0.9.0.safetensors, pulid_flux_v0.9.1.safetensors, or what spid train wrote."


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of the encoder (defaults: the public files) and of the attentions after the blocks.

    width:      of the encoder's tokens; `inner` of its attention, `ff` of its feed-forward layers
    queries:    identity tokens that come out, `output` wide
    id_dim:     face embedding and the tower's vector together; it becomes `id_tokens` tokens
    scales:     width of each depth of the image tower, in order
    depth:      layers of the encoder, the same number for every scale
    attentions: how many there are, on `hidden` channels, `ca_inner` wide inside
    """

    width: int = 1024
    inner: int = 1024
    heads: int = HEADS
    ff: int = 4096
    queries: int = 32
    output: int = 2048
    id_dim: int = 1280
    id_tokens: int = 5
    scales: tuple[int, ...] = (1024,) * 5
    depth: int = 10
    attentions: int = 20
    hidden: int = 3072
    ca_inner: int = 2048
    ca_heads: int = HEADS

    def __post_init__(self) -> None:
        for name in ("width", "inner", "heads", "ff", "queries", "output", "id_dim", "id_tokens", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1")
        for whole, part in (("depth", len(self.scales)), ("inner", self.heads), ("ff", self.width)):
            if part < 1 or getattr(self, whole) % part:
                raise ValueError(f"{whole} is {getattr(self, whole)}, which {part} does not divide")
        if self.ca_heads < 1 or self.ca_inner % self.ca_heads:
            raise ValueError(f"ca_inner is {self.ca_inner}, which {self.ca_heads} does not divide")


def sizes_of(state: Mapping[str, Tensor], source: str, *, heads: int = HEADS, ca_heads: int = HEADS) -> Sizes:
    """Sizes of a state dict in the public layout. No tensor tells heads, so they are said.

    Raises WeightsError naming `source`, with what it is instead where that can be seen.
    """
    check_layout(state, source)

    def shape(name: str) -> tuple[int, ...]:
        if name not in state:
            raise WeightsError(f"{source} lacks the tensor {name}.", hint=OTHER_FILE)
        return tuple(state[name].shape)

    encoder = "pulid_encoder."
    scales = _numbers(state, r"pulid_encoder\.mapping_(\d+)\.")
    layers = _numbers(state, r"pulid_encoder\.layers\.(\d+)\.")
    attentions = _numbers(state, r"pulid_ca\.(\d+)\.")
    _, queries, width = shape(encoder + "latents")
    try:
        return Sizes(
            width=width,
            inner=shape(encoder + "layers.0.0.to_q.weight")[0],
            heads=heads,
            ff=shape(encoder + "layers.0.1.1.weight")[0],
            queries=queries,
            output=shape(encoder + "proj_out")[1],
            id_dim=shape(encoder + "id_embedding_mapping.0.weight")[1],
            id_tokens=shape(encoder + "id_embedding_mapping.6.weight")[0] // width,
            scales=tuple(shape(f"{encoder}mapping_{scale}.0.weight")[1] for scale in range(scales)),
            depth=layers,
            attentions=attentions,
            hidden=shape("pulid_ca.0.to_out.weight")[0],
            ca_inner=shape("pulid_ca.0.to_q.weight")[0],
            ca_heads=ca_heads,
        )
    except ValueError as error:
        raise WeightsError(f"{source} is no PuLID adapter: {error}.", hint=OTHER_FILE) from error


def check_layout(state: Iterable[str], source: str) -> None:
    """Raise WeightsError for a file whose first names are not PuLID-FLUX's, naming what it is instead."""
    roots = {name.partition(".")[0] for name in state}
    if {"pulid_encoder", "pulid_ca"} <= roots:
        return
    if any(root.startswith("id_adapter") for root in roots):
        raise WeightsError(f"{source} is PuLID for SDXL, and this backbone is FLUX.", hint=OTHER_FILE)
    if {"image_proj", "ip_adapter"} & roots:
        raise WeightsError(
            f"{source} is an IP-Adapter, not a PuLID adapter.", hint="Use it with --method uniform."
        )
    raise WeightsError(
        f"{source} is not a PuLID adapter: it has no tensors pulid_encoder.* and pulid_ca.*.", hint=OTHER_FILE
    )


def _numbers(state: Iterable[str], pattern: str) -> int:
    """One more than the largest number that the pattern finds in names; 0 for none."""
    found = [int(match.group(1)) for name in state if (match := re.match(pattern, name))]
    return max(found, default=-1) + 1
