"""run.json: what a run was asked for and ran on, and when two of them are the same run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any

from benchmarks.fingerprint import differences
from benchmarks.store import RunFolder
from methods.errors import UsageError

if TYPE_CHECKING:
    from benchmarks.metrics.base import MetricInfo
    from benchmarks.metrics.evaluate import Evaluator
    from methods.backbone.backbone import Backbone


def cards(evaluator: Evaluator) -> list[dict[str, Any]]:
    """The metrics' cards with whether each can be computed here."""
    return [card(info, evaluator.unavailable.get(info.name)) for info in evaluator.infos]


def card(info: MetricInfo, missing: str | None) -> dict[str, Any]:
    """A metric's card, JSON-able: infinite ends of its range as null; missing: what keeps it from working."""
    bounds = [bound if isfinite(bound) else None for bound in info.range]
    return {**asdict(info), "range": bounds, "available": missing is None, "reason": missing}


def fault_lines(faults: Iterable[Mapping[str, str]]) -> list[str]:
    """What people are told of plug-in metrics that were left out: `faults` of run.json."""
    return [
        f"the plug-in metric {one['name']!r} of the package {one['package']} is left out: {one['fault']}"
        for one in faults
    ]


def environment(backbone: Backbone) -> dict[str, Any]:
    """What a run's bits may depend on besides what it is made of."""
    import torch

    from methods.provenance import library_versions

    device = backbone.device
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else torch.backends.cpu.get_cpu_capability()
    )
    return {"device": device.type, "processor": name, "versions": library_versions()}


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As they will be read back: tuples become lists."""
    return json.loads(json.dumps(values, allow_nan=False))


def check_same(folder: RunFolder, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse to mix two runs in one folder. What they run on and how they were asked for may differ."""

    def compared(description: Mapping[str, Any]) -> dict[str, Any]:
        parts = {
            name: description.get(name)
            for name in ("schema", "suite", "backbone", "methods", "metrics", "settings")
        }
        backbone = dict(parts["backbone"] or {})
        backbone.pop("name", None)  # the same pipeline under another path
        return {**parts, "backbone": backbone}

    changed = differences(compared(old), compared(new))
    if changed:
        more = f"; and {len(changed) - 12} more" if len(changed) > 12 else ""
        raise UsageError(
            f"{folder.path} holds another run: {'; '.join(changed[:12])}{more}.",
            hint="Give another --output, or the same options as before (--resume repeats them).",
        )
