"""Methods by name, imported only when used.

Third parties add a method without touching this repository, through an entry point of the group
`spid.methods` whose value is `package.module:Class`, a subclass of `methods.contract.Method`.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

from methods.errors import MissingDependencyError, SpidError, UsageError, unknown_name

if TYPE_CHECKING:
    from methods.contract import Method, MethodInfo

ENTRY_POINT_GROUP = "spid.methods"


class _Lazy(NamedTuple):
    method: str  # "module:Class"
    info: str  # "module:INFO", importable without torch


_BUILT_IN: dict[str, _Lazy] = {
    "none": _Lazy("methods.none:NoMethod", "methods.none:INFO"),
    "uniform": _Lazy("methods.uniform.method:Uniform", "methods.uniform.info:INFO"),
    "textual-inversion": _Lazy(
        "methods.textual_inversion.method:TextualInversion", "methods.textual_inversion.info:INFO"
    ),
    "spatialid": _Lazy("methods.spatialid.method:SpatialID", "methods.spatialid.info:INFO"),
    "facewise": _Lazy("methods.facewise.method:Facewise", "methods.facewise.info:INFO"),
    "id-ea": _Lazy("methods.id_ea.method:IDEA", "methods.id_ea.info:INFO"),
    "pidiff": _Lazy("methods.pidiff.method:PIDiff", "methods.pidiff.info:INFO"),
    "infinite-id": _Lazy("methods.infinite_id.method:InfiniteID", "methods.infinite_id.info:INFO"),
}


def method_names() -> list[str]:
    """Names of all methods: the built-in ones in reading order, then plug-ins alphabetically."""
    return [*_BUILT_IN, *sorted(_plugins())]


def get_method(name: str) -> type[Method]:
    """The class of a method. Raises UsageError for an unknown name, SpidError for a broken plug-in."""
    if name in _BUILT_IN:
        return _resolve(_BUILT_IN[name].method)
    if name in _plugins():
        return _load_plugin(_plugins()[name])
    raise unknown_name("method", name, method_names())


def method_info(name: str) -> MethodInfo:
    """The card of a method; for built-in methods without importing torch."""
    if name in _BUILT_IN:
        return _resolve(_BUILT_IN[name].info)
    return get_method(name).info


def check_backbone(info: MethodInfo, family: str) -> None:
    """Raise UsageError for a method that does not run on a family of backbones."""
    if family not in info.backbones:
        raise UsageError(
            f"The method {info.name!r} does not run on {family} backbones.",
            hint=f"It runs on: {', '.join(info.backbones)}.",
        )


@cache
def _plugins() -> dict[str, EntryPoint]:
    found = entry_points(group=ENTRY_POINT_GROUP)
    return {point.name: point for point in found if point.name not in _BUILT_IN}


def _load_plugin(point: EntryPoint) -> type[Method]:
    from methods.contract import Method

    try:
        loaded = point.load()
    except ImportError as error:
        raise MissingDependencyError(
            f"The plug-in method {point.name!r} ({point.value}) does not import: {error}.",
            hint="Install what it needs or remove its package.",
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, Method)):
        raise SpidError(
            f"The plug-in method {point.name!r} ({point.value}) is no subclass of methods.contract.Method.",
            hint="Correct its entry point or remove its package.",
        )
    return loaded


def _resolve(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
