"""Methods by name, imported only when used.

Third parties add a method without touching this repository, through an entry point of the group
`spid.methods` whose value is `package.module:Class`, a subclass of `methods.contract.Method`. Where that
module imports torch, a second one of the same name in the group `spid.method_cards` may name the card alone
(`package.info:INFO`), so that listing methods stays fast.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from methods.errors import UsageError
from methods.plugins import Origin, Registry, resolve

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.contract import Method, MethodInfo

_INFOS = {
    "none": "methods.none:INFO",
    "uniform": "methods.uniform.info:INFO",
    "pulid": "methods.pulid.info:INFO",
    "textual-inversion": "methods.textual_inversion.info:INFO",
    "spatialid": "methods.spatialid.info:INFO",
    "facewise": "methods.facewise.info:INFO",
    "id-ea": "methods.id_ea.info:INFO",
    "pidiff": "methods.pidiff.info:INFO",
    "infinite-id": "methods.infinite_id.info:INFO",
}
"""name -> card, importable without torch."""


def _fault_of_method(name: str, loaded: Any) -> str | None:
    from methods.contract import Method

    if not (isinstance(loaded, type) and issubclass(loaded, Method)):
        return "it is not a subclass of methods.contract.Method"
    if not isinstance(getattr(loaded, "Config", None), type):
        return "it has no Config, the dataclass of its options"
    if missing := sorted(loaded.__abstractmethods__):
        return f"it does not implement {', '.join(missing)}"
    return _fault_of_card(name, getattr(loaded, "info", None))


def _fault_of_card(name: str, loaded: Any) -> str | None:
    from methods.contract import MethodInfo

    if not isinstance(loaded, MethodInfo):
        return "its card (`info`) is not a MethodInfo"
    return None if loaded.name == name else f"its card calls it {loaded.name!r}"


METHODS: Registry[type[Method]] = Registry(
    "method",
    "spid.methods",
    {
        "none": "methods.none:NoMethod",
        "uniform": "methods.uniform.method:Uniform",
        "pulid": "methods.pulid.method:Pulid",
        "textual-inversion": "methods.textual_inversion.method:TextualInversion",
        "spatialid": "methods.spatialid.method:SpatialID",
        "facewise": "methods.facewise.method:Facewise",
        "id-ea": "methods.id_ea.method:IDEA",
        "pidiff": "methods.pidiff.method:PIDiff",
        "infinite-id": "methods.infinite_id.method:InfiniteID",
    },
    _fault_of_method,
)
CARDS: Registry[MethodInfo] = Registry("method card", "spid.method_cards", {}, _fault_of_card)


def method_names() -> list[str]:
    """Names of all methods: the built-in ones in reading order, then plug-ins alphabetically."""
    return METHODS.names()


def get_method(name: str) -> type[Method]:
    """The class of a method. Raises UsageError for an unknown name, SpidError for a broken plug-in."""
    return METHODS.get(name)


def method_info(name: str) -> MethodInfo:
    """The card of a method; for built-in methods without importing torch."""
    if name in _INFOS:
        return resolve(_INFOS[name])
    return CARDS.get(name) if name in METHODS and name in CARDS else get_method(name).info


def method_config(name: str) -> type[Any]:
    """The options class of a method; for built-in methods without importing torch."""
    if name in _INFOS:
        module = _INFOS[name].partition(":")[0]
        return resolve(re.sub(r"\.info$", ".config", module) + ":Config")
    return get_method(name).Config


def origin(name: str) -> Origin | None:
    """Package and version of a plug-in method, None for a built-in one."""
    return METHODS.origin(name)


def check_origin(name: str, recorded: Origin | None) -> str | None:
    """Whether a method is the one that a run or a picture was made with, see `Registry.check_origin`."""
    return METHODS.check_origin(name, recorded)


def check_backbone(info: MethodInfo, backbone: Backbone) -> None:
    """Raise UsageError for a backbone that does not offer what a method hooks into."""
    if missing := info.missing(backbone.offers):
        raise UsageError(
            f"The method {info.name!r} does not run on {backbone.family} backbones: they offer no"
            f" {', no '.join(missing)}.",
            hint="`spid methods` lists what every method needs.",
        )
