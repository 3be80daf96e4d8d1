"""Identity-preserving personalization methods on one shared backbone and one sampling loop.

    from methods.generate import generate

    for made in generate(prompts="a {person} on a beach", references="face.png", methods="spatialid"):
        made.picture.save("portrait.png")

Names are imported on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "load_backbone": "methods.backbone.load",
    "Backbone": "methods.backbone.backbone",
    "sample": "methods.sampling",
    "Result": "methods.sampling",
    "get_method": "methods.registry",
    "method_info": "methods.registry",
    "method_names": "methods.registry",
    "Attachment": "methods.contract",
    "Conditioning": "methods.contract",
    "Identity": "methods.contract",
    "Job": "methods.contract",
    "Method": "methods.contract",
    "MethodInfo": "methods.contract",
    "RowLayout": "methods.contract",
    "Run": "methods.contract",
    "StepInfo": "methods.contract",
    "Stream": "methods.contract",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return __all__
