"""Families by the pipeline class that model_index.json names, imported only when needed.

A third party adds a family through an entry point of the group `spid.families`, whose value is
`package.module:FAMILY`, an object with what `Family` lists.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from methods.errors import MissingDependencyError, SpidError, WeightsError

if TYPE_CHECKING:
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    from methods.backbone.denoiser import Denoiser
    from methods.backbone.device import Placement
    from methods.backbone.noise import Noise
    from methods.backbone.source import Source
    from methods.backbone.text import TextEncoder

ENTRY_POINT_GROUP = "spid.families"
_BUILT_IN = {"unet": "methods.backbone.families.stable_diffusion:FAMILY"}


@dataclass(frozen=True)
class LoadOptions:
    """How a family is asked to load.

    dtype:     of all weights
    placement: where the backbone will lie, for its text encoder
    config:    for a single file: folder in diffusers layout with its configurations, if the user gave one
    """

    dtype: torch.dtype
    placement: Placement
    config: str | Path | None = None


@dataclass(frozen=True, eq=False)
class Parts:
    """What a family makes of a source: modules on the CPU, which the caller freezes and moves.

    family:       its word for reports: `sd1`, `sdxl`, `flux` ...
    default_size: (width, height) in pixels
    steps, guidance, scheduler: what it is sampled with unless told otherwise
    face_encoder: its own face encoder by name, if it has one
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


class Family(Protocol):
    """A kind of backbone.

    names:      what `Backbone.family` may be
    pipelines:  class names in model_index.json that it loads
    components: folders of the pipeline that it reads; the first holds the network's weights
    """

    names: tuple[str, ...]
    pipelines: tuple[str, ...]
    components: tuple[str, ...]

    def load(self, source: Source, options: LoadOptions) -> Parts:
        """The parts of a pipeline. Raises WeightsError for what is missing, damaged or not its kind."""
        ...


def family_of(pipeline: str, source: str) -> Family:
    """The family that loads a pipeline class. Raises WeightsError, naming `source`, when none does."""
    known: list[str] = []
    for family in families():
        if pipeline in family.pipelines:
            return family
        known += family.pipelines
    raise WeightsError(
        f"{source} is a {pipeline}, which no family of backbones loads.", hint=f"Known: {', '.join(known)}."
    )


def families() -> Iterator[Family]:
    """All families, the built-in ones first, each imported when its turn comes."""
    for target in _BUILT_IN.values():
        module, _, name = target.partition(":")
        yield getattr(importlib.import_module(module), name)
    yield from _plugins()


@cache
def _plugins() -> tuple[Family, ...]:
    found = []
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        try:
            family: Any = point.load()
        except ImportError as error:
            raise MissingDependencyError(
                f"The plug-in family {point.name!r} ({point.value}) does not import: {error}.",
                hint="Install what it needs or remove its package.",
            ) from error
        needed = ("names", "pipelines", "components", "load")
        if missing := [name for name in needed if not hasattr(family, name)]:
            raise SpidError(
                f"The plug-in family {point.name!r} ({point.value}) has no {missing[0]!r}.",
                hint="Correct its entry point or remove its package.",
            )
        found.append(family)
    return tuple(found)
