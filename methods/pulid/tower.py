"""The image tower that PuLID looks at a face with: several depths of it, and the vector it ends in.

Published: EVA02-CLIP-L-336, whose hidden states are the *inputs* of blocks 4, 8, 12, 16 and 20 (counted from
0), 577 tokens with the class token first, before any final norm. open_clip's EVA02-L-14-336 is that model.
Source: PuLID@1aa2fc7 eva_clip/eva_vit_model.py, as described in flux.md B.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.errors import MissingWeightsError, UsageError
from methods.infinite_id.clip import StatesEncoder, load_states_encoder
from methods.pulid.files import EVA, eva_file

if TYPE_CHECKING:
    from torch import nn

EVA_LAYERS = (4, 8, 12, 16, 20)


class Seen(NamedTuple):
    """What a tower makes of one picture: per depth float32 [T, V], and the final vector [E], unit length."""

    states: tuple[Tensor, ...]
    vector: Tensor


class ImageTower:
    """The image half of an open_clip model, read at several depths.

    layers: of a transformer the blocks whose *inputs* are read, counted from 0; of a residual network the
            stages whose *outputs* are read, counted from 1. None: five even parts of a transformer's depth
            (the published five of EVA's 24), the last two stages of a residual network
    """

    def __init__(self, encoder: StatesEncoder, layers: Sequence[int] | None = None) -> None:
        self.encoder = encoder
        self._network: Any = encoder.tower
        self._blocks = _blocks(self._network)
        if layers is None:
            depth = 0 if self._blocks is None else len(self._blocks)
            layers = tuple(depth * part // 6 for part in range(1, 6)) if depth else (3, 4)
        self.layers = tuple(layers)
        first, last = (1, 4) if self._blocks is None else (0, len(self._blocks) - 1)
        if not self.layers or not all(first <= layer <= last for layer in self.layers):
            raise UsageError(
                f"The image tower {encoder.name} has the layers {first} to {last}, not {list(self.layers)}.",
                hint="Name some of those, or another image tower by clip.",
            )

    @property
    def size(self) -> int:
        """Side of the square picture it reads, in pixels."""
        return self.encoder.size

    @torch.no_grad()
    def look(self, picture: Tensor) -> Seen:
        """picture: float32 [3, size, size] in [0, 1], RGB."""
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.encoder.mean, self.encoder.std))
        x = ((picture - mean) / std)[None].to(self.encoder.device)
        states: dict[int, Tensor] = {}

        def keep_input(layer: int) -> Any:
            def hook(block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                states[layer] = inputs[0][0]

            return hook

        def keep_output(layer: int) -> Any:
            def hook(stage: nn.Module, inputs: tuple[Tensor, ...], grid: Tensor) -> None:
                states[layer] = grid[0].flatten(1).T

            return hook

        with ExitStack() as watching:
            for layer in set(self.layers):
                if self._blocks is None:
                    stage = getattr(self._network, f"layer{layer}")
                    handle = stage.register_forward_hook(keep_output(layer))
                else:
                    handle = self._blocks[layer].register_forward_pre_hook(keep_input(layer))
                watching.callback(handle.remove)
            vector = self._network(x)[0]
        return Seen(tuple(states[layer].float() for layer in self.layers), F.normalize(vector.float(), dim=0))

    @cached_property
    def shapes(self) -> tuple[tuple[tuple[int, int], ...], int]:
        """(T, V) of every depth and E of the vector, learned by a look at a black picture."""
        seen = self.look(torch.zeros(3, self.size, self.size))
        return tuple((len(one), one.shape[1]) for one in seen.states), len(seen.vector)


def load_tower(name: str | None, device: torch.device, layers: Sequence[int] | None = None) -> ImageTower:
    """The tower of a name that `Config.clip` takes; None for EVA02-CLIP-L-336 in the hub's cache on disk.

    Raises WeightsError for files that are missing or damaged, UsageError for an unknown name.
    """
    if name is None:
        file = eva_file()
        if file is None:
            raise MissingWeightsError(
                "PuLID needs the image tower EVA02-CLIP-L-336, and it is not in the hub's cache.",
                hint=f"Run `spid fetch eva02-clip`, or give clip={EVA}:FILE.",
            )
        name, layers = f"{EVA}:{file}", layers or EVA_LAYERS
    return ImageTower(load_states_encoder(name, device), layers)


def _blocks(network: Any) -> Any:
    """The blocks of a transformer, timm's or open_clip's own; None for a residual network."""
    if hasattr(network, "trunk") and hasattr(network.trunk, "blocks"):
        return network.trunk.blocks
    if hasattr(network, "transformer") and getattr(network.transformer, "batch_first", False):
        return network.transformer.resblocks
    if hasattr(network, "layer4"):
        return None
    raise UsageError(
        f"PuLID cannot look into an image tower of the kind {type(network).__name__}.",
        hint="Give clip a transformer or a ResNet of open_clip.",
    )
