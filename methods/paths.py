"""Where things lie: configuration and pocket weights in checkout or wheel, caches, outputs; `~`."""

from __future__ import annotations

import os
from pathlib import Path

from methods.errors import SpidError, UsageError

_LONGEST = 255
"""Bytes of a file's name, on every system in use."""

_PACKAGE = Path(__file__).resolve().parent


def configs_dir() -> Path:
    """Folder of the YAML configurations: `configs/` of a checkout, `methods/_configs` of a wheel."""
    packaged = _PACKAGE / "_configs"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "configs"


def pocket_dir() -> Path:
    """Folder of the pocket weights, one subfolder per model: `$SPID_POCKET`, else the shipped ones."""
    if configured := os.environ.get("SPID_POCKET"):
        return user_path(configured)
    return _PACKAGE / "pocket" / "weights"


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path as a user wrote it, `~` and `~name` expanded.

    A shell leaves the `~` of `--output=~/x` and of `--id anna=~/a.png` to us. Raises UsageError for an
    unknown name, and for one that no file system takes: to look for it would be an OSError.
    """
    long = max(Path(path).parts, key=len, default="")
    if len(os.fsencode(long)) > _LONGEST:
        raise UsageError(f"'{long[:60]}...' is too long for the name of a file.", hint="Correct the path.")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{os.fspath(path)}: {Path(path).parts[0]} has no home folder here.", hint="Write the folder out."
        ) from error


def refuse_address(path: str | os.PathLike[str], error: type[SpidError] = UsageError) -> None:
    """Raise `error` for a web address where a file is meant: nothing is loaded from the network unasked."""
    name = os.fspath(path)
    if name.lower().startswith(("http:/", "https:/", "ftp:/")):
        raise error(f"{name}: is a web address, not a file.", hint="Download it, then give the file.")


def cache_dir() -> Path:
    """Folder of derived data (analyses, fits, features): `$SPID_CACHE`, else the user's cache folder.

    Cached face embeddings are biometric data; delete the folder to forget them.
    """
    if configured := os.environ.get("SPID_CACHE"):
        return user_path(configured)
    from platformdirs import user_cache_path

    return user_cache_path("spid", appauthor=False)


def models_dir() -> Path:
    """Folder of fetched adapters and the like: `$SPID_MODELS`, else in the user's data folder."""
    if configured := os.environ.get("SPID_MODELS"):
        return user_path(configured)
    base = os.environ.get("XDG_DATA_HOME")
    return (user_path(base) if base else Path.home() / ".local" / "share") / "spid" / "models"


def hub_folder(repository: str) -> Path:
    """Where the hub's cache keeps a repository, there or not."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def in_hub_cache(repository: str, file: str) -> Path | None:
    """A file of a repository in the hub's cache on disk, None if it is not there; asks no server."""
    if not hub_folder(repository).is_dir():
        return None  # the hub's client takes a sixth of a second to import
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, file)
    return Path(found) if isinstance(found, str) else None


def default_output_dir() -> Path:
    """Folder that commands write to unless told otherwise, relative to the working directory."""
    return Path("outputs")
