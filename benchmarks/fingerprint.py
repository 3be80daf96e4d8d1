"""Fingerprints of everything that changes pixels: equal fingerprints promise equal pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from methods.provenance import loop_code, method_code
from methods.registry import origin

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.contract import Method


_KERNELS = ("attention_backend", "compile", "vae_tiling")
"""Options of `load_backbone` that compute the same in another way, hence other bits."""


def digest(values: Any) -> str:
    """SHA-256 over values as JSON with sorted keys, hexadecimal."""
    text = json.dumps(values, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def describe_backbone(backbone: Backbone) -> dict[str, Any]:
    """What of a backbone changes pixels: its weights and configuration, dtype, and the loop's own code."""
    return {
        "name": backbone.name,
        "family": backbone.family,
        "fingerprint": backbone.fingerprint,
        "revision": backbone.origin.get("revision"),
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "code": loop_code(backbone),
        **{name: value for name in _KERNELS if (value := backbone.origin.get(name))},
    }


def describe_method(label: str, method: Method, options: Mapping[str, Any]) -> dict[str, Any]:
    """A method as run.json names it: options, weights and code; `options` are those of its jobs."""
    import dataclasses

    return {
        "name": label,
        "method": method.info.name,
        **({} if (package := origin(method.info.name)) is None else {"package": str(package)}),
        "config": dataclasses.asdict(method.config),
        "files": method.record(),
        "job": dict(options),
        "weights": method.weights_fingerprint(),
        "code": method_code(type(method)),
    }


def pixels_of_method(backbone: Mapping[str, Any], method: Mapping[str, Any]) -> str:
    """Digest of what all samples of a method share. Names of files and labels change no pixel."""
    files = method.get("files", {})
    content = {one["path"]: one["sha256"] for one in files.values() if isinstance(one, Mapping)}
    shared = {
        "backbone": {key: value for key, value in backbone.items() if key not in ("name", "revision")},
        "method": {key: value for key, value in method.items() if key not in ("name", "job", "files")},
        "files": {
            key: content[one["path"]] if isinstance(one, Mapping) else one for key, one in files.items()
        },
    }
    config = method.get("config", {})
    shared["method"]["config"] = {
        key: content.get(value, value) if isinstance(value, str) else value for key, value in config.items()
    }
    return digest(shared)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Lines `name: old -> new` for every value in which two descriptions differ."""
    lines: list[str] = []
    for name in [*old, *(name for name in new if name not in old)]:
        one, two = old.get(name), new.get(name)
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            lines += differences(one, two, f"{prefix}{name}.")
        elif isinstance(one, list) and isinstance(two, list) and _named(one) and _named(two):
            by_name = [{item["name"]: item for item in items} for items in (one, two)]
            lines += differences(by_name[0], by_name[1], f"{prefix}{name}.")
        elif one != two:
            lines.append(f"{prefix}{name}: {_short(one)} -> {_short(two)}")
    return lines


def _named(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, Mapping) and "name" in item for item in items)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "there" if value else "nothing"
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}...{text[-12:]}"
