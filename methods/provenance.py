"""What made a picture besides its job: versions of everything that may change the bits."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_LIBRARIES = (
    "torch",
    "diffusers",
    "transformers",
    "safetensors",
    "numpy",
    "pillow",
    "insightface",
    "onnxruntime",
)


def spid_version() -> str:
    """Version of the installed package, `0+source` when it runs from a checkout that was not installed."""
    return library_version("spid") or "0+source"


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
