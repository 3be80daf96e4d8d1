"""The frozen text-to-image model as the project holds it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from methods.backbone.attention import plain_products
from methods.hooks import Site

if TYPE_CHECKING:
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from torch.nn.attention import SDPBackend

    from methods.backbone.denoiser import Denoiser
    from methods.backbone.device import Placement
    from methods.backbone.noise import Noise
    from methods.backbone.text import TextEncoder


@dataclass(frozen=True)
class Defaults:
    """What a backbone is sampled with unless told otherwise."""

    steps: int
    guidance: float
    scheduler: str


@dataclass(eq=False)
class Backbone:
    """A loaded pipeline; nothing of it is ever trained or left changed.

    name:         as given by the user: folder, hub id, file or `pocket`
    family:       a word for reports, such as `sd1` or `pocket`
    fingerprint:  SHA-256 over the content of all files it was loaded from
    denoiser:     the network
    noise:        its forward process and samplers
    default_size: (width, height) in pixels
    dtype:        of the weights; latents are float32 throughout
    placement:    the device; with offloading, modules visit it only while they work
    loader:       the family's class that loaded it (its code decides pixels too)
    face_encoder: its own face encoder by name, if it has one
    sdpa:         restrict attention to one of torch's kernels; None lets torch choose
    origin:       where it came from, for the record: resolved folder, hub commit, options
    """

    name: str
    family: str
    fingerprint: str
    denoiser: Denoiser
    noise: Noise
    text: TextEncoder
    vae: AutoencoderKL
    defaults: Defaults
    default_size: tuple[int, int]
    dtype: torch.dtype
    placement: Placement
    loader: type
    face_encoder: str | None = None
    vae_slicing: bool = False
    sdpa: SDPBackend | None = None
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where it works."""
        return self.placement.device

    @property
    def offload(self) -> bool:
        """Whether idle modules lie on the CPU."""
        return self.placement.offload

    @property
    def sites(self) -> tuple[Site, ...]:
        """All attention layers of the network."""
        return self.denoiser.sites

    @property
    def offers(self) -> frozenset[str]:
        """What methods may hook into here (`MethodInfo.hooks`)."""
        return self.denoiser.hooks | self.text.offers

    @property
    def cross_sites(self) -> Sequence[Site]:
        """The cross-attention layers."""
        return [site for site in self.sites if site.kind == "cross"]

    @property
    def context_width(self) -> int:
        """Channels of the text features that the cross-attention layers read."""
        return text_width(self.sites)

    @property
    def latent_factor(self) -> int:
        """Pixels per latent cell, 8 for all families here."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """Everything with weights that is in memory: network, text encoders, VAE."""
        return (*self.denoiser.modules(), *self.text.loaded, self.vae)

    def resident(self, *modules: nn.Module) -> AbstractContextManager[None]:
        """Modules on the device for the duration, if they are offloaded; may be nested."""
        return self.placement.resident(*modules)

    def offload_idle(self) -> None:
        """From now on modules visit the device only while they work; between calls they lie on the CPU."""
        for module in self.modules:
            module.to("cpu")
        self.placement.offload = True
        self.origin = {**self.origin, "cpu_offload": True}

    def decode_in_tiles(self) -> None:
        """From now on the VAE decodes one picture at a time, in tiles: less memory, other pixels at seams."""
        self.vae_slicing = True
        self.vae.enable_tiling()
        self.origin = {**self.origin, "vae_slicing": True, "vae_tiling": True}

    def attention_backend(self, *, gradients: bool = False) -> AbstractContextManager[None]:
        """Context in which attention runs on the chosen kernel.

        gradients: a backward pass follows. On a CPU attention is then plain matrix products: the fused
                   kernel's backward pass costs several times the rest of the network there
        """
        from torch.nn.attention import sdpa_kernel

        if gradients and self.device.type == "cpu":
            return plain_products()
        return nullcontext() if self.sdpa is None else sdpa_kernel(self.sdpa)


def text_width(sites: Sequence[Site]) -> int:
    """Channels C of the text features that the cross-attention sites of a network read."""
    return next(site.context_width for site in sites if site.context_width is not None)


def replaced_sampler(backbone: Backbone) -> str | None:
    """The sentence for a pipeline whose own sampler is not among ours; None for all others."""
    if (own := backbone.noise.replaced) is None:
        return None
    return (
        f"the backbone's own sampler {own} is not among those here: {backbone.defaults.scheduler} takes its "
        "place (--scheduler chooses)"
    )
