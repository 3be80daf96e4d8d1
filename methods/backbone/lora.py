"""LoRAs merged into a backbone's weights when it is loaded, by diffusers' loader, in all names it reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from methods.backbone.families.reading import first_line
from methods.errors import MissingWeightsError, UsageError, WeightsError
from methods.paths import user_path

Named = str | Path | Sequence[str | Path]
"""`FILE` or `FILE:weight`, or several of them."""


@dataclass(frozen=True)
class Lora:
    """A LoRA file and how much of it is added: W + weight * B A."""

    path: Path
    weight: float = 1.0

    def __str__(self) -> str:
        return f"{self.path}:{self.weight:g}"


def read_loras(named: Named | None, scale: float | None = None) -> tuple[Lora, ...]:
    """The LoRAs of `FILE[:weight]`; scale: the weight of those that say none, 1 by default.

    Raises UsageError for a scale without a LoRA, WeightsError for what is not there or no .safetensors file.
    """
    several = [] if named is None else [named] if isinstance(named, str | Path) else list(named)
    if not several and scale is not None:
        raise UsageError("lora_scale has no LoRA to scale.", hint="Give lora: a .safetensors file.")
    return tuple(_read(one, 1.0 if scale is None else scale) for one in several)


def _read(named: str | Path, scale: float) -> Lora:
    text = str(named)
    head, colon, tail = text.rpartition(":")
    if colon and head and not user_path(text).is_file():
        try:
            text, scale = head, float(tail)
        except ValueError:
            pass  # the colon belongs to the name
    if not -1e3 <= scale <= 1e3:
        raise UsageError(
            f"{text}: a LoRA cannot be weighted by {scale}.", hint="For example: style.safetensors:0.8"
        )
    path = user_path(text)
    if not path.is_file():
        raise MissingWeightsError(f"No LoRA at {path}.", hint="Give a .safetensors file, or FILE:weight.")
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path} is not a .safetensors file.", hint="Convert it where you trust it.")
    return Lora(path, scale)


def merge_loras(pipeline: Any, loras: Sequence[Lora], what: str) -> None:
    """Merge LoRAs into network and text encoders of a diffusers pipeline, one after the other.

    what: the kind of backbone, for errors. Raises WeightsError for a file that is no LoRA of it.
    """
    for lora in loras:
        try:
            if (whole := _with_outputs(lora.path)) is not None:
                pipeline.load_lora_weights(whole)
            else:
                pipeline.load_lora_weights(
                    str(lora.path.parent), weight_name=lora.path.name, local_files_only=True
                )
            if not pipeline.get_list_adapters():
                raise ValueError("it has no layer of this model")
            pipeline.fuse_lora(components=list(pipeline.get_list_adapters()), lora_scale=lora.weight)
            pipeline.unload_lora_weights()
        except Exception as error:  # of diffusers, peft and torch alike; the cause stays attached
            raise WeightsError(
                f"{lora.path} could not be read as a LoRA of this {what}: {first_line(error)}.",
                hint=f"Give a LoRA that was trained on {what}.",
            ) from error


def _with_outputs(path: Path) -> dict[str, Any] | None:
    """The tensors of a kohya file that lets the output maps of a text encoder's attention be.

    diffusers knows the layout of a text encoder's LoRA by its `out_proj`. A map of zeros is one that changes
    nothing. None for every other file.
    """
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        firsts: dict[str, str] = {}
        for name in sorted(names):
            if found := re.fullmatch(r"(lora_te\d?)_.*_(?:[qkv]_proj|fc1)\.lora_down\.weight", name):
                firsts.setdefault(found[1], name)
        without = {
            encoder: first
            for encoder, first in firsts.items()
            if not any(name.startswith(f"{encoder}_") and "out_proj.lora_down" in name for name in names)
        }
        if not without:
            return None
        state = {name: file.get_tensor(name) for name in names}
    for encoder, first in without.items():
        down = state[first]
        layer = re.match(rf"{encoder}_.*?_layers_\d+", first)
        if layer is not None:
            out = f"{layer[0]}_self_attn_out_proj"
            state[f"{out}.lora_down.weight"] = down.new_zeros(down.shape)
            state[f"{out}.lora_up.weight"] = down.new_zeros(down.shape[::-1])
            state[f"{out}.alpha"] = down.new_tensor(float(down.shape[0]))
    return state
