"""A pipeline from a folder, the hub, a single file, or the shipped pocket models, as a `Backbone`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from methods.backbone.backbone import Backbone, Defaults, Family
from methods.backbone.schedulers import SCHEDULERS, default_scheduler
from methods.backbone.sites import enumerate_sites
from methods.backbone.source import Source, fingerprint, locate
from methods.backbone.text import TextEncoder
from methods.errors import MissingDependencyError, UsageError, WeightsError, unknown_name
from methods.textfile import read_json

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
_FAMILY_DEFAULTS: dict[Family, tuple[int, float]] = {  # steps, guidance
    "pocket": (25, 4.0),
    "sd1": (30, 7.5),
    "sd2": (30, 7.5),
    "sdxl": (30, 5.0),
}


class Parts(NamedTuple):
    """What a pipeline consists of; scheduler and model_index are configurations."""

    unet: Any
    vae: Any
    text_models: tuple[Any, ...]
    tokenizers: tuple[Any, ...]
    scheduler: dict[str, Any]
    model_index: dict[str, Any]


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
) -> Backbone:
    """Load a U-Net text-to-image pipeline: SD 1.x, SD 2.x, SDXL or pocket.

    name_or_path: `pocket`, a folder in diffusers layout, a `.safetensors` file, or a hub id
    dtype:        `float32`, `float16`, `bfloat16`; `auto` is float32 on a CPU and bfloat16 elsewhere
    device:       `auto` is CUDA where there is one, else the CPU
    revision:     hub branch, tag or commit; the commit it resolves to is recorded in `origin`
    config:       for a single file: folder in diffusers layout that holds the configurations (needed offline)
    cpu_offload:  modules visit the device only while they work
    attention_backend: one of `ATTENTION_BACKENDS`

    Raises WeightsError (one line, naming the path expected) when something is missing or unreadable,
    UsageError for an option that does not exist or does not fit the source.
    """
    name = str(name_or_path)
    on = _device(device)
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
    if source.folder is not None:
        parts = _load_folder(source, kind)
    else:
        parts = _load_single_file(source, kind, config)
    unet, vae, text_models, tokenizers, scheduler_config, index = parts
    shipped = _read_json(source.folder / "spid.json") if source.folder else {}
    family = _family(unet, shipped)
    for module in (unet, vae, *text_models):
        module.requires_grad_(False).eval()
        if not cpu_offload:
            module.to(on)
    if vae_tiling:
        vae.enable_tiling()
    if compile:
        unet.compile_repeated_blocks()

    steps, guidance = _FAMILY_DEFAULTS[family]
    scheduler = shipped.get("scheduler") or default_scheduler(scheduler_config)
    if scheduler not in SCHEDULERS:
        raise unknown_name(f"scheduler in {source.folder}/spid.json", scheduler, SCHEDULERS)
    side = unet.config.sample_size
    height, width = (side, side) if isinstance(side, int) else side
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    return Backbone(
        name=name,
        family=family,
        fingerprint=fingerprint(source),
        unet=unet,
        vae=vae,
        text=TextEncoder(
            tokenizers=tokenizers,
            models=text_models,
            device=on,
            offload=cpu_offload,
            zero_empty_negative=family == "sdxl" and index.get("force_zeros_for_empty_prompt", True),
        ),
        scheduler_config=scheduler_config,
        sites=enumerate_sites(unet),
        defaults=Defaults(
            steps=int(shipped.get("steps", steps)),
            guidance=float(shipped.get("guidance", guidance)),
            scheduler=scheduler,
        ),
        default_size=(width * factor, height * factor),
        device=on,
        dtype=kind,
        offload=cpu_offload,
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
        },
    )


def _load_folder(source: Source, dtype: torch.dtype) -> Parts:
    """The parts of a folder in diffusers layout."""
    _prepare_imports()
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    folder = source.folder
    assert folder is not None
    index = _read_json(folder / "model_index.json")
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "variant": source.variant}
    text_models, tokenizers = [], []
    try:
        unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=dtype, **options)
        vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=dtype, **options)
        for suffix, text_class in (("", CLIPTextModel), ("_2", CLIPTextModelWithProjection)):
            if (index.get(f"text_encoder{suffix}") or [None])[0] is None:
                continue
            text_folder, token_folder = folder / f"text_encoder{suffix}", folder / f"tokenizer{suffix}"
            with _no_progress_bar():
                text_models.append(text_class.from_pretrained(text_folder, dtype=dtype, **options))
            tokenizers.append(CLIPTokenizer.from_pretrained(token_folder, local_files_only=True))
        scheduler = _read_json(folder / "scheduler" / "scheduler_config.json")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _unreadable(folder, error) from error
    return Parts(unet, vae, tuple(text_models), tuple(tokenizers), scheduler, index)


def _load_single_file(source: Source, dtype: torch.dtype, config: str | Path | None) -> Parts:
    """The same from one checkpoint file in the original layout, through diffusers' own converter."""
    _prepare_imports()
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
    from safetensors import SafetensorError, safe_open

    path = source.files[0]
    try:
        with safe_open(path, framework="pt") as file:
            xl = any(key.startswith("conditioner.embedders.1.") for key in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    pipeline_class = StableDiffusionXLPipeline if xl else StableDiffusionPipeline
    options = {"config": str(config), "local_files_only": True} if config is not None else {}
    if not xl:
        options["safety_checker"] = None
    try:
        pipeline = pipeline_class.from_single_file(str(path), torch_dtype=dtype, **options)
    except Exception as error:  # hub, conversion and shape errors alike; the cause stays attached
        raise WeightsError(
            f"{path} could not be read as a single-file checkpoint: {_first_line(error)}.",
            hint="Offline, give `config`: a folder in diffusers layout with the same configurations.",
        ) from error
    text = (pipeline.text_encoder, pipeline.text_encoder_2) if xl else (pipeline.text_encoder,)
    tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2) if xl else (pipeline.tokenizer,)
    scheduler = {"_class_name": type(pipeline.scheduler).__name__, **pipeline.scheduler.config}
    return Parts(pipeline.unet, pipeline.vae, text, tokenizers, scheduler, dict(pipeline.config))


def _family(unet: Any, shipped: dict[str, Any]) -> Family:
    if "spid_family" in shipped:
        if shipped["spid_family"] != "pocket":
            raise WeightsError(
                f"spid.json names an unknown family {shipped['spid_family']!r}.", hint="Remove spid.json."
            )
        return "pocket"
    if unet.config.addition_embed_type == "text_time":
        return "sdxl"
    return "sd2" if unet.config.use_linear_projection else "sd1"


def _prepare_imports() -> None:
    try:
        from methods.compat import ensure_torchvision

        ensure_torchvision()
        # where it is installed, diffusers imports it, and it warns of a 4-bit kernel that nobody here uses
        logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
        import diffusers  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"A library of the backbone does not import: {error}.", hint="pip install diffusers transformers"
        ) from error


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Without transformers' bar for loading a few tensors."""
    from transformers.utils import logging as settings

    shown = settings.is_progress_bar_enabled()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            settings.enable_progress_bar()


def _device(device: str | torch.device) -> torch.device:
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
            f"The device {str(device)!r} cannot be used: {_first_line(error)}.", hint="Try --device cpu."
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


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    return read_json(path, error=WeightsError, hint="Download or copy it again.")


def _unreadable(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path} is incomplete or damaged: {_first_line(error)}.", hint="Download or copy it again."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
