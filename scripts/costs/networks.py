"""Backbones of real size with random weights: SDXL's and FLUX.1's networks, made on the device.

Text encoders have two layers of the real widths and the VAE is tiny, so that a picture's time is that of its
steps. Toys of the same kinds are for tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import methods.backbone.families
from methods.backbone.backbone import Backbone, Defaults
from methods.backbone.device import Placement, seeded
from methods.backbone.families.imports import prepare_imports
from methods.backbone.noise import Diffusion, RectifiedFlow
from methods.backbone.text import ClipEncoder
from methods.paths import pocket_dir

FLUX_CONFIG = Path(methods.backbone.families.__path__[0]) / "flux_transformer" / "config.json"
UNETS: dict[str, dict[str, Any]] = {
    "sdxl": {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "layers_per_block": 2,
        "attention_head_dim": (5, 10, 20),
        "transformer_layers_per_block": (1, 2, 10),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    },
    "toy-sdxl": {
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "attention_head_dim": (2, 4),
        "transformer_layers_per_block": (1, 1),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    },
}
"""Of SDXL's U-Net (stabilityai/stable-diffusion-xl-base-1.0, unet/config.json), and one for tests."""
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "flux": {},
    "toy-flux": {
        "in_channels": 16,
        "num_layers": 3,
        "num_single_layers": 5,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 64,
        "pooled_projection_dim": 64,
        "axes_dims_rope": (4, 4, 8),
    },
}
"""What differs from the configuration of FLUX.1 dev that the package ships."""
NETWORKS = (*UNETS, *TRANSFORMERS)
SIDES = {"sdxl": 1024, "flux": 1024, "toy-sdxl": 64, "toy-flux": 64}
"""Of the square pictures, in pixels."""
_CLIP_WIDTHS = {"sdxl": (768, 1280), "toy-sdxl": (64, 64)}
_T5_TOKENS = {"flux": 512, "toy-flux": 32}


def network_of(size: str) -> Any:
    """The U-Net or the transformer of a size, on torch's default device in its default dtype."""
    prepare_imports()
    if size in UNETS:
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        widths = _CLIP_WIDTHS[size]
        return UNet2DConditionModel(
            cross_attention_dim=sum(widths),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=6 * 256 + widths[1],
            **UNETS[size],
        )
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

    shipped = {key: value for key, value in json.loads(FLUX_CONFIG.read_text()).items() if key[0] != "_"}
    return FluxTransformer2DModel(**shipped | TRANSFORMERS[size])


def random_backbone(size: str, device: torch.device, dtype: torch.dtype) -> Backbone:
    """A backbone around the network of a size; it never exists in another dtype or on another device."""
    make = _sdxl if size in UNETS else _flux
    with seeded(0), device, _default(dtype):
        network = network_of(size)
        backbone = make(size, network, Placement(device), dtype)
    for module in backbone.modules:
        module.requires_grad_(False).eval().to(device, dtype)
    return backbone


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _sdxl(size: str, unet: Any, placement: Placement, dtype: torch.dtype) -> Backbone:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    from methods.backbone.families.stable_diffusion import StableDiffusion
    from methods.backbone.families.unet import UNetDenoiser

    tokenizer = _clip_tokenizer()
    kinds = zip((CLIPTextModel, CLIPTextModelWithProjection), _CLIP_WIDTHS[size], strict=True)
    return Backbone(
        name=f"random {size}",
        family="sdxl",
        fingerprint=f"random {size}",
        loader=StableDiffusion,
        denoiser=UNetDenoiser(unet),
        noise=Diffusion({"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}),
        text=ClipEncoder(
            tokenizers=(tokenizer, tokenizer),
            models=tuple(kind(_clip(tokenizer, width)) for kind, width in kinds),
            placement=placement,
            zero_empty_negative=True,
        ),
        vae=_vae(latent_channels=4),
        defaults=Defaults(30, 5.0, "ddim"),
        default_size=(SIDES[size],) * 2,
        dtype=dtype,
        placement=placement,
    )


def _flux(size: str, transformer: Any, placement: Placement, dtype: torch.dtype) -> Backbone:
    from transformers import CLIPTextModel, T5Config, T5EncoderModel, T5Tokenizer

    from methods.backbone.families.flux import FluxDenoiser
    from methods.backbone.families.flux_pipeline import Flux
    from methods.backbone.families.flux_text import FluxText

    letters = [(chr(code), -5.0) for code in range(33, 127)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -5.0)]
    t5_tokenizer = T5Tokenizer(vocab=special + letters, extra_ids=0, model_max_length=512)
    width, length = transformer.config.joint_attention_dim, _T5_TOKENS[size]
    t5 = T5Config(
        d_model=width, d_ff=width, d_kv=64, num_layers=2, num_heads=width // 64, vocab_size=len(t5_tokenizer)
    )
    tokenizer = _clip_tokenizer()
    clip = CLIPTextModel(_clip(tokenizer, transformer.config.pooled_projection_dim))
    return Backbone(
        name=f"random {size}",
        family="flux",
        fingerprint=f"random {size}",
        loader=Flux,
        denoiser=FluxDenoiser(transformer, text_tokens=length),
        noise=RectifiedFlow({"shift": 3.0, "use_dynamic_shifting": True}, dtype=dtype),
        text=FluxText((tokenizer, t5_tokenizer), (clip, T5EncoderModel(t5)), placement, length),
        vae=_vae(
            latent_channels=transformer.config.in_channels // 4,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.1159,
            scaling_factor=0.3611,
        ),
        defaults=Defaults(28, 3.5, "euler"),
        default_size=(SIDES[size],) * 2,
        dtype=dtype,
        placement=placement,
    )


def _vae(**changes: Any) -> Any:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        **changes,
    )


def _clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(pocket_dir() / "sd" / "tokenizer")


def _clip(tokenizer: Any, width: int) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=2,
        num_attention_heads=width // 64,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
