"""Pictures to latents and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    from methods.backbone.backbone import Backbone

_PICTURES_AT_ONCE = 4  # on an accelerator; a CPU gains nothing, and one at a time keeps the bits of each


@torch.no_grad()
def encode_pixels(backbone: Backbone, pixels: Tensor) -> Tensor:
    """Encode pixels [P, 3, H, W] in [-1, 1] to latents at the network's scale, float32 [P, C, h, w].

    They are the mean of the VAE's posterior. Pictures pass one at a time; float16 autoencoders that overflow
    (`force_upcast`) run in float32.
    """
    vae = backbone.vae
    upcast = vae.dtype == torch.float16 and vae.config.force_upcast
    dtype = torch.float32 if upcast else vae.dtype
    with backbone.resident(vae), _in_dtype(vae, dtype):
        chunks = pixels.to(backbone.device).to(dtype).split(1)
        latents = torch.cat([vae.encode(chunk).latent_dist.mean.float() for chunk in chunks])
    mean, std = vae.config.latents_mean, vae.config.latents_std
    if mean is not None and std is not None:
        latents = (latents - _channels(mean, latents)) / _channels(std, latents)
    if shift := vae.config.shift_factor:
        latents = latents - shift
    return latents * vae.config.scaling_factor


def encode_picture(backbone: Backbone, picture: Image.Image) -> Tensor:
    """Latents of one RGB picture, float32 [C, h, w] (see `encode_pixels`)."""
    return encode_pixels(backbone, to_pixels(picture)[None])[0]


def to_pixels(picture: Image.Image) -> Tensor:
    """An RGB picture as the VAE sees it: float32 [3, H, W] in [-1, 1]."""
    levels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    return levels.float() / 127.5 - 1.0


@torch.inference_mode()
def decode(backbone: Backbone, latents: Tensor) -> tuple[Tensor, list[dict[str, str]]]:
    """Decode float32 latents [J, C, h, w] to float32 pixels [J, 3, H, W] in [-1, 1], and notes per picture.

    float16 autoencoders that overflow (`force_upcast`) run in float32, as in diffusers; any other half
    precision result that is not finite is decoded again in float32, which the notes record.
    """
    vae = backbone.vae
    half = backbone.dtype != torch.float32
    notes: list[dict[str, str]] = [{} for _ in latents]
    upcast = backbone.dtype == torch.float16 and vae.config.force_upcast
    with backbone.resident(vae):
        pixels = _decode(backbone, latents, torch.float32 if upcast else backbone.dtype)
        if half and not upcast:
            finite_in = torch.isfinite(latents).flatten(1).all(dim=1)
            broken = finite_in & ~torch.isfinite(pixels).flatten(1).all(dim=1)
            for place in broken.nonzero().flatten().tolist():
                pixels[place] = _decode(backbone, latents[place : place + 1], torch.float32)[0]
                notes[place]["vae"] = f"not finite in {backbone.dtype}, decoded again in float32"
    return pixels, notes


def to_picture(latent: Tensor, pixels: Tensor) -> tuple[Image.Image | None, str]:
    """Picture and status of one job from its latent and its pixels [3, H, W] in [-1, 1].

    `non_finite` without a picture, `degenerate` for one plain colour, else `ok`.
    """
    if not (torch.isfinite(latent).all() and torch.isfinite(pixels).all()):
        return None, "non_finite"
    levels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    low, high = levels.flatten(1).amin(dim=1).int(), levels.flatten(1).amax(dim=1).int()
    status = "ok" if bool((high - low > 1).any()) else "degenerate"
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy()), status


def _decode(backbone: Backbone, latents: Tensor, dtype: torch.dtype) -> Tensor:
    vae = backbone.vae
    mean, std = vae.config.latents_mean, vae.config.latents_std
    latents = latents / vae.config.scaling_factor
    if shift := vae.config.shift_factor:
        latents = latents + shift
    if mean is not None and std is not None:
        latents = latents * _channels(std, latents) + _channels(mean, latents)
    one_by_one = backbone.vae_slicing or latents.device.type == "cpu"
    with _in_dtype(vae, dtype):
        chunks = latents.to(dtype).split(1 if one_by_one else _PICTURES_AT_ONCE)
        return torch.cat([vae.decode(chunk).sample.float() for chunk in chunks])


@contextmanager
def _in_dtype(vae: AutoencoderKL, dtype: torch.dtype) -> Iterator[None]:
    """The autoencoder in a dtype for the duration."""
    was = vae.dtype
    try:
        if was != dtype:
            vae.to(dtype)
        yield
    finally:
        if was != dtype:
            vae.to(was)


def _channels(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device, dtype=like.dtype).view(1, -1, 1, 1)
