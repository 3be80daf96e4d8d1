"""A picture again from its own description."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from methods.backbone.load import load_backbone
from methods.errors import UsageError, WeightsError
from methods.generate import Generated, generate
from methods.images import picture_hash
from methods.provenance import SCHEMA, differences


def regenerate(
    job: Mapping[str, Any],
    *,
    reference: str | PathLike[str] | None = None,
    progress: Callable[[int, int], object] | None = None,
    keep_masks: bool = False,
) -> tuple[Generated, list[str]]:
    """Make the picture of a job description (`Generated.job`) again.

    reference: where the reference picture lies now; None for the place in the description

    Returns the picture and the names of entries that differ today (`versions.torch`, `machine.threads`,
    ...): without any, the bytes are the same. Raises UsageError or WeightsError when something that makes
    the picture another one has changed: the reference, the backbone, the adapter, the face encoder.
    """
    if job.get("schema") != SCHEMA:
        raise UsageError(
            f"The description has schema {job.get('schema')!r}, this version reads {SCHEMA}.",
            hint=f"It was written by spid {_nested(job, 'versions', 'spid')}.",
        )
    references = _reference(job, reference)
    backbone = load_backbone(
        job["backbone"], dtype=job["dtype"], device=job["device"], **job["backbone_options"]
    )
    if backbone.fingerprint != job["backbone_fingerprint"]:
        raise WeightsError(
            f"The backbone {job['backbone']} has changed since the picture was made.",
            hint="Restore the files it had then.",
        )
    [made] = generate(
        prompts=job["prompt"],
        negative_prompt=job["negative_prompt"],
        references=references,
        methods=job["method"],
        method_options={job["method"]: job["method_options"]},
        adapter=job["adapter"],
        backbone=backbone,
        face_encoder=_nested(job, "face_encoder", "name"),
        face_select=job["face_select"],
        seed=job["seed"],
        steps=job["steps"],
        guidance=job["guidance"],
        width=job["width"],
        height=job["height"],
        scheduler=job["scheduler"],
        id_weight=job["id_weight"],
        id_start=job["id_start"],
        id_end=job["id_end"],
        batch_size=job["batch_size"],
        progress=progress,
        keep_masks=keep_masks,
    )
    if made.job["method_weights"] != job["method_weights"]:
        raise WeightsError(
            f"The weights of {job['method']} have changed since the picture was made.",
            hint="Give the adapter it was made with.",
        )
    if _nested(made.job, "face_encoder", "fingerprint") != _nested(job, "face_encoder", "fingerprint"):
        raise WeightsError(
            "The face encoder has changed since the picture was made.", hint="Restore its files."
        )
    return made, [name for name in differences(job, made.job) if name != "reference.path"]


def _reference(job: Mapping[str, Any], moved: str | PathLike[str] | None) -> dict[str, Path] | None:
    recorded = job.get("reference")
    if recorded is None:
        return None
    path = Path(recorded["path"] if moved is None else moved)
    if not path.is_file():
        raise UsageError(f"The reference picture {path} is not there.", hint="Say where with --reference.")
    if picture_hash(path) != recorded["sha256"]:
        raise UsageError(
            f"{path} is not the reference picture this was made from.",
            hint="Say where it is with --reference.",
        )
    return {job["identity"]: path}


def _nested(job: Mapping[str, Any], outer: str, inner: str) -> Any:
    return (job.get(outer) or {}).get(inner)
