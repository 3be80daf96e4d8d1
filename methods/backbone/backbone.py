"""The frozen text-to-image model as the project holds it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from methods.hooks import Site

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from torch.nn.attention import SDPBackend

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

    name:             as given by the user: folder, hub id, file or `pocket`
    fingerprint:      SHA-256 over the content of all files it was loaded from
    scheduler_config: the pipeline's; `sample` builds its scheduler from it
    sites:            all attention layers, in the order of `unet.attn_processors`
    default_size:     (width, height) in pixels
    dtype:            of the weights; latents are float32 throughout
    offload:          text encoders, U-Net and VAE visit the device only while they work
    sdpa:             restrict attention to one of torch's kernels; None lets torch choose
    origin:           where it came from, for the record: resolved folder, hub commit, options
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
    offload: bool = False
    vae_slicing: bool = False
    sdpa: SDPBackend | None = None
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def latent_factor(self) -> int:
        """Pixels per latent cell, 8 for all families here."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def context_width(self) -> int:
        """Channels of the text features."""
        return self.unet.config.cross_attention_dim

    @property
    def cross_sites(self) -> Sequence[Site]:
        """The cross-attention layers."""
        return [site for site in self.sites if site.kind == "cross"]

    def attention_backend(self, *, gradients: bool = False) -> AbstractContextManager[None]:
        """Context in which attention runs on the chosen kernel.

        gradients: a backward pass follows. On a CPU attention is then plain matrix products: the fused
                   kernel's backward pass costs several times the rest of the network there
        """
        from torch.nn.attention import SDPBackend, sdpa_kernel

        kernel = SDPBackend.MATH if gradients and self.device.type == "cpu" else self.sdpa
        return nullcontext() if kernel is None else sdpa_kernel(kernel)
