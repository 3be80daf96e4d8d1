"""Where a backbone lies, and what it consists of."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from methods.backbone.families.reading import configuration, damaged
from methods.backbone.families.registry import Source, family_of
from methods.errors import MissingWeightsError, SpidError, UsageError, WeightsError
from methods.files import save_json
from methods.paths import cache_dir, configs_dir, hub_folder, pocket_dir, refuse_address, user_path
from methods.shipped import SHIPPED, is_pocket
from methods.textfile import read_json

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone

_FLUX_TENSORS = ("double_blocks.", "single_transformer_blocks.")  # in the original layout, in diffusers'
_HUB_ID = re.compile(r"[\w-]+(\.[\w-]+)*/[\w.-]+")
_NO_ENCODER = "Give --face-encoder, for instance insightface:buffalo_l."
_REMEMBER_FROM = 64 * 2**20  # bytes; smaller files are hashed anew each time


def check_there(name: str) -> None:
    """Raise MissingWeightsError for a name that can be no pipeline: no file or folder here, and no hub id;
    UsageError for a web address."""
    refuse_address(name)
    path = user_path(name)
    if name not in SHIPPED and not path.exists() and not _HUB_ID.fullmatch(name):
        known = sorted({*SHIPPED, *(file.stem for file in (configs_dir() / "backbones").glob("*.yaml"))})
        near = difflib.get_close_matches(name, known, n=1)
        raise MissingWeightsError(
            f"No backbone at {path.absolute()}.",
            hint=f"Did you mean {near[0]!r}?"
            if near and near[0] != name
            else "Give `pocket`, a folder, a .safetensors file or a hub id.",
        )


def locate(name: str, revision: str | None = None) -> Source:
    """Find a pipeline by name. Raises WeightsError naming the path where it was expected."""
    if name in SHIPPED:
        return _folder(_shipped_folder(name))
    path = user_path(name)
    if path.is_file():
        return Source(folder=None, files=(path,), pipeline=_pipeline_of_file(path))
    if path.is_dir():
        return _folder(path)
    check_there(name)
    return _hub(name, revision)


def _shipped_folder(name: str) -> Path:
    """The folder of a shipped backbone. Raises MissingWeightsError where it is not there."""
    folder = pocket_dir() / SHIPPED[name].folder
    if not (folder / "model_index.json").is_file():
        raise MissingWeightsError(
            f"The weights of the backbone {name} are not here: expected {folder / 'model_index.json'}.",
            hint=f"Take a release that has them, or: python scripts/train_pocket.py {SHIPPED[name].stage}",
        )
    return folder


def own_face_encoder(backbone: str | Backbone, *, hint: str = _NO_ENCODER) -> str:
    """The face encoder that a backbone brings along, by name; one that is not loaded is told by its files.

    Raises UsageError for a backbone without any, MissingWeightsError for one that is not there.
    """
    if not isinstance(backbone, str):
        name, own = backbone.name, backbone.face_encoder
    else:
        name, own = backbone, "pocket" if _is_pocket(backbone) else None
        check_there(name)
    if own is None:
        raise UsageError(f"The backbone {name} has no face encoder of its own.", hint=hint)
    return own


def _is_pocket(name: str) -> bool:
    if name in SHIPPED:
        return True
    try:
        shipped = read_json(user_path(name) / "spid.json")
    except SpidError:
        return False
    return is_pocket(str(shipped.get("spid_family")))


def fingerprint(
    source: Source, others: Sequence[Path] = (), options: Mapping[str, object] | None = None
) -> str:
    """SHA-256 over names and contents of all files of a pipeline.

    others:  files that were read beside them
    options: what else decides what it computes; None among the values says nothing
    """
    root = source.folder or source.files[0].parent
    digest = hashlib.sha256()
    for path in sorted(source.files):
        name = path.relative_to(root).as_posix() if source.folder else "single-file"
        digest.update(f"{name}\0{content_hash(path)}\n".encode())
    for path in others:
        digest.update(f"{path.parent.name}/{path.name}\0{content_hash(path)}\n".encode())
    for name, value in sorted((options or {}).items()):
        if value is not None:
            digest.update(f"{name}={value}\n".encode())
    return digest.hexdigest()


def _pipeline_of_file(path: Path) -> str:
    """The pipeline that a single file belongs to; Stable Diffusion's family tells SDXL itself."""
    if path.suffix == ".gguf":
        return "FluxPipeline"
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{path} is not a .safetensors or .gguf file.", hint="Convert it where you trust it."
        )
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from error
    flux = any(mark in name for name in names for mark in _FLUX_TENSORS)
    return "FluxPipeline" if flux else "StableDiffusionPipeline"


def _folder(folder: Path, commit: str | None = None) -> Source:
    if not (folder / "model_index.json").is_file():
        raise MissingWeightsError(
            f"{folder} is no pipeline: it has no model_index.json.", hint="Give a folder in diffusers layout."
        )
    pipeline = str(configuration(folder / "model_index.json").get("_class_name"))
    parts = family_of(pipeline, str(folder)).components
    files = [path for part in parts for path in sorted((folder / part).glob("*")) if path.is_file()]
    weights = [path for path in files if path.suffix == ".safetensors"]
    if not any(path.parent.name == parts[0] for path in weights):
        raise MissingWeightsError(
            f"No .safetensors weights in {folder / parts[0]}.",
            hint="Convert the pipeline in a trusted environment (save_pretrained writes .safetensors).",
        )
    plain = [path for path in weights if path.stem.count(".") == 0]
    variant = None if any(path.parent.name == parts[0] for path in plain) else "fp16"
    chosen = plain if variant is None else [path for path in weights if f".{variant}" in path.name]
    texts = [path for path in files if path.suffix in (".json", ".txt")]
    own = [path for name in ("model_index.json", "spid.json") if (path := folder / name).is_file()]
    return Source(folder, tuple(own + texts + chosen), pipeline, variant, commit)


def _hub(name: str, revision: str | None) -> Source:
    """A snapshot of a hub repository; half-precision files are fetched only where there are no others."""
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    unwanted = ["*.bin", "*.ckpt", "*.msgpack", "*.onnx", "*.onnx_data", "*non_ema*", "*.xml", "*.pb"]
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    try:
        index = Path(hf_hub_download(name, "model_index.json", revision=revision, local_files_only=offline))
        parts = family_of(str(configuration(index).get("_class_name")), name).components
        wanted = ["model_index.json", *(f"{part}/*" for part in parts)]
        for ignored in ([*unwanted, "*.fp16.*"], unwanted):
            folder = Path(
                snapshot_download(
                    name,
                    revision=revision,
                    allow_patterns=wanted,
                    ignore_patterns=ignored,
                    local_files_only=offline,
                )
            )
            if any((folder / parts[0]).glob("*.safetensors")):
                break
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        why = "the hub is switched off (HF_HUB_OFFLINE)" if offline else "the hub did not give it"
        raise MissingWeightsError(
            f"No folder {name!r} here and no hub model of that name: {why};"
            f" expected {hub_folder(name) / 'snapshots' / (revision or '*')}.",
            hint="Go online once, or pass a folder in diffusers layout.",
        ) from error
    return _folder(folder, commit=folder.name)


def content_hash(path: Path) -> str:
    """SHA-256 of a file; that of a large one is remembered by size and modification time."""
    state = path.stat()
    if state.st_size < _REMEMBER_FROM:
        return _sha256(path)
    store = cache_dir() / "fingerprints.json"
    key = f"{path.resolve()}\0{state.st_size}\0{state.st_mtime_ns}"
    try:
        known = read_json(store)
    except SpidError:
        known = {}
    if not isinstance(known.get(key), str):
        known[key] = _sha256(path)
        save_json(store, known)
    return known[key]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
