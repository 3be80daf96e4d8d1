"""An adapter's folder: weights in the public layout, and what no tensor tells beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from methods.adapters import Stored, read_adapter
from methods.pulid.adapter import PulidAdapter
from methods.pulid.info import INFO
from methods.pulid.sizes import HEADS, INTERVALS
from methods.pulid.tower import EVA_LAYERS

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone


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


def load_adapter(folder: str | Path | None, backbone: Backbone) -> tuple[PulidAdapter, Looks, Stored]:
    """The adapter of a folder of ours (None: the one shipped for the backbone) or of a public PuLID-FLUX
    file, how faces looked to it, and its file."""
    advice = ", for instance pulid_flux_v0.9.1.safetensors"
    stored = read_adapter(folder, method=INFO.name, backbone=backbone, advice=advice)
    source, sites = str(stored.path), backbone.denoiser.sites
    if stored.facts is None:
        return PulidAdapter.from_state_dict(stored.state, sites, source=source), Looks(), stored

    def read(facts: Mapping[str, Any]) -> tuple[list[int], list[int], Looks]:
        heads = [int(count) for count in facts.get("heads", (HEADS, HEADS))]
        intervals = [int(step) for step in facts.get("intervals", INTERVALS)]
        clip = facts["clip"]
        looks = Looks(clip["name"], clip["fingerprint"], tuple(clip["layers"]), bool(facts["grey"]))
        return heads, intervals, looks

    (heads, ca_heads), (double, single), looks = stored.tell(INFO.name, read)
    adapter = PulidAdapter.from_state_dict(
        stored.state, sites, heads=(heads, ca_heads), intervals=(double, single), source=source
    )
    return adapter, looks, stored


def facts_of(adapter: PulidAdapter, looks: Looks) -> dict[str, Any]:
    """What config.json says of an adapter in the public layout."""
    sizes = adapter.sizes
    return {
        "heads": [sizes.heads, sizes.ca_heads],
        "intervals": list(adapter.intervals),
        "clip": {"name": looks.clip, "fingerprint": looks.fingerprint, "layers": list(looks.layers)},
        "grey": looks.grey,
    }
