"""An adapter's folder, or w-plus-adapter's public file: weights, and the W+ encoder that belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from methods.adapters import Stored, read_adapter
from methods.errors import MissingWeightsError, WeightsError
from methods.pidiff.adapter import StyleAdapter
from methods.pidiff.info import INFO
from methods.pidiff.stylespace.load import StyleSpace, load_style_space, save_style_space
from methods.pidiff.wplus import initialise_from_wplus, is_wplus_checkpoint

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone


def load_adapter(
    folder: str | Path | None, backbone: Backbone, encoder: str | None
) -> tuple[StyleAdapter, StyleSpace, Stored]:
    """The adapter of a folder of ours (None: the one shipped for the backbone) or of w-plus-adapter's
    checkpoint, the W+ encoder that it reads, and its file.

    encoder: where that encoder lies; None for where the folder says
    """
    stored = read_adapter(folder, method=INFO.name, backbone=backbone)
    if stored.facts is not None:
        space = _recorded_space(stored.path.parent, stored.facts.get("style_space"), encoder)
        return StyleAdapter.from_state_dict(stored.state, backbone.sites, str(stored.path)), space, stored
    if not is_wplus_checkpoint(stored.state):
        raise WeightsError(
            f"{stored.path} is not a pidiff adapter.",
            hint="Give a folder of ours, or a w-plus-adapter checkpoint.",
        )
    if encoder is None:
        raise MissingWeightsError(
            f"{stored.path} was trained with e4e's W+ encoder, which is not shipped.",
            hint="Give it: --set style_encoder=e4e_ffhq_encode.pt",
        )
    space = load_style_space(encoder)
    adapter = StyleAdapter.from_backbone(backbone.denoiser, rows=space.shape.rows, dim=space.shape.dim)
    initialise_from_wplus(adapter, stored.state, space.average, str(stored.path))
    return adapter, space, stored


def facts_of(space: StyleSpace, folder: Path) -> dict[str, Any]:
    """What config.json says of the W+ encoder that an adapter reads: where it is, and its fingerprint.

    The encoder's weights come along in `style/`, unless it is the shipped one or a checkpoint file (e4e's is
    larger than the whole backbone).
    """
    kind = "pocket" if space.name == "pocket" else "file" if Path(space.name).is_file() else "beside"
    if kind == "beside":
        save_style_space(folder / "style", space)
    return {"style_space": {"kind": kind, "fingerprint": space.fingerprint}}


def _recorded_space(folder: Path, recorded: Any, encoder: str | None) -> StyleSpace:
    """The W+ encoder that an adapter folder was trained with, wherever it is."""
    if not isinstance(recorded, Mapping) or not {"kind", "fingerprint"} <= recorded.keys():
        raise WeightsError(
            f"{folder / 'config.json'} does not say which style encoder it belongs to.",
            hint="Give a folder that spid train wrote.",
        )
    if encoder is not None:
        space = load_style_space(encoder)
    elif recorded["kind"] == "pocket":
        space = load_style_space()
    elif recorded["kind"] == "beside":
        space = load_style_space(folder / "style")
    else:
        raise MissingWeightsError(
            f"{folder} was trained with a W+ encoder that is not in it.",
            hint="Give that encoder: --set style_encoder=e4e_ffhq_encode.pt",
        )
    if space.fingerprint != recorded["fingerprint"]:
        raise WeightsError(
            f"{folder} was trained with another style encoder than {space.name}.",
            hint="Give the one it was trained with: --set style_encoder=PATH",
        )
    return space
