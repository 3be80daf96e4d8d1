"""Fits kept on disk: one safetensors file each, under the hash of everything that decides its numbers.

The files hold what was learned about a person: biometric data, in a folder that only its owner reads.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from methods.errors import SpidError, WeightsError
from methods.paths import cache_dir
from methods.weights import load_weights, save_weights

_LOG = logging.getLogger(__name__)


def entry(method: str, description: Mapping[str, Any]) -> Path:
    """File of a fit; `description` is JSON-able and holds all that may change its numbers."""
    key = json.dumps(description, sort_keys=True)
    return cache_dir() / "fits" / method / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"


def read(path: Path) -> dict[str, Tensor] | None:
    """What is stored; None when nothing is, or nothing usable."""
    if not path.is_file():
        return None
    try:
        return load_weights(path)
    except WeightsError:
        return None


def write(path: Path, fit: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Store a fit. One that cannot be kept is still good: the log says so, and that is all."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        save_weights(path, fit, {"spid": json.dumps(description, sort_keys=True)})
    except (SpidError, OSError) as error:
        _LOG.warning("The fit is not kept for the next time: %s", error)
