"""The frozen text-to-image model as the project holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from methods.backbone.sites import Site

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from methods.backbone.text import TextEncoder

Family = Literal["pocket", "sd1", "sd2", "sdxl"]


@dataclass(frozen=True)
class Defaults:
    """What a backbone is sampled with unless told otherwise."""

    steps: int
    guidance: float
    scheduler: str


@dataclass(eq=False)
class Backbone:
    """A loaded U-Net pipeline; nothing of it is ever trained or left changed.

    name:           as given by the user: folder, hub id, file or `pocket`
    fingerprint:    SHA-256 over the content of all weights files
    scheduler_config: of the pipeline; `sample` builds its scheduler from it
    latent_factor:  pixels per latent cell (8)
    default_size:   (width, height) in pixels
    execution:      everything else that may change the bits, for the record
    """

    name: str
    family: Family
    fingerprint: str
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text: TextEncoder
    scheduler_config: dict[str, Any]
    sites: tuple[Site, ...]
    defaults: Defaults
    default_size: tuple[int, int]
    device: torch.device
    dtype: torch.dtype
    execution: dict[str, Any] = field(default_factory=dict)

    @property
    def latent_factor(self) -> int:
        """Pixels per latent cell."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def cross_sites(self) -> Sequence[Site]:
        """The cross-attention layers, in the order of `unet.attn_processors`."""
        return [site for site in self.sites if site.kind == "cross"]
