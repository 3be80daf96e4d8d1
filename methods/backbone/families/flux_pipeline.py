"""The pipeline around a FLUX.1 transformer: a folder in diffusers layout, or a file beside the rest."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from methods.backbone.families.flux_text import FluxText
from methods.backbone.families.imports import prepare_imports
from methods.backbone.families.reading import (
    configuration,
    damaged,
    first_line,
    quiet_loading,
    without_shard_bars,
)
from methods.backbone.families.registry import LoadOptions, Parts, Source
from methods.backbone.lora import Lora, merge_loras
from methods.backbone.noise import RectifiedFlow
from methods.errors import MissingDependencyError, MissingWeightsError, UsageError, WeightsError, unknown_name
from methods.paths import user_path

QUANTISATIONS = ("nf4", "fp8", "gguf")
"""nf4: 4 bits by bitsandbytes; fp8: weights rest in float8, compute in the dtype; gguf: as its file says."""

MAX_TEXT = 512
_REST = {
    "vae": "the autoencoder",
    "text_encoder": "CLIP",
    "tokenizer": "CLIP's tokenizer",
    "text_encoder_2": "T5",
    "tokenizer_2": "T5's tokenizer",
    "scheduler": "the scheduler",
}
_LIBRARIES = {"nf4": "bitsandbytes", "gguf": "gguf"}
_DEFAULTS = {True: (28, 3.5), False: (4, 0.0)}
"""Steps and guidance of dev, whose network reads a guidance scale, and of schnell, whose reads none."""


class Flux:
    """The family of FLUX.1: dev, schnell, krea-dev, and miniatures of the same shape."""

    names = ("flux", "pocket-flux")
    pipelines = ("FluxPipeline",)
    components = ("transformer", *_REST)
    options = ("group_offload", "quantize", "text_length", "lora")

    def load(self, source: Source, options: LoadOptions) -> Parts:
        file = source.files[0] if source.folder is None else None
        check_quantisation(options.quantize, file, options.placement.device)
        folder = _rest(source, options)
        check_parts(folder, with_transformer=source.folder is not None)
        shipped = _shipped(folder)
        length = shipped.get("max_sequence_length", MAX_TEXT)
        length = length if options.text_length is None else options.text_length
        if not 1 <= length <= MAX_TEXT:
            raise UsageError(f"T5 cannot read {length} tokens.", hint=f"Give 1 to {MAX_TEXT}.")
        if options.lora and options.quantize is not None:
            raise UsageError(
                "A LoRA cannot be merged into quantised weights.", hint="Leave out quantize, or the LoRA."
            )
        prepare_imports()
        from methods.backbone.families.flux import FluxDenoiser  # diffusers, which is only now importable

        if source.folder is not None:
            transformer = _transformer_of_folder(folder, source.variant, options)
        else:
            transformer = _transformer_of_file(source.files[0], folder, options)
        vae, text, scheduler = _others(folder, source.variant, options, length)
        if options.lora:
            merge(transformer, text.models[0], options.lora)
        if options.group_offload:
            group_offload(transformer, options)
        steps, guidance = _DEFAULTS[transformer.config.guidance_embeds]
        factor = 2 ** (len(vae.config.block_out_channels) - 1)
        side = int(shipped.get("size", 128 * factor))
        pocket = bool(shipped)
        denoiser = FluxDenoiser(
            transformer, text_tokens=length, cell_pixels=factor, placed=options.group_offload
        )
        return Parts(
            family="pocket-flux" if pocket else "flux",
            denoiser=denoiser,
            noise=RectifiedFlow(scheduler, dtype=options.dtype),
            text=text,
            vae=vae,
            default_size=(side, side),
            steps=int(shipped.get("steps", steps)),
            guidance=float(shipped.get("guidance", guidance)),
            scheduler="euler",
            face_encoder="pocket" if pocket else None,
            files=_files_beside(source, folder, options.lora),
        )


FAMILY = Flux()


def check_quantisation(quantize: str | None, file: Path | None, device: torch.device) -> None:
    """Raise UsageError for a quantisation that does not fit, MissingDependencyError without its library.

    file: the transformer's single file, if it comes from one
    """
    if quantize is not None and quantize not in QUANTISATIONS:
        raise unknown_name("quantisation", quantize, QUANTISATIONS)
    is_gguf = file is not None and file.suffix == ".gguf"
    if quantize == "gguf" and not is_gguf:
        raise UsageError("--quantize gguf reads a file that is quantised already.", hint="Give a .gguf file.")
    if is_gguf and quantize not in (None, "gguf"):
        raise UsageError(
            f"{file} is quantised already, --quantize {quantize} does not apply.", hint="Leave the flag out."
        )
    library = _LIBRARIES.get("gguf" if is_gguf else quantize or "")
    if library is not None and importlib.util.find_spec(library) is None:
        raise MissingDependencyError(
            f"{'A .gguf file' if is_gguf else f'--quantize {quantize}'} needs the library {library}.",
            hint='pip install "spid[quantize]"',
        )
    if quantize == "nf4" and device.type == "cpu":
        raise UsageError("--quantize nf4 quantises on a GPU.", hint="Give --device cuda, or --quantize fp8.")


def _shipped(folder: Path) -> dict[str, Any]:
    """What spid.json says of a miniature: `size`, `steps`, `guidance`, `max_sequence_length`; {} without one.

    Raises WeightsError for another family's, and for numbers that are none.
    """
    shipped = configuration(folder / "spid.json")
    if not shipped:
        return {}
    if shipped.get("spid_family") != "pocket-flux":
        raise WeightsError(
            f"{folder / 'spid.json'} names an unknown family {shipped.get('spid_family')!r}.",
            hint="Remove spid.json.",
        )
    for name in ("size", "steps", "max_sequence_length"):
        if name in shipped and (type(shipped[name]) is not int or shipped[name] < 1):
            raise WeightsError(
                f"{folder / 'spid.json'}: {name} is {shipped[name]!r}, not a whole number.",
                hint="Remove spid.json, or copy it again.",
            )
    return shipped


def check_parts(folder: Path, *, with_transformer: bool) -> None:
    """Raise MissingWeightsError for the first part of a FLUX folder that is missing, before any is loaded."""
    wanted = ({"transformer": "the transformer"} if with_transformer else {}) | _REST
    for name, what in wanted.items():
        part = folder / name
        if name.startswith("tokenizer"):
            found = any((part / file).is_file() for file in ("tokenizer.json", "vocab.json", "spiece.model"))
        elif name == "scheduler":
            found = (part / "scheduler_config.json").is_file()
        else:
            found = (part / "config.json").is_file() and any(part.glob("*.safetensors"))
        if not found:
            raise MissingWeightsError(
                f"{folder} is not a complete FLUX pipeline: {what} is missing, expected in {part}.",
                hint="Download the whole pipeline, or copy the part (.safetensors) from another FLUX.1.",
            )


def _rest(source: Source, options: LoadOptions) -> Path:
    """The folder with everything but the transformer."""
    if source.folder is not None:
        return source.folder
    if options.config is None:
        raise UsageError(
            f"{source.files[0]} is a FLUX transformer without text encoders and VAE.",
            hint="Give --backbone-config: a FLUX.1 folder in diffusers layout for the rest.",
        )
    return user_path(options.config)


def _transformer_of_folder(folder: Path, variant: str | None, options: LoadOptions) -> Any:
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

    given: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "variant": variant}
    if options.quantize == "nf4":
        from diffusers import BitsAndBytesConfig

        given["quantization_config"] = BitsAndBytesConfig(**_nf4(options.dtype))
    try:
        with without_shard_bars():
            transformer = FluxTransformer2DModel.from_pretrained(
                folder, subfolder="transformer", torch_dtype=options.dtype, **given
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise damaged(folder / "transformer", error) from error
    except ImportError as error:  # a folder that is quantised already
        raise MissingDependencyError(
            f"{folder / 'transformer'} needs a library: {first_line(error)}.",
            hint='pip install "spid[quantize]"',
        ) from error
    if options.quantize == "fp8":
        transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=options.dtype)
    return transformer


def _transformer_of_file(path: Path, folder: Path, options: LoadOptions) -> Any:
    """The transformer from one file, in the original or in diffusers' layout, through diffusers' converter.

    Its configuration is the folder's, if that has one, or else the one shipped here: those of FLUX.1 differ
    in nothing but the guidance embedding.
    """
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

    own = folder / "transformer"
    config = own if (own / "config.json").is_file() else Path(__file__).with_name("flux_transformer")
    given: dict[str, Any] = {"config": str(config), "local_files_only": True, "torch_dtype": options.dtype}
    if path.suffix == ".gguf":
        from diffusers import GGUFQuantizationConfig

        given["quantization_config"] = GGUFQuantizationConfig(compute_dtype=options.dtype)
    elif options.quantize == "nf4":
        from diffusers import BitsAndBytesConfig

        given["quantization_config"] = BitsAndBytesConfig(**_nf4(options.dtype))
    try:
        from diffusers.loaders.single_file_utils import load_single_file_checkpoint

        state = load_single_file_checkpoint(str(path), local_files_only=True)
        embeds = any("guidance_in." in key or "guidance_embedder." in key for key in state)
        transformer = FluxTransformer2DModel.from_single_file(state, guidance_embeds=embeds, **given)
    except Exception as error:  # conversion, shape and file errors alike; the cause stays attached
        raise WeightsError(
            f"{path} could not be read as a FLUX.1 transformer: {first_line(error)}.",
            hint="Give a FLUX.1 transformer (dev, schnell, krea-dev), and a FLUX.1 folder for the rest.",
        ) from error
    if options.quantize == "fp8":
        transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=options.dtype)
    return transformer


def _others(
    folder: Path, variant: str | None, options: LoadOptions, length: int
) -> tuple[Any, FluxText, dict[str, Any]]:
    """VAE, text encoders, and the scheduler's configuration."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from transformers import CLIPTokenizer, T5TokenizerFast

    given: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "variant": variant}
    try:
        vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=options.dtype, **given)
        tokenizers = (
            CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
            T5TokenizerFast.from_pretrained(folder / "tokenizer_2", local_files_only=True),
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise damaged(folder, error) from error
    load = partial(_encoders, folder, variant, options)
    # a LoRA is merged into CLIP together with the transformer
    text = FluxText(tokenizers, load(), options.placement, length, again=None if options.lora else load)
    return vae, text, configuration(folder / "scheduler" / "scheduler_config.json")


def _encoders(folder: Path, variant: str | None, options: LoadOptions) -> tuple[Any, Any]:
    """CLIP and T5."""
    from transformers import CLIPTextModel, T5EncoderModel

    given: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "variant": variant}
    quantised: dict[str, Any] = {}
    if options.quantize == "nf4":
        from transformers import BitsAndBytesConfig

        quantised["quantization_config"] = BitsAndBytesConfig(**_nf4(options.dtype))
    try:
        with quiet_loading():
            clip = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=options.dtype, **given)
            t5 = T5EncoderModel.from_pretrained(
                folder / "text_encoder_2", dtype=options.dtype, **given, **quantised
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise damaged(folder, error) from error
    if options.quantize == "fp8":
        from diffusers.hooks import apply_layerwise_casting

        apply_layerwise_casting(
            t5, torch.float8_e4m3fn, options.dtype, skip_modules_pattern=("norm", "shared", "embed", "wo")
        )  # T5 casts what enters `wo` to the dtype its weight rests in
    return clip, t5


def merge(transformer: Any, clip: Any, loras: Sequence[Lora]) -> None:
    """Merge LoRAs into the transformer, and CLIP where they have some."""
    from diffusers import FluxPipeline

    pipeline = FluxPipeline(
        scheduler=None,
        vae=None,
        text_encoder=clip,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=transformer,
    )
    merge_loras(pipeline, loras, "FLUX.1")


def group_offload(transformer: Any, options: LoadOptions) -> None:
    """Let the layers visit the device one by one; on CUDA the next is copied while one computes."""
    device = options.placement.device
    transformer.requires_grad_(False).eval()
    transformer.enable_group_offload(
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=device.type == "cuda",
    )


def _files_beside(source: Source, folder: Path, loras: Sequence[Lora]) -> tuple[Path, ...]:
    """Files beside the source's own that decide the pictures: the rest beside a transformer, the LoRA."""
    rest: list[Path] = []
    if source.folder is None:
        for part in _REST:
            rest += [path for path in sorted((folder / part).glob("*")) if path.is_file()]
    return (*rest, *(lora.path for lora in loras))


def _nf4(dtype: torch.dtype) -> dict[str, Any]:
    return {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
