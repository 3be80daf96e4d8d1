"""The project's own methods, whatever else is installed beside it."""

from __future__ import annotations

from methods.registry import method_names, origin


def own_methods() -> list[str]:
    """Names of the methods that no plug-in brought."""
    return [name for name in method_names() if origin(name) is None]
