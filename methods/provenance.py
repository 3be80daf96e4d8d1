"""What made a picture: its job, and everything around it that may change the bits."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from methods.code import code_of

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.backbone.sampling import Result
    from methods.contract import Method
    from methods.hooks import Identity

SCHEMA = 1
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
    from methods.backbone.sampling import iterate_samples

    return code_of(iterate_samples, load_backbone, type(backbone), type(backbone.text))


def method_code(method: type[Method]) -> str:
    """Fingerprint of a method's code; of one that needs somebody, with the way from a picture to a face."""
    from methods.generate import identify

    return code_of(method, identify) if method.info.identity else code_of(method)


def describe_job(
    backbone: Backbone, method: Method, result: Result, prompt: str, scheduler: str
) -> dict[str, Any]:
    """A finished job as JSON-able values: the same description, the same bits.

    prompt: as it was given, with placeholders
    """
    job = result.job
    return {
        "schema": SCHEMA,
        "method": method.info.name,
        "method_options": dataclasses.asdict(method.config),
        "method_weights": method.weights_fingerprint(),
        "prompt": prompt,
        "prompt_expanded": job.prompt,
        "negative_prompt": job.negative_prompt,
        **_describe_identity(job.identity),
        "seed": job.seed,
        "width": job.width,
        "height": job.height,
        "steps": job.steps,
        "guidance": job.guidance,
        "scheduler": scheduler,
        "id_weight": job.id_weight,
        "id_start": job.id_start,
        "id_end": job.id_end,
        "backbone": backbone.name,
        "backbone_family": backbone.family,
        "backbone_fingerprint": backbone.fingerprint,
        "backbone_options": dict(backbone.origin),
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "device": str(backbone.device),
        "machine": machine(backbone),
        "versions": library_versions(),
        "status": result.status,
        "notes": dict(result.notes),
    }


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


def _describe_identity(identity: Identity | None) -> dict[str, Any]:
    if identity is None:
        return {"identity": None, "reference": None, "face": None, "face_encoder": None}
    from methods.images import picture_hash

    face, encoder = identity.face, identity.encoder
    references = [{"path": path, "sha256": picture_hash(path)} for path in identity.pictures]
    return {
        "identity": identity.name,
        "reference": references[0] if references else None,
        "face": None
        if face is None
        else {
            "box": [round(float(side), 2) for side in face.box],
            "score": round(float(face.score), 4),
            "rung": face.rung,
            "count": int(face.count),
        },
        "face_encoder": None
        if encoder is None
        else {
            "name": encoder.name,
            "fingerprint": encoder.fingerprint,
            "provider": encoder.provider,
        },
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
