"""Modules that are loaded when they are first used, for libraries that import much and use little of it.

`import diffusers` of a U-Net and a VAE imports bitsandbytes (with it torch's compiler) and scipy.stats for
quantisers and samplers that most runs never touch: a quarter of the time to the first picture.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

_ASKED_OF_ALL = ("__all__", "__path__", "__version__")
"""Special names that only a user of the module asks for; `inspect` asks every module for others."""


def load_later(*names: str) -> None:
    """Let `import NAME` do nothing until something of the module is used. What is missing or loaded stays so.

    importlib.util.LazyLoader does the same but loads when `inspect` looks for the file of every module,
    which torch and dataclasses make it do.
    """
    for name in names:
        spec = None if name in sys.modules else importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            vars(module).pop("__path__", None)  # to import a part of it is to use it
            module.__class__ = _Later
            sys.modules[name] = module


class _Later(ModuleType):
    """A module that has not been executed."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in _ASKED_OF_ALL:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        spec = self.__spec__
        assert spec is not None and spec.loader is not None
        self.__class__ = ModuleType  # type: ignore[assignment]
        if spec.submodule_search_locations is not None:
            self.__path__ = spec.submodule_search_locations
        spec.loader.exec_module(self)
        return getattr(self, name)
