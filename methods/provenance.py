"""What made a picture: its job, and everything around it that may change the bits."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from methods.code import code_of
from methods.errors import UsageError
from methods.paths import user_path
from methods.registry import origin
from methods.shipped import SHIPPED

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.contract import Method
    from methods.faces import Face
    from methods.hooks import Identity
    from methods.sampling import Result

SCHEMA = 1
CUT = "prompt truncated"
"""The note of a picture whose prompt is longer than the text encoder reads; it quotes what is left out. The
negative prompt's is called `negative prompt truncated`."""
_LIBRARIES = (
    "torch",
    "diffusers",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "pillow",
    "onnxruntime",
)


def spid_version() -> str:
    """Version of the installed package, `0+source` when it runs from a checkout that was not installed."""
    return library_version("spid") or "0+source"


@cache  # every picture's description asks for all of them
def library_version(name: str) -> str | None:
    """Version of an installed distribution, None if absent."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def library_versions() -> dict[str, str | None]:
    """Versions of Python and of every library a picture passes through; imports none of them."""
    found = {name: library_version(name) for name in _LIBRARIES}
    return {"spid": spid_version(), "python": platform.python_version(), **found}


def loop_code(backbone: Backbone) -> str:
    """Fingerprint of the code that samples on a backbone: the loop, and what loads and runs the model."""
    from methods.backbone.load import load_backbone
    from methods.sampling import iterate_samples

    parts = (backbone, backbone.denoiser, backbone.noise, backbone.text)
    return code_of(iterate_samples, load_backbone, backbone.loader, *map(type, parts))


def method_code(method: type[Method]) -> str:
    """Fingerprint of a method's code; of one that needs somebody, with the way from a picture to a face."""
    from methods.identify import identify

    return code_of(method, identify) if method.info.identity else code_of(method)


@dataclass(frozen=True, eq=False)
class RunDescription:
    """What all pictures of one method in one run share: described once.

    shared:  entries of every description
    backbone, method: asked for what may change during a run, or belongs to one identity
    """

    backbone: Backbone
    method: Method
    shared: Mapping[str, Any]
    _people: dict[int, tuple[Identity, dict[str, Any]]] = field(default_factory=dict)

    def of_identity(self, identity: Identity | None) -> dict[str, Any]:
        """Who is shown, by what encoder, and what was learned about them."""
        if identity is None:
            return _describe_identity(None)
        if id(identity) not in self._people:
            learned = self.method.identity_fingerprint(identity, self.backbone)
            fit = {} if learned is None else {"fit": learned}
            self._people[id(identity)] = (identity, _describe_identity(identity) | fit)
        return self._people[id(identity)][1]


def describe_run(
    backbone: Backbone,
    method: Method,
    *,
    scheduler: str,
    face_select: str,
    batch_size: int,
    adapter: str | os.PathLike[str] | None,
) -> RunDescription:
    """What `describe_picture` adds to every picture of a method; adapter: the weights as they were named.

    Files stand with their content's digest, and by paths that are valid in every working directory.
    """
    recorded = method.record()
    options = {name: _lasting(value) for name, value in dataclasses.asdict(method.config).items()}
    for name, entry in recorded.items():
        if isinstance(entry, Mapping) and "path" in entry:
            recorded[name] = {**entry, "path": portable(entry["path"])}
    shared = {
        "schema": SCHEMA,
        "method": method.info.name,
        "method_package": None if (package := origin(method.info.name)) is None else str(package),
        "method_options": options,
        "method_weights": method.weights_fingerprint(),
        **recorded,
        "adapter": None if adapter is None else portable(adapter),
        "adapter_sha256": None if adapter is None else files_digest(adapter),
        "scheduler": scheduler,
        "backbone": backbone.name if backbone.name in SHIPPED else _lasting(backbone.name),
        "backbone_family": backbone.family,
        "backbone_fingerprint": backbone.fingerprint,
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "device": str(backbone.device),
        "machine": machine(backbone),
        "versions": library_versions(),
        "code": {"loop": loop_code(backbone), "method": method_code(type(method))},
        "face_select": face_select,
        "batch_size": batch_size,
    }
    return RunDescription(backbone, method, shared)


def describe_picture(run: RunDescription, result: Result, prompt: str) -> dict[str, Any]:
    """A finished picture as JSON-able values, for `spid generate` and `spid bench` alike: the same
    description, the same bits.

    prompt: as it was given, with placeholders
    """
    job = result.job
    origin = run.backbone.origin
    return {
        **run.shared,
        "prompt": prompt,
        "prompt_expanded": job.prompt,
        "negative_prompt": job.negative_prompt,
        **run.of_identity(job.identity),
        "seed": job.seed,
        "width": job.width,
        "height": job.height,
        "steps": job.steps,
        "guidance": job.guidance,
        **({} if job.true_cfg == 1.0 else {"true_cfg": job.true_cfg}),
        "id_weight": job.id_weight,
        "id_start": job.id_start,
        "id_end": job.id_end,
        # running out of memory changes it during a run
        "backbone_options": {
            **origin,
            "config": _lasting(origin.get("config")),
            **_loras(origin),
        },
        "status": result.status,
        "notes": dict(result.notes),
    }


def _loras(origin: Mapping[str, Any]) -> dict[str, list[str]]:
    """LoRAs of a backbone by paths that are valid in every working directory."""
    named = (str(one).rpartition(":") for one in origin.get("lora") or ())
    found = [f"{portable(path)}:{weight}" for path, _, weight in named]
    return {"lora": found} if found else {}


def parameters_text(job: Mapping[str, Any]) -> str:
    """The job as the `parameters` text of AUTOMATIC1111, which most picture viewers show."""
    lines = [" ".join(str(job.get("prompt_expanded", "")).split())]
    if job.get("negative_prompt"):
        lines.append(f"Negative prompt: {' '.join(str(job['negative_prompt']).split())}")
    settings = {
        "Steps": job.get("steps"),
        "Sampler": job.get("scheduler"),
        "CFG scale": job.get("guidance"),
        "Seed": job.get("seed"),
        "Size": f"{job.get('width')}x{job.get('height')}",
        "Model": job.get("backbone"),
        "Method": job.get("method"),
        "ID weight": job.get("id_weight"),
        "Version": "spid",
    }
    lines.append(
        ", ".join(f"{name}: {_quoted(value)}" for name, value in settings.items() if value is not None)
    )
    return "\n".join(lines)


def _quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text) if any(mark in text for mark in ",:\n") else text


def named_file(path: str | os.PathLike[str]) -> dict[str, str]:
    """A file that an option names, for `Method.record`: its path and the SHA-256 of its content.

    Raises UsageError when it cannot be read.
    """
    return {"path": str(path), "sha256": files_digest(path)}


def files_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files, hidden ones left out.

    Raises UsageError when something cannot be read.
    """
    from methods.backbone.source import content_hash

    where = user_path(path)
    try:
        if not where.is_dir():
            return content_hash(where)
        files = sorted(
            file
            for file in where.rglob("*")
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(where).parts)
        )
        lines = [f"{file.relative_to(where).as_posix()}\0{content_hash(file)}\n" for file in files]
    except OSError as error:
        raise UsageError(
            f"{where}: cannot be read ({error.strerror or error}).", hint="Check the path."
        ) from error
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def _lasting(value: Any) -> Any:
    """An option that names a file or folder, as `portable`; any other as it is."""
    if not isinstance(value, str) or not re.search(r"[./\\]", value):
        return value
    try:
        there = user_path(value).exists()
    except UsageError:  # words that begin with ~, or are longer than a name
        return value
    return portable(value) if there else value


def portable(path: str | os.PathLike[str]) -> str:
    """A path that is valid in every working directory: absolute, with the user's own folder as `~`."""
    full = Path(os.path.abspath(user_path(path)))
    home = Path.home()
    return f"~/{full.relative_to(home).as_posix()}" if full.is_relative_to(home) else str(full)


def differences(job: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of entries in which two descriptions differ, nested ones with dots; [] promises equal bits."""
    names: list[str] = []
    for name in sorted(job.keys() | other.keys()):
        one, two = job.get(name), other.get(name)
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            names += [f"{name}.{inner}" for inner in differences(one, two)]
        elif one != two:
            names.append(name)
    return names


_NOBODY = {"identity": None, "reference": None, "face": None, "face_encoder": None}


def _describe_identity(identity: Identity | None) -> dict[str, Any]:
    if identity is None:
        return dict(_NOBODY)
    from methods.identify import strangers
    from methods.images import picture_hash

    if identity.members:
        members = [_describe_identity(one) for one in identity.members]
        encoder = members[0]["face_encoder"]
        people = [{key: value for key, value in one.items() if key != "face_encoder"} for one in members]
        return {**_NOBODY, "identity": identity.name, "people": people, "face_encoder": encoder}
    references = [{"path": portable(path), "sha256": picture_hash(path)} for path in identity.pictures]
    more: dict[str, Any] = {}
    if len(references) > 1:
        odd = strangers(identity)
        more["references"] = [
            reference | ({"stranger": True} if path in odd else {})
            for reference, path in zip(references, identity.pictures, strict=True)
        ]
        if identity.faces:
            more["faces"] = [_describe_face(one) for one in identity.faces]
    if identity.region is not None:
        region = identity.region.record()
        more["region"] = region | ({"path": portable(region["path"])} if "path" in region else {})
    encoder = identity.encoder
    return {
        "identity": identity.name,
        "reference": references[0] if references else None,
        **more,
        "face": None if identity.face is None else _describe_face(identity.face),
        "face_encoder": None
        if encoder is None
        else {
            "name": encoder.name,
            "fingerprint": encoder.fingerprint,
            "provider": encoder.provider,
            "code": code_of(type(encoder)),
        },
    }


def _describe_face(face: Face) -> dict[str, Any]:
    return {
        "box": [round(float(side), 2) for side in face.box],
        "score": round(float(face.score), 4),
        "rung": face.rung,
        "count": int(face.count),
    }


def machine(backbone: Backbone) -> dict[str, Any]:
    """What decides rounding besides versions: the kind of processor and the number of threads."""
    import torch

    if backbone.device.type == "cuda":
        return {"processor": torch.cuda.get_device_name(backbone.device)}
    return {
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
    }
