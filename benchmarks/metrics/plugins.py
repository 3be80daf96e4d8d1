"""Metrics of installed packages, by the entry-point group `spid.metrics`: classes. Imports no torch.

A package that is installed changes no run that does not name its metrics: they belong to the selection `all`,
never to `default`.
"""

from __future__ import annotations

import re
from typing import Any

from benchmarks.metrics.base import MetricInfo
from benchmarks.metrics.built_in import built_in_metrics
from benchmarks.metrics.metric import WHERE, Metric, SetMetric
from benchmarks.metrics.models.base import Extractor
from methods.plugins import Registry

_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""Names of metrics stand in columns and in the rules of `spid compare --fail-on`."""


def _fault(name: str, loaded: Any) -> str | None:
    if not (isinstance(loaded, type) and issubclass(loaded, Metric | SetMetric)):
        return "it is not a subclass of benchmarks.metrics.metric.Metric or SetMetric"
    if not _NAME.fullmatch(name):
        return "its name may hold small letters, digits and underscores only"
    if missing := sorted(loaded.__abstractmethods__):
        return f"it does not implement {', '.join(missing)}"
    try:
        card = loaded().card
    except Exception as error:
        return f"it cannot be made without arguments: {type(error).__name__}: {error}"
    if not isinstance(card, MetricInfo):
        return "its card (`info`) is not a MetricInfo"
    if card.name != name:
        return f"its card calls it {card.name!r}"
    for need in loaded.needs:
        if need.partition(":")[0] not in WHERE or not need.partition(":")[2]:
            return f"it needs {need!r}, which is not one of {', '.join(WHERE)} with a colon and a feature"
    for feature, extractor in loaded.extractors.items():
        if not (isinstance(extractor, type) and issubclass(extractor, Extractor)):
            return f"its feature {feature!r} is not a subclass of benchmarks.metrics.models.base.Extractor"
    return None


_BUILT_IN = {
    metric.card.name: f"{type(metric).__module__}:{type(metric).__name__}" for metric in built_in_metrics()
}

METRICS: Registry[type[Metric] | type[SetMetric]] = Registry("metric", "spid.metrics", _BUILT_IN, _fault)


def _usable() -> list[str]:
    return [name for name in METRICS.usable() if name not in METRICS.built_in]


def plug_in_metrics() -> list[Metric | SetMetric]:
    """The metrics of plug-ins that have no fault; `spid doctor` names the others."""
    return [METRICS.get(name)() for name in _usable()]


def plug_in_features(known: set[str], device: str) -> dict[str, Extractor]:
    """What plug-ins extract, by feature. A feature belongs to whoever comes first: those of `known` are built
    in, and another class under a name that is given out is left out."""
    found: dict[str, Extractor] = {}
    for name in _usable():
        for feature, extractor in METRICS.get(name).extractors.items():
            if feature not in known and feature not in found:
                found[feature] = extractor(device)
    return found
