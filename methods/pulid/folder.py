"""An adapter's folder: weights in the public layout, and what no tensor tells beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from methods.adapters import save_adapter_folder
from methods.pulid.info import INFO
from methods.pulid.tower import EVA_LAYERS

if TYPE_CHECKING:
    import torch

    from methods.pulid.adapter import PulidAdapter


@dataclass(frozen=True)
class Looks:
    """How the faces looked that an adapter was trained on (defaults: the public files).

    clip, fingerprint: the image tower by name, and the hash of its weights; None for EVA02-CLIP-L-336
    layers:            depths of the tower
    grey:              the person in grey
    """

    clip: str | None = None
    fingerprint: str | None = None
    layers: tuple[int, ...] = EVA_LAYERS
    grey: bool = True


def save_adapter(
    folder: str | Path,
    adapter: PulidAdapter,
    looks: Looks,
    *,
    family: str | None,
    dtype: torch.dtype | None = None,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Write an adapter folder: weights in the public layout, and what no tensor tells in config.json."""
    sizes = adapter.sizes
    save_adapter_folder(
        folder,
        adapter.state_dict(),
        method=INFO.name,
        family=family,
        config=config,
        dtype=dtype,
        extra={
            "heads": [sizes.heads, sizes.ca_heads],
            "intervals": list(adapter.intervals),
            "clip": {"name": looks.clip, "fingerprint": looks.fingerprint, "layers": list(looks.layers)},
            "grey": looks.grey,
        },
    )
