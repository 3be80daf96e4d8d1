"""Tiny random pipelines in diffusers layout: real components built from config, nothing downloaded.

The shapes are those of the real families where it matters: SD 1.x (epsilon, quick_gelu, convolutional
projections), SD 2.x (v_prediction, linear projections, heads by width), SDXL (two text encoders, pooled text
and time ids, no attention at the finest level).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from methods.backbone.backbone import Backbone
from methods.backbone.load import load_backbone
from methods.contract import Method
from methods.hooks import Attachment, Job
from methods.none import INFO, Config
from methods.uniform.adapter import UniformAdapter

FAMILIES = ("sd1", "sd2", "sdxl")
_LENGTH = 16
_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"
_ROOT = tempfile.TemporaryDirectory(prefix="tiny-pipelines-")  # removed when the test process ends


@cache
def tiny_folder(family: str) -> Path:
    """A tiny pipeline of a family, written once per test process; do not change it."""
    return tiny_pipeline(Path(_ROOT.name) / family, family)


@cache
def tiny_backbone(family: str) -> Backbone:
    """The same, loaded on the CPU in float32; a test that changes it must put it back."""
    return load_backbone(tiny_folder(family), device="cpu")


class Hooked(Method):
    """A method made of one attachment: how tests look into the loop."""

    info, Config = INFO, Config

    def __init__(self, hooks: Attachment) -> None:
        super().__init__()
        self.hooks = hooks

    def attach(self, backbone: Backbone, jobs: Sequence[Job]) -> Attachment:
        return self.hooks


def faceid_state_with_lora(backbone: Backbone) -> dict[str, Tensor]:
    """A random FaceID checkpoint for a backbone, with low-rank additions as the public ones have."""
    generator = torch.Generator().manual_seed(5)
    adapter = UniformAdapter(backbone.sites, lora_rank=2)
    return {
        name: 0.2 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in adapter.state_dict().items()
    }


def tiny_pipeline(folder: Path, family: str, seed: int = 0) -> Path:
    """Write a tiny random pipeline of a family (64 px) into `folder` and return it."""
    torch.manual_seed(seed)
    xl = family == "sdxl"
    parts: dict[str, Any] = {
        "unet": tiny_unet(family),
        "vae": tiny_vae(),
        "scheduler": tiny_scheduler("v_prediction" if family == "sd2" else "epsilon"),
        "tokenizer": tiny_tokenizer(folder / "tokenizer"),
        "text_encoder": CLIPTextModel(text_config("quick_gelu" if family == "sd1" else "gelu")),
    }
    index: dict[str, Any] = {
        "_class_name": "StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    if xl:
        parts["tokenizer_2"] = tiny_tokenizer(folder / "tokenizer_2")
        parts["text_encoder_2"] = CLIPTextModelWithProjection(text_config("gelu"))
        index["text_encoder_2"] = ["transformers", "CLIPTextModelWithProjection"]
        index["tokenizer_2"] = ["transformers", "CLIPTokenizer"]
        index["force_zeros_for_empty_prompt"] = True
    else:
        index |= {
            "safety_checker": [None, None],
            "feature_extractor": [None, None],
            "requires_safety_checker": False,
        }
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    return folder


def tiny_unet(family: str) -> UNet2DConditionModel:
    """Two levels; attention at both, except SDXL, which like the real one has none at the finest."""
    shape: dict[str, Any] = {
        "sd1": {"attention_head_dim": 4},
        "sd2": {"attention_head_dim": (2, 4), "use_linear_projection": True},
        "sdxl": {
            "attention_head_dim": (2, 4),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 32,
            "transformer_layers_per_block": (1, 2),
        },
    }[family]
    down = (
        ("DownBlock2D", "CrossAttnDownBlock2D")
        if family == "sdxl"
        else ("CrossAttnDownBlock2D", "DownBlock2D")
    )
    up = ("CrossAttnUpBlock2D", "UpBlock2D") if family == "sdxl" else ("UpBlock2D", "CrossAttnUpBlock2D")
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        cross_attention_dim=64 if family == "sdxl" else 32,
        down_block_types=down,
        up_block_types=up,
        **shape,
    )


def tiny_vae() -> AutoencoderKL:
    """Factor 8, 4 latent channels."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
    )


def tiny_scheduler(prediction_type: str) -> DDIMScheduler:
    """The noise schedule that all Stable Diffusion families share."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )


def tiny_tokenizer(folder: Path) -> CLIPTokenizer:
    """A byte-level CLIP tokenizer with a few whole words, built from its two files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(_vocabulary()))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(_merges()) + "\n")
    return CLIPTokenizer(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=_LENGTH
    )


@cache
def _merges() -> tuple[str, ...]:
    merges: list[str] = []
    for word in ("photo", "person", "beach", "red", "of", "on", "the"):
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            if (merge := f"{parts[0]} {parts[1]}") not in merges:
                merges.append(merge)
            parts[:2] = ["".join(parts[:2])]
    return tuple(merges)


@cache
def _vocabulary() -> dict[str, int]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *(m.replace(" ", "") for m in _merges())]
    return {word: place for place, word in enumerate([*dict.fromkeys(words), _BEGIN, _END])}


def text_config(activation: str) -> CLIPTextConfig:
    vocabulary = _vocabulary()
    return CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=3,
        max_position_embeddings=_LENGTH,
        projection_dim=32,
        hidden_act=activation,
        bos_token_id=vocabulary[_BEGIN],
        eos_token_id=vocabulary[_END],
        pad_token_id=vocabulary[_END],
    )
