"""LoRAs merged into a backbone's weights when it is loaded, by diffusers' loader, in all names it reads."""

from __future__ import annotations

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
