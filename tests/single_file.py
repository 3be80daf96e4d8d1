"""A diffusers-layout SD 1.x folder written as one checkpoint in the original layout, for loader tests."""

from __future__ import annotations

import re
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def write_single_file(folder: Path, path: Path, layers: int = 1) -> Path:
    """Write unet, vae and text encoder of `folder` as `path`; layers: U-Net resnets per down block."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in _read(folder / "unet").items():
        tensors[f"model.diffusion_model.{_unet_key(name, layers)}"] = tensor
    for name, tensor in _read(folder / "vae").items():
        key = _vae_key(name)
        is_convolution = ".attn_1." in key and key.endswith(".weight") and "norm" not in key
        tensors[f"first_stage_model.{key}"] = tensor[:, :, None, None] if is_convolution else tensor
    for name, tensor in _read(folder / "text_encoder").items():
        tensors[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def _read(folder: Path) -> dict[str, Tensor]:
    return load_file(next(folder.glob("*.safetensors")))


def _unet_key(name: str, layers: int) -> str:
    place = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.", name)
    if place is None:
        old = next(part for part in _UNET if name.startswith(part))
        return _resnet_key(_UNET[old] + name[len(old) :], "resnets" in name)
    side, block, kind, layer = place[1], int(place[2]), place[3], int(place[4])
    rest = name[place.end() :]
    if side == "down":
        number = 1 + block * (layers + 1) + (layers if kind == "downsamplers" else layer)
        prefix = f"input_blocks.{number}.{1 if kind == 'attentions' else 0}"
        rest = rest.replace("conv.", "op.") if kind == "downsamplers" else rest
    else:
        number = block * (layers + 1) + (layers if kind == "upsamplers" else layer)
        with_attention = block > 0  # SD 1.x: only the deepest up block has none
        slot = {"resnets": 0, "attentions": 1, "upsamplers": 2 if with_attention else 1}[kind]
        prefix = f"output_blocks.{number}.{slot}"
    return _resnet_key(f"{prefix}.{rest}", kind == "resnets")


def _resnet_key(key: str, is_resnet: bool) -> str:
    if is_resnet:
        for old, new in _RESNET.items():
            key = key.replace(f".{old}.", f".{new}.")
    return key


def _vae_key(name: str) -> str:
    key = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
    key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"up.{3 - int(m[1])}.block.{m[2]}", key)
    key = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", key)
    key = re.sub(r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    if "mid_block.attentions.0" in key:
        key = key.replace("mid_block.attentions.0", "mid.attn_1")
        for old, new in _VAE_ATTENTION.items():
            key = key.replace(f".{old}.", f".{new}.")
    return key
