"""Tiny random FLUX.1 pipelines in diffusers layout: real components built from config, nothing downloaded.

Dev-like (guidance embedding, dynamic shift) and schnell-like (neither). Three double and five single blocks,
so that what acts at intervals of blocks acts twice; a head's channels are the sum of the position axes.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxPipeline
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from tiny import text_config, tiny_tokenizer
from torch import Tensor
from transformers import CLIPTextModel, T5Config, T5EncoderModel, T5Tokenizer

from methods.backbone.backbone import Backbone
from methods.backbone.load import load_backbone

KINDS = ("dev", "schnell")
WIDTH, DOUBLE, SINGLE = 32, 3, 5
_ROOT = tempfile.TemporaryDirectory(prefix="tiny-flux-")  # removed when the test process ends
_WORDS = ("photo", "person", "beach", "red", "of", "on", "the")


@cache
def flux_folder(kind: str) -> Path:
    """A tiny pipeline of a kind, written once per test process; do not change it."""
    return tiny_flux_pipeline(Path(_ROOT.name) / kind, kind)


@cache
def flux_backbone(kind: str) -> Backbone:
    """The same, loaded on the CPU in float32; a test that changes it must put it back."""
    return load_backbone(flux_folder(kind), device="cpu")


def flux_pipeline(kind: str, dtype: torch.dtype = torch.float32) -> FluxPipeline:
    """diffusers' own pipeline from the same folder."""
    pipeline = FluxPipeline.from_pretrained(flux_folder(kind), dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tiny_flux_pipeline(folder: Path, kind: str, seed: int = 0) -> Path:
    """Write a tiny random pipeline into `folder` and return it."""
    torch.manual_seed(seed)
    dev = kind == "dev"
    t5_tokenizer = tiny_t5_tokenizer()
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
        if dev
        else FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=tiny_flux_vae(),
        text_encoder=CLIPTextModel(text_config("quick_gelu")),
        tokenizer=tiny_tokenizer(folder / "tokenizer"),
        text_encoder_2=T5EncoderModel(
            T5Config(d_model=WIDTH, d_ff=37, d_kv=8, num_layers=2, num_heads=4, vocab_size=len(t5_tokenizer))
        ),
        tokenizer_2=t5_tokenizer,
        transformer=tiny_flux_transformer(guidance_embeds=dev),
    )
    pipeline.save_pretrained(folder)
    return folder


def tiny_flux_transformer(**changes: Any) -> FluxTransformer2DModel:
    """Two heads of 16 channels. The zero-initialised parts of fresh blocks are none here: all parts act."""
    shape = {
        "in_channels": 16,
        "num_layers": DOUBLE,
        "num_single_layers": SINGLE,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": WIDTH,
        "pooled_projection_dim": WIDTH,
        "axes_dims_rope": (4, 4, 8),
    }
    return FluxTransformer2DModel(**shape | changes)


def tiny_flux_vae() -> AutoencoderKL:
    """Factor 8, 4 latent channels, and like the real one a shift and no quantising convolutions."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.0609,
        scaling_factor=1.5035,
    )


def tiny_t5_tokenizer() -> T5Tokenizer:
    """A unigram tokenizer of single letters and a few whole words, built without a file."""
    letters = [chr(code) for code in range(33, 127)]
    words = [*(f"▁{word}" for word in _WORDS), "▁", *letters]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary += [(word, -1.0 if len(word) > 1 else -5.0) for word in words]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=512)


def flux_adapter_state(tokens: int = 4, embedding_dim: int = 512, seed: int = 5) -> dict[str, Tensor]:
    """A random adapter in the FLUX IP-Adapter layout for the tiny transformers."""
    generator = torch.Generator().manual_seed(seed)
    inner = WIDTH
    shapes = {
        "image_proj.proj.weight": (tokens * WIDTH, embedding_dim),
        "image_proj.proj.bias": (tokens * WIDTH,),
        "image_proj.norm.weight": (WIDTH,),
        "image_proj.norm.bias": (WIDTH,),
    }
    for block in range(DOUBLE):
        for name in ("k", "v"):
            shapes[f"ip_adapter.{block}.to_{name}_ip.weight"] = (inner, WIDTH)
            shapes[f"ip_adapter.{block}.to_{name}_ip.bias"] = (inner,)
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
