"""Options from YAML and mappings into frozen dataclasses, strictly."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from methods.errors import UsageError, unknown_name
from methods.paths import user_path
from methods.textfile import parse_yaml, read_yaml

T = TypeVar("T")

_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
_TRUTH = {True: ("on", "yes", "true"), False: ("off", "no", "false")}


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping of a YAML file; {} for an empty one. Raises UsageError as `methods.textfile.read_yaml`."""
    return read_yaml(user_path(path))


def read_setting(text: str, *, where: str, example: str) -> tuple[str, Any]:
    """Key and value of `key=value`; the value is YAML: 0.5, true, [1, 2], a word, or nothing for null.

    where: begins the messages, as `--set 'rate'`; example: what they show. Raises UsageError.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key:
        raise UsageError(f"{where} is not key=value.", hint=f"For example: {example}")
    return key, parse_yaml(value, where, hint=f"Quote it, for the shell too: '{key}=\"text\"'")


def build(cls: type[T], options: Mapping[str, Any] | None, *, where: str) -> T:
    """A dataclass from options; `where` names their source in errors.

    Raises UsageError for an unknown option (with the nearest known one) or a value of the wrong type or
    outside what the dataclass allows (its `__post_init__` raises ValueError or UsageError).
    """
    options = dict(options or {})
    hints = get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
    for name, value in options.items():
        if name not in known:
            raise unknown_name(f"option of {where}", str(name), known)
        options[name] = _coerce(value, hints[name], f"{where}: {name}")
    try:
        return cls(**options)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{where}: {error}", hint="Correct the value.") from error


def _coerce(value: Any, hint: Any, where: str) -> Any:
    """Check a YAML value against a type hint; int widens to float, lists become tuples."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        if isinstance(value, bool):  # YAML 1.1 takes a bare off or on for a truth value
            value = next((word for word in _TRUTH[value] if word in arguments), value)
        if value in arguments:
            return value
        raise unknown_name(f"value of {where}", str(value), map(str, arguments))
    if origin in (Union, types.UnionType):
        for option in arguments:
            try:
                return _coerce(value, option, where)
            except UsageError:
                continue
        raise _wrong(value, hint, where)
    if hint is type(None):
        if value is None:
            return None
        raise _wrong(value, hint, where)
    if origin is tuple and isinstance(value, list | tuple):
        inner = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(inner) != len(value):
            raise _wrong(value, hint, where)
        return tuple(_coerce(item, kind, where) for item, kind in zip(value, inner, strict=True))
    if origin is dict and isinstance(value, Mapping):
        return {key: _coerce(item, arguments[1], f"{where}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)  # YAML 1.1 takes 1e-4, without a dot, for a word
    if isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise _wrong(value, hint, where)


def _wrong(value: Any, hint: Any, where: str) -> UsageError:
    name = getattr(hint, "__name__", str(hint))
    return UsageError(f"{where} is {value!r}; it must be {name}.", hint="Correct the value.")
