"""The pipelines around a U-Net: Stable Diffusion 1 and 2, SDXL and pocket, from a folder or a single file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from methods.backbone.families.imports import prepare_imports
from methods.backbone.families.reading import (
    configuration,
    damaged,
    first_line,
    quiet_loading,
    without_shard_bars,
)
from methods.backbone.families.registry import LoadOptions, Parts, Source
from methods.backbone.families.unet import UNetDenoiser
from methods.backbone.lora import Lora, merge_loras
from methods.backbone.noise import Diffusion
from methods.backbone.text import ClipEncoder
from methods.errors import WeightsError, unknown_name

_DEFAULTS = {"pocket": (25, 4.0), "sd1": (30, 7.5), "sd2": (30, 7.5), "sdxl": (30, 5.0)}
"""Steps and guidance."""


class _Models(NamedTuple):
    """What a pipeline consists of; scheduler and model_index are configurations, again loads text_models."""

    unet: Any
    vae: Any
    text_models: tuple[Any, ...]
    tokenizers: tuple[Any, ...]
    scheduler: dict[str, Any]
    model_index: dict[str, Any]
    again: Callable[[], tuple[Any, ...]] | None = None


class StableDiffusion:
    """The family of U-Nets that read text by cross-attention."""

    names = tuple(_DEFAULTS)
    pipelines = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
    components = (
        "unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler",
    )  # fmt: skip
    options = ("lora",)

    def load(self, source: Source, options: LoadOptions) -> Parts:
        prepare_imports()
        if source.folder is not None:
            models = _from_folder(source.folder, source.variant, options.dtype)
        else:
            models = _from_file(source.files[0], options)
        if options.lora:
            _merge(models, options.lora)
        shipped = configuration(source.folder / "spid.json") if source.folder else {}
        family = _family(models.unet, shipped)
        noise = Diffusion(models.scheduler)
        scheduler = shipped.get("scheduler") or noise.default
        if scheduler not in noise.samplers:
            raise unknown_name(f"scheduler in {source.folder}/spid.json", scheduler, noise.samplers)
        steps, guidance = _DEFAULTS[family]
        factor = 2 ** (len(models.vae.config.block_out_channels) - 1)
        side = models.unet.config.sample_size
        height, width = (side, side) if isinstance(side, int) else side
        return Parts(
            family=family,
            denoiser=UNetDenoiser(models.unet, factor),
            noise=noise,
            text=ClipEncoder(
                tokenizers=models.tokenizers,
                models=models.text_models,
                placement=options.placement,
                again=None if options.lora else models.again,
                zero_empty_negative=family == "sdxl"
                and models.model_index.get("force_zeros_for_empty_prompt", True),
            ),
            vae=models.vae,
            default_size=(width * factor, height * factor),
            steps=int(shipped.get("steps", steps)),
            guidance=float(shipped.get("guidance", guidance)),
            scheduler=scheduler,
            face_encoder="pocket" if family == "pocket" else None,
            files=tuple(lora.path for lora in options.lora),
        )


FAMILY = StableDiffusion()


def _merge(models: _Models, loras: Sequence[Lora]) -> None:
    """Merge LoRAs into the U-Net, and the text encoders where they have some."""
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    parts: dict[str, Any] = dict(
        vae=models.vae, text_encoder=models.text_models[0], tokenizer=None, unet=models.unet, scheduler=None
    )
    if len(models.text_models) > 1:
        pipeline: Any = StableDiffusionXLPipeline(
            **parts, text_encoder_2=models.text_models[1], tokenizer_2=None
        )
    else:
        pipeline = StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    merge_loras(pipeline, loras, "Stable Diffusion")


def _from_folder(folder: Path, variant: str | None, dtype: torch.dtype) -> _Models:
    """The parts of a folder in diffusers layout."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTokenizer

    index = configuration(folder / "model_index.json")
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "variant": variant}
    present = [one for one in ("", "_2") if (index.get(f"text_encoder{one}") or [None])[0] is not None]
    encoders = partial(_encoders, folder, present, dtype, options)
    try:
        with without_shard_bars():
            unet = UNet2DConditionModel.from_pretrained(
                folder, subfolder="unet", torch_dtype=dtype, **options
            )
        vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=dtype, **options)
        text_models = encoders()
        tokenizers = tuple(
            CLIPTokenizer.from_pretrained(folder / f"tokenizer{one}", local_files_only=True)
            for one in present
        )
        scheduler = configuration(folder / "scheduler" / "scheduler_config.json")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise damaged(folder, error) from error
    return _Models(unet, vae, text_models, tokenizers, scheduler, index, encoders)


def _encoders(
    folder: Path, present: Sequence[str], dtype: torch.dtype, options: Mapping[str, Any]
) -> tuple[Any, ...]:
    """The text encoders; present: suffixes of their folders."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    kinds = {"": CLIPTextModel, "_2": CLIPTextModelWithProjection}
    with quiet_loading():
        return tuple(
            kinds[one].from_pretrained(folder / f"text_encoder{one}", dtype=dtype, **options)
            for one in present
        )


def _from_file(path: Path, options: LoadOptions) -> _Models:
    """The same from one checkpoint file in the original layout, through diffusers' own converter."""
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            xl = any(key.startswith("conditioner.embedders.1.") for key in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from error
    pipeline_class = StableDiffusionXLPipeline if xl else StableDiffusionPipeline
    given: dict[str, Any] = {}
    if options.config is not None:
        given = {"config": str(options.config), "local_files_only": True}
    if not xl:
        given["safety_checker"] = None
    try:
        pipeline = pipeline_class.from_single_file(str(path), torch_dtype=options.dtype, **given)
    except Exception as error:  # hub, conversion and shape errors alike; the cause stays attached
        raise WeightsError(
            f"{path} could not be read as a single-file checkpoint: {first_line(error)}.",
            hint="Offline, give `config`: a folder in diffusers layout with the same configurations.",
        ) from error
    text = (pipeline.text_encoder, pipeline.text_encoder_2) if xl else (pipeline.text_encoder,)
    tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2) if xl else (pipeline.tokenizer,)
    scheduler = {"_class_name": type(pipeline.scheduler).__name__, **pipeline.scheduler.config}
    return _Models(pipeline.unet, pipeline.vae, text, tokenizers, scheduler, dict(pipeline.config))


def _family(unet: Any, shipped: dict[str, Any]) -> str:
    if "spid_family" in shipped:
        if shipped["spid_family"] != "pocket":
            raise WeightsError(
                f"spid.json names an unknown family {shipped['spid_family']!r}.", hint="Remove spid.json."
            )
        return "pocket"
    if unet.config.addition_embed_type == "text_time":
        return "sdxl"
    return "sd2" if unet.config.use_linear_projection else "sd1"
