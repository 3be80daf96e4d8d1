"""`spid generate --from picture.png`: the same picture again, from the job that the file carries."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from methods.errors import UsageError
from spatialid_cli import console
from spatialid_cli.outputs import Gallery, Row
from spatialid_cli.sampling import Display

_NUMBER = (int, float)
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "method": str,
    "method_options": dict,
    "prompt": str,
    "negative_prompt": str,
    "seed": int,
    "width": int,
    "height": int,
    "steps": int,
    "guidance": _NUMBER,
    "scheduler": str,
    "id_weight": _NUMBER,
    "id_start": _NUMBER,
    "id_end": _NUMBER,
    "backbone": str,
    "backbone_options": dict,
    "dtype": str,
    "device": str,
    "face_select": str,
    "batch_size": int,
}


def read_job(source: Path) -> dict[str, Any]:
    """The job of a picture made by `spid generate`. Raises PictureError or UsageError naming the file."""
    from methods.images import read_metadata

    job = read_metadata(source)["spid"]
    if job is None or "method" not in job:
        raise UsageError(
            f"{source}: carries no job of spid generate.",
            hint="Only PNGs that it wrote do; other programs and messengers remove it.",
        )
    for name, kind in _FIELDS.items():
        if not isinstance(job.get(name), kind) or isinstance(job[name], bool):
            raise _damaged(source, name)
    reference = job.get("reference")
    if reference is not None and not (
        isinstance(reference, dict) and all(isinstance(reference.get(key), str) for key in ("path", "sha256"))
    ):
        raise _damaged(source, "reference")
    return job


def _damaged(source: Path, name: str) -> UsageError:
    return UsageError(f"{source}: its job is damaged at {name!r}.", hint="Use the original file.")


def reference_of(job: Mapping[str, Any], source: Path, replacement: Path | None) -> dict[str, Path] | None:
    """Identity -> reference picture, the very file that the job was made with; None for a baseline.

    Raises UsageError when the file is gone or is another one.
    """
    from methods.images import picture_hash

    recorded = job.get("reference")
    if job.get("identity") is None or recorded is None:
        return None
    path = replacement or Path(recorded["path"])
    if not path.is_file():
        raise UsageError(
            f"{source}: its reference {path} is not there.", hint="Say where it is: --reference face.png"
        )
    if picture_hash(path) != recorded["sha256"]:
        raise UsageError(
            f"{path} is not the reference {source} was made with.",
            hint="Give the original with --reference, or make a new picture without --from.",
        )
    return {str(job["identity"]): path}


def check_style(job: Mapping[str, Any], source: Path) -> None:
    """Raise UsageError unless the picture that gave style rows, if one did, is there and the same."""
    from methods.images import picture_hash

    recorded = job.get("style_reference")
    if recorded is None:
        return
    if not isinstance(recorded, dict) or not all(
        isinstance(recorded.get(k), str) for k in ("path", "sha256")
    ):
        raise _damaged(source, "style_reference")
    if not Path(recorded["path"]).is_file() or picture_hash(recorded["path"]) != recorded["sha256"]:
        raise UsageError(
            f"{recorded['path']} is not the picture that gave {source} its style.",
            hint="Put the original there, or make a new picture without --from.",
        )


def reproduce(source: Path, folder: Path, replacement: Path | None, *, save_masks: bool) -> Gallery:
    """Make the picture again and say whether anything that may change its bits differs from then."""
    job = read_job(source)
    references = reference_of(job, source, replacement)
    check_style(job, source)

    import torch

    from methods.generate import generate
    from methods.images import load_picture, pixels_hash
    from methods.provenance import differences

    threads = (job.get("machine") or {}).get("threads")
    if isinstance(threads, int) and 1 <= threads <= 1024:
        torch.set_num_threads(threads)  # sums are split by thread, and rounding with them
    encoder = job.get("face_encoder") or {}
    with Display("sampling") as display:
        (made,) = generate(
            prompts=job["prompt"],
            references=references,
            methods=job["method"],
            backbone=job["backbone"],
            backbone_options={
                "dtype": job["dtype"],
                "device": job["device"],
                **job["backbone_options"],
            },
            face_encoder=encoder.get("name"),
            negative_prompt=job["negative_prompt"],
            seed=job["seed"],
            steps=job["steps"],
            guidance=job["guidance"],
            width=job["width"],
            height=job["height"],
            id_weight=job["id_weight"],
            id_start=job["id_start"],
            id_end=job["id_end"],
            scheduler=job["scheduler"],
            face_select=job["face_select"],
            method_options={job["method"]: job["method_options"]},
            adapter=job.get("adapter"),
            batch_size=job["batch_size"],
            keep_masks=save_masks,
            progress=partial(display.show, "sampling"),
            fit_progress=display.show_fit,
        )
    gallery = Gallery(folder, [Row(made.identity, 0, made.prompt, made.seed)], [made.method])
    gallery.add(made)
    changed = [name for name in differences(job, made.job) if name != "reference.path"]
    if changed:
        console.warn(f"not as it was then: {', '.join(changed)}")
    if made.picture is not None and pixels_hash(made.picture) == pixels_hash(load_picture(source)):
        console.log(f"the same pixels as {source}")
    else:
        console.warn(f"the pixels are not those of {source}")
    return gallery
