"""The options of a method: what is asked for, else what is tuned for the backbone, else what is published.

The defaults of a method's `Config` are its paper's. A rate or the weight of a loss is not free of scale, so
that backbones of the pocket world have settings of their own, in `configs/methods/FAMILY/METHOD.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from methods.config import build, load_yaml
from methods.errors import UsageError
from methods.paths import configs_dir

if TYPE_CHECKING:
    from methods.contract import Method

OPTION = "settings"
"""`settings=published` among the options of any method leaves out what is tuned."""
_WORDS = ("tuned", "published")


def configure(
    kind: type[Method], options: Mapping[str, Any] | None, *, family: str = "", where: str | None = None
) -> Any:
    """The options object of a method.

    options: as given, `settings` among them. family: of the backbone; without one nothing is tuned. where:
    names the source of the options in errors. Raises UsageError as `methods.config.build` does.
    """
    name = kind.info.name
    where = where or f"method {name}"
    given = dict(options or {})
    word = given.pop(OPTION, _WORDS[0])
    if word not in _WORDS:
        raise UsageError(f"{where}: {OPTION} is {word!r}.", hint=f"Write {OPTION}={' or '.join(_WORDS)}.")
    base = tuned(name, family) if word == _WORDS[0] else {}
    return build(kind.Config, {**base, **given}, where=where)


def tuned(name: str, family: str) -> dict[str, Any]:
    """What is tuned of a method for the backbones of a family; {} where its published settings hold."""
    file = configs_dir() / "methods" / family / f"{name}.yaml"
    return load_yaml(file) if family and file.is_file() else {}


def families_tuned(name: str) -> dict[str, dict[str, Any]]:
    """Family -> what is tuned of a method for it."""
    families = sorted(file.parent.name for file in configs_dir().glob(f"methods/*/{name}.yaml"))
    return {family: tuned(name, family) for family in families}
