"""`spid generate --from picture.png`: the same picture again, from the job that the file carries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from methods.errors import UsageError
from methods.paths import user_path
from methods.plugins import Origin
from methods.provenance import files_digest
from methods.registry import check_origin
from methods.request import Request, request_of
from spatialid_cli import console
from spatialid_cli.outputs import Gallery, Row
from spatialid_cli.sampling import Display

_STATED = (
    "negative_prompt", "seed", "width", "height", "steps", "guidance", "scheduler", "id_weight", "id_start",
    "id_end", "backbone", "face_select", "batch_size",
)  # fmt: skip
"""Settings of a request that a picture's description has under the same names."""


def read_job(source: Path) -> dict[str, Any]:
    """The job of a picture made by `spid generate`. Raises PictureError or UsageError naming the file."""
    from methods.images import read_metadata

    job = read_metadata(source)["spid"]
    if job is None or "method" not in job:
        raise UsageError(
            f"{source}: carries no job of spid generate.",
            hint="Only PNGs that it wrote do; other programs and messengers remove it.",
        )
    recorded = _files(job, source)
    for name, entry in recorded.items():
        if not all(isinstance(entry.get(key), str) for key in ("path", "sha256")):
            raise _damaged(source, name)
    _request(job, source, **_whom(job, source, {name: Path(one["path"]) for name, one in recorded.items()}))
    return job


def _request(job: Mapping[str, Any], source: Path, **changes: Any) -> Request:
    """The request that makes the picture of a job; `changes` where files have moved."""
    for name in (*_STATED, "method", "method_options", "prompt", "backbone_options", "dtype", "device"):
        if job.get(name) is None:
            raise _damaged(source, name)
    if not isinstance(job["backbone_options"], dict) or not isinstance(job["method"], str):
        raise _damaged(source, "backbone_options")
    encoder = job.get("face_encoder")
    wanted = {name: job[name] for name in _STATED} | {
        "true_cfg": job.get("true_cfg", 1.0),
        "together": bool(job.get("people")),
        "prompts": [job["prompt"]],
        "methods": [job["method"]],
        "method_options": {job["method"]: job["method_options"]},
        "face_encoder": encoder.get("name") if isinstance(encoder, dict) else None,
        "backbone_options": {"dtype": job["dtype"], "device": job["device"], **job["backbone_options"]},
    }
    try:
        return request_of(wanted | changes)
    except (UsageError, TypeError, ValueError) as error:
        reason = error.message.removeprefix("the request: ") if isinstance(error, UsageError) else error
        raise UsageError(f"{source}: its job is damaged: {reason}", hint="Use the original file.") from error


def _files(job: Mapping[str, Any], source: Path) -> dict[str, dict[str, Any]]:
    """Files of a job, path and digest: references, masks, adapter, and what options of the method name.

    Of several photographs the first is `reference`, the others are `reference 2` and so on; where several
    people share the picture, it is `reference of anna`.
    """
    found = {
        name: entry
        for name, entry in job.items()
        if isinstance(entry, dict) and "path" in entry and name not in ("reference", "region")
    }
    for person in _people(job, source):
        of = f" of {person['identity']}" if job.get("people") else ""
        for number, entry in enumerate(_photographs(person, source), 1):
            found[f"reference{of}" if number == 1 else f"reference {number}{of}"] = entry
        if "path" in (person.get("region") or {}):
            found[f"mask{of}"] = person["region"]
    if job.get("adapter") is not None:
        found["adapter"] = {"path": job["adapter"], "sha256": job.get("adapter_sha256") or ""}
    return found


def _people(job: Mapping[str, Any], source: Path) -> list[Mapping[str, Any]]:
    """Whom the picture shows: entries with `identity`, `reference` and what else is known of each."""
    people = job.get("people") or ([job] if job.get("identity") is not None else [])
    if not isinstance(people, list) or not all(isinstance(one, dict) and "identity" in one for one in people):
        raise _damaged(source, "people")
    return people


def _photographs(person: Mapping[str, Any], source: Path) -> list[dict[str, Any]]:
    several = person.get("references") or [person.get("reference")]
    if not isinstance(several, list) or not all(isinstance(one, dict) for one in several if one is not None):
        raise _damaged(source, "references")
    return [one for one in several if one is not None]


def _whom(job: Mapping[str, Any], source: Path, files: Mapping[str, Path]) -> dict[str, Any]:
    """References, regions and masks of a request, by where the files of `_files` lie now."""
    references: dict[str, list[str]] = {}
    regions: dict[str, Any] = {}
    masks: dict[str, str] = {}
    for person in _people(job, source):
        name = str(person["identity"])
        of = f" of {name}" if job.get("people") else ""
        photograph = re.compile(rf"reference( \d+)?{re.escape(of)}")
        if own := [str(file) for what, file in files.items() if photograph.fullmatch(what)]:
            references[name] = own
        if f"mask{of}" in files:
            masks[name] = str(files[f"mask{of}"])
        elif person.get("region") is not None:
            regions[name] = person["region"].get("box")
    return {"references": references or None, "regions": regions, "masks": masks}


def _damaged(source: Path, name: str) -> UsageError:
    return UsageError(f"{source}: its job is damaged at {name!r}.", hint="Use the original file.")


def find_file(source: Path, name: str, recorded: Mapping[str, str], given: Path | None) -> Path:
    """The very file or folder that a job was made with: as given, as recorded, or beside the picture.

    given: may be a folder that it lies in. Relative paths start at the working directory, then at each folder
    that the picture lies in: references of a run lie in its folder, wherever that has gone. Raises UsageError
    when it is gone or another one.
    """
    flag = {"reference": "--reference face.png", "adapter": "--adapter weights"}.get(name.split()[0])
    said = f"Say where it is: {flag}" if flag else "Put the original there, or make a new picture."
    path = user_path(recorded["path"])
    if given:
        inside = user_path(given) / path.name
        tried = [inside if name.startswith("reference") and inside.is_file() else user_path(given)]
    else:
        tried = [path, *(folder / path for folder in source.absolute().parents)]
    there = [one for one in tried if one.exists()]
    if not there:
        raise UsageError(f"{source}: its {name.replace('_', ' ')} {tried[0]} is not there.", hint=said)
    for one in there:
        if recorded["sha256"] in ("", files_digest(one)):  # older versions wrote no digest of an adapter
            return one
    noun = name.replace("_", " ")
    what = f"the {noun} {source} was made with" if flag else f"the file that gave {source} its {noun}"
    raise UsageError(f"{there[0]} is not {what}.", hint=said)


def _placeless(value: Any) -> Any:
    """A description that says what files hold and not where they lie."""
    if isinstance(value, Mapping):
        return {name: _placeless(one) for name, one in value.items() if name != "path"}
    return [_placeless(one) for one in value] if isinstance(value, list) else value


def reproduce(
    source: Path,
    folder: Path,
    *,
    reference: Path | None = None,
    adapter: Path | None = None,
    save_masks: bool = False,
) -> Gallery:
    """Make the picture again; its record says whether it has the same pixels, and what is not as it was then.

    reference, adapter: where these lie now, when they were moved
    """
    job = read_job(source)
    if (moved_on := check_origin(job["method"], Origin.read(job.get("method_package")))) is not None:
        console.warn(f"{source}: {moved_on}")
    given = {"reference": reference, "adapter": adapter}
    for name, path in given.items():
        if path is not None and job.get(name) is None:
            raise UsageError(f"{source} was made without any {name}.", hint=f"Leave out --{name}.")
    recorded = _files(job, source)
    files = {name: find_file(source, name, one, given.get(name.split()[0])) for name, one in recorded.items()}
    moved = {recorded[name]["path"]: str(path) for name, path in files.items()}
    options = dict(job["method_options"])
    named = {name for name, value in options.items() if isinstance(value, str) and value in moved}
    options |= {name: moved[options[name]] for name in named}
    adapter_file = files.get("adapter")
    request = _request(
        job,
        source,
        **_whom(job, source, files),
        method_options={job["method"]: options},
        adapter=None if adapter_file is None else str(adapter_file),
        keep_masks=save_masks,
    )

    import torch

    from methods.generate import generate
    from methods.images import load_picture, pixels_hash
    from methods.provenance import differences

    threads = (job.get("machine") or {}).get("threads")
    if isinstance(threads, int) and 1 <= threads <= 1024:
        torch.set_num_threads(threads)  # sums are split by thread, and rounding with them
    with Display("sampling") as display:
        (made,) = generate(
            request,
            progress=partial(display.show, "sampling"),
            fit_progress=display.show_fit,
        )
    gallery = Gallery(folder, [Row(made.identity, 0, made.prompt, made.seed)], [made.method])
    gallery.add(made)
    # where files lie changes no pixel, nor does the place in a run
    names = {"adapter", "backbone", "fingerprint", *(f"method_options.{name}" for name in named)}
    found = differences(_placeless(job), _placeless(made.job))
    changed = [one for one in found if one not in names]
    same = made.picture is not None and pixels_hash(made.picture) == pixels_hash(load_picture(source))
    gallery.say(same_pixels=same, changed=changed)
    if changed:
        console.warn(f"not as it was then: {', '.join(changed)}")
    if same:
        console.log(f"the same pixels as {source}")
    else:
        console.warn(f"the pixels are not those of {source}")
    return gallery
