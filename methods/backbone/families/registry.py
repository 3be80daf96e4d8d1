"""Families by the pipeline class that model_index.json names, imported only when needed.

A third party adds a family through an entry point of the group `spid.families`, whose value is
`package.module:FAMILY`, an object with what `Family` lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from methods.errors import WeightsError
from methods.plugins import Registry

if TYPE_CHECKING:
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    from methods.backbone.denoiser import Denoiser
    from methods.backbone.device import Placement
    from methods.backbone.lora import Lora
    from methods.backbone.noise import Noise
    from methods.backbone.text import TextEncoder


@dataclass(frozen=True)
class Source:
    """A located pipeline: a folder in diffusers layout, or a single file (then `folder` is None).

    files:   everything that decides what the pipeline computes
    pipeline: class name in model_index.json; of a single file, that of the layout it must have
    variant: `fp16` where only half-precision files are there
    commit:  of the hub repository it came from
    """

    folder: Path | None
    files: tuple[Path, ...]
    pipeline: str
    variant: str | None = None
    commit: str | None = None


@dataclass(frozen=True)
class LoadOptions:
    """How a family is asked to load.

    dtype:     of all weights
    placement: where the backbone will lie, for its text encoder
    config:    for a single file: folder in diffusers layout with its configurations, if the user gave one
    the rest:  as `load_backbone` has it, for families that name it among their `options`
    """

    dtype: torch.dtype
    placement: Placement
    config: str | Path | None = None
    group_offload: bool = False
    quantize: str | None = None
    text_length: int | None = None
    lora: tuple[Lora, ...] = ()


@dataclass(frozen=True, eq=False)
class Parts:
    """What a family makes of a source: modules on the CPU, which the caller freezes and moves.

    family:       its word for reports: `sd1`, `sdxl`, `flux` ...
    default_size: (width, height) in pixels
    steps, guidance, scheduler: what it is sampled with unless told otherwise
    face_encoder: its own face encoder by name, if it has one
    files:        what was read beside the source's own files, and decides what it computes
    """

    family: str
    denoiser: Denoiser
    noise: Noise
    text: TextEncoder
    vae: AutoencoderKL
    default_size: tuple[int, int]
    steps: int
    guidance: float
    scheduler: str
    face_encoder: str | None = None
    files: tuple[Path, ...] = ()


class Family(Protocol):
    """A kind of backbone.

    names:      what `Backbone.family` may be
    pipelines:  class names in model_index.json that it loads
    components: folders of the pipeline that it reads; the first holds the network's weights
    options:    what it takes of the options that not every family has (see `load_backbone`)
    """

    names: tuple[str, ...]
    pipelines: tuple[str, ...]
    components: tuple[str, ...]
    options: tuple[str, ...]

    def load(self, source: Source, options: LoadOptions) -> Parts:
        """The parts of a pipeline. Raises WeightsError for what is missing, damaged or not its kind."""
        ...


def _fault(name: str, loaded: Any) -> str | None:
    needed = ("names", "pipelines", "components", "options", "load")
    missing = [what for what in needed if not hasattr(loaded, what)]
    return f"it has no {missing[0]}" if missing else None


FAMILIES: Registry[Family] = Registry(
    "family of backbones",
    "spid.families",
    {
        "stable-diffusion": "methods.backbone.families.stable_diffusion:FAMILY",
        "flux": "methods.backbone.families.flux_pipeline:FAMILY",
    },
    _fault,
)


def family_of(pipeline: str, source: str) -> Family:
    """The family that loads a pipeline class. Raises WeightsError, naming `source`, when none does."""
    known: list[str] = []
    for names in (lambda: list(FAMILIES.built_in), FAMILIES.usable):  # plug-ins are imported only if needed
        for name in names():
            family = FAMILIES.get(name)
            if pipeline in family.pipelines:
                return family
            known += family.pipelines
    raise WeightsError(
        f"{source} is a {pipeline}, which no family of backbones loads.",
        hint=f"Known: {', '.join(dict.fromkeys(known))}.",
    )
