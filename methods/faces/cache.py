"""Analyses kept on disk, the failures too: one small safetensors file per picture, encoder and selection.

The files hold biometric data; `spid`'s cache folder may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy

from methods import errors
from methods.errors import FaceError, SpidError
from methods.faces.types import Face
from methods.files import write_bytes
from methods.paths import cache_dir

_VERSION = 2  # raise when an analysis of the same picture may come out differently
_KINDS: dict[str, type[FaceError]] = {
    kind.__name__: kind
    for kind in (
        FaceError,
        errors.NoFaceError,
        errors.SeveralFacesError,
        errors.TinyFaceError,
        errors.NotRenderedError,
    )
}


def entry(picture_hash: str, encoder_fingerprint: str, *settings: object) -> Path:
    """File of one analysis; anything that may change its result is part of the name."""
    key = json.dumps([_VERSION, encoder_fingerprint, *settings])
    return (
        cache_dir() / "faces" / hashlib.sha256(key.encode()).hexdigest()[:16] / f"{picture_hash}.safetensors"
    )


def read(path: Path) -> Face | FaceError | None:
    """What is stored; None when nothing is, or nothing usable."""
    try:
        with safetensors.safe_open(path, framework="numpy") as stored:
            record: dict[str, Any] = json.loads(stored.metadata()["spid"])
            if "error" in record:
                return _KINDS[record["error"]](record["message"], hint=record["hint"])
            arrays = {name: stored.get_tensor(name) for name in ("box", "landmarks", "embedding", "crop")}
        return Face(**arrays, **record)
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError):
        return None


def write(path: Path, result: Face | FaceError) -> None:
    """Store a result; a cache that cannot be written is no reason to fail."""
    if isinstance(result, Face):
        arrays = {name: getattr(result, name) for name in ("box", "landmarks", "embedding", "crop")}
        names = ("score", "norm", "rung", "count", "encoder")
        record: dict[str, Any] = {name: getattr(result, name) for name in names}
    else:
        arrays = {}
        record = {"error": type(result).__name__, "message": result.message, "hint": result.hint}
    data = safetensors.numpy.save(arrays, metadata={"spid": json.dumps(record)})
    with contextlib.suppress(SpidError, OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_bytes(path, data)
