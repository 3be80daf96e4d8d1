"""Where things lie: configuration and pocket weights in checkout or wheel, caches, outputs."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def configs_dir() -> Path:
    """Folder of the YAML configurations: `configs/` of a checkout, `methods/_configs` of a wheel."""
    packaged = _PACKAGE / "_configs"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "configs"


def pocket_dir() -> Path:
    """Folder of the shipped pocket weights, one subfolder per model."""
    return _PACKAGE / "pocket" / "weights"


def cache_dir() -> Path:
    """Folder of derived data (analyses, fits, features): `$SPID_CACHE`, else the user's cache folder.

    Cached face embeddings are biometric data; delete the folder to forget them.
    """
    if configured := os.environ.get("SPID_CACHE"):
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "spid"


def models_dir() -> Path:
    """Folder of fetched adapters and the like: `$SPID_MODELS`, else in the user's data folder."""
    if configured := os.environ.get("SPID_MODELS"):
        return Path(configured)
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "spid" / "models"


def default_output_dir() -> Path:
    """Folder that commands write to unless told otherwise, relative to the working directory."""
    return Path("outputs")
