"""A pipeline from a folder, the hub, a single file, or the shipped pocket models, as a `Backbone`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from methods.backbone.backbone import Backbone, Defaults
from methods.backbone.device import Placement
from methods.backbone.families.reading import first_line
from methods.backbone.families.registry import LoadOptions, family_of
from methods.backbone.lora import Named as Loras
from methods.backbone.lora import read_loras
from methods.backbone.source import fingerprint, locate
from methods.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from torch.nn.attention import SDPBackend

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
ATTENTION_BACKENDS = {  # diffusers' names of torch's kernels
    "native": None,
    "_native_cudnn": "CUDNN_ATTENTION",
    "_native_efficient": "EFFICIENT_ATTENTION",
    "_native_flash": "FLASH_ATTENTION",
    "_native_math": "MATH",
}
_PIXEL_OPTIONS = ("quantize", "text_length")
"""Options of a family that decide what a backbone computes, as its files do."""


def load_backbone(
    name_or_path: str | Path = "pocket",
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device = "auto",
    revision: str | None = None,
    config: str | Path | None = None,
    cpu_offload: bool = False,
    vae_slicing: bool = False,
    vae_tiling: bool = False,
    attention_backend: str | None = None,
    compile: bool = False,
    group_offload: bool = False,
    quantize: str | None = None,
    text_length: int | None = None,
    lora: Loras | None = None,
    lora_scale: float | None = None,
) -> Backbone:
    """Load a text-to-image pipeline of any family (see `methods.backbone.families.registry`).

    name_or_path: `pocket`, a folder in diffusers layout, a `.safetensors` file, or a hub id
    dtype:        `float32`, `float16`, `bfloat16`; `auto` is float32 on a CPU and bfloat16 elsewhere
    device:       `auto` is CUDA where there is one, else the CPU
    revision:     hub branch, tag or commit; the commit it resolves to is recorded in `origin`
    config:       for a single file: folder in diffusers layout that holds the configurations (needed
                  offline), and for a FLUX transformer everything else
    cpu_offload:  modules visit the device only while they work
    attention_backend: one of `ATTENTION_BACKENDS`

    For families that take them (`Family.options`):

    group_offload: the network's layers visit the device one by one; the other models as with `cpu_offload`
    quantize:     `nf4`, `fp8` or `gguf`
    text_length:  tokens that T5 pads or cuts a prompt to, at most 512
    lora:         .safetensors files in a layout that diffusers reads, merged into the weights: FILE or
                  FILE:weight, one or several
    lora_scale:   weight of those that say none, 1 by default

    Raises WeightsError (one line, naming the path expected) when something is missing or unreadable,
    UsageError for an option that does not exist or does not fit the source.
    """
    name = str(name_or_path)
    on = device_of(device)
    kind = _dtype(dtype, on)
    sdpa = _sdpa(attention_backend)
    source = locate(name, revision)
    if revision is not None and source.commit is None:
        raise UsageError(f"The backbone {name} has no revision {revision!r}.", hint="Only hub ids have some.")
    if config is not None and source.folder is not None:
        raise UsageError(
            f"The backbone {name} has configurations of its own.",
            hint="--backbone-config is for a single .safetensors file.",
        )
    family = family_of(source.pipeline, name)
    wanted: dict[str, Any] = {
        "group_offload": group_offload,
        "quantize": quantize,
        "text_length": text_length,
        "lora": read_loras(lora, lora_scale) or None,
    }
    for option, value in wanted.items():
        if value not in (None, False) and option not in family.options:
            raise UsageError(
                f"The backbone {name} takes no {option}.",
                hint="Leave it out; spid generate --help says who does.",
            )
    placement = Placement(on, cpu_offload or group_offload)
    asked: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    parts = family.load(source, LoadOptions(kind, placement, config, **asked))
    decisive = {name: wanted[name] for name in _PIXEL_OPTIONS} | (
        {"lora_scale": [one.weight for one in wanted["lora"]]} if wanted["lora"] else {}
    )
    backbone = Backbone(
        name=name,
        family=parts.family,
        fingerprint=fingerprint(source, parts.files, decisive),
        denoiser=parts.denoiser,
        noise=parts.noise,
        text=parts.text,
        vae=parts.vae,
        defaults=Defaults(parts.steps, parts.guidance, parts.scheduler),
        default_size=parts.default_size,
        dtype=kind,
        placement=placement,
        loader=type(family),
        face_encoder=parts.face_encoder,
        vae_slicing=vae_slicing,
        sdpa=sdpa,
        origin={
            "revision": source.commit,
            "config": None if config is None else str(config),
            "cpu_offload": cpu_offload,
            "vae_slicing": vae_slicing,
            "vae_tiling": vae_tiling,
            "attention_backend": attention_backend,
            "compile": compile,
            **{
                option: [str(one) for one in value] if isinstance(value, tuple) else value
                for option, value in wanted.items()
                if value not in (None, False)
            },
        },
    )
    for module in backbone.modules:
        module.requires_grad_(False).eval()
        if not placement.offload:
            module.to(on)
    if vae_tiling:
        backbone.vae.enable_tiling()
    if compile:
        backbone.denoiser.compile()
    return backbone


def device_of(device: str | torch.device) -> torch.device:
    """The device of a name as `load_backbone` takes it. Raises UsageError for one that cannot be used."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise unknown_name("device", str(device), ["auto", "cpu", "cuda", "cuda:1", "mps"]) from error
    try:
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"The device {str(device)!r} cannot be used: {first_line(error)}.", hint="Try --device cpu."
        ) from error
    return chosen


def _dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, ["auto", *DTYPES])
    return DTYPES[dtype]


def _sdpa(name: str | None) -> SDPBackend | None:
    from torch.nn.attention import SDPBackend

    if name is None:
        return None
    if name not in ATTENTION_BACKENDS:
        raise unknown_name("attention backend", name, ATTENTION_BACKENDS)
    kernel = ATTENTION_BACKENDS[name]
    return None if kernel is None else getattr(SDPBackend, kernel)
