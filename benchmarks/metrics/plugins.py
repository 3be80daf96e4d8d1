"""Metrics of installed packages, by the entry-point group `spid.metrics`: classes. Imports no torch.

A package that is installed changes no run that does not name its metrics: they belong to the selection `all`,
never to `default`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from benchmarks.metrics.base import MetricInfo
from benchmarks.metrics.built_in import built_in_metrics
from benchmarks.metrics.metric import WHERE, Metric, SetMetric
from benchmarks.metrics.models.base import Extractor
from benchmarks.metrics.models.zoo import zoo
from methods.plugins import PlugIn, Registry, in_a_line

AnyClass = type[Metric] | type[SetMetric]

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
        return f"it cannot be made without arguments: {in_a_line(error)}"
    if not isinstance(card, MetricInfo):
        return "its card (`info`) is not a MetricInfo"
    if card.name != name:
        return f"its card calls it {card.name!r}"
    for need in loaded.needs:
        if need.partition(":")[0] not in WHERE or not need.partition(":")[2]:
            return f"it needs {need!r}, which is not one of {', '.join(WHERE)} with a colon and a feature"
    return _fault_of_features(loaded.extractors)


def _fault_of_features(extractors: Mapping[str, Any]) -> str | None:
    for feature, extractor in extractors.items():
        if not (isinstance(extractor, type) and issubclass(extractor, Extractor)):
            return f"its feature {feature!r} is not a subclass of benchmarks.metrics.models.base.Extractor"
        if _built_in_features().get(feature, extractor) is not extractor:
            return f"its feature {feature!r} is a built-in one, of another class; it needs a name of its own"
        make: Callable[[str], Extractor] = extractor
        try:
            make("cpu")
        except Exception as error:
            return f"its feature {feature!r} cannot be made for a device: {in_a_line(error)}"
    return None


@cache
def _built_in_features() -> dict[str, type[Extractor]]:
    return {name: type(extractor) for name, extractor in zoo("pocket").items()}


def _quarrel(loaded: AnyClass, others: Iterator[tuple[PlugIn, AnyClass]]) -> str | None:
    """The first feature that another plug-in gives to another class. Both are left out: whichever won would
    have measured with a model that nobody who installs the other one expects."""
    for other, rival in others if loaded.extractors else ():
        for feature, extractor in loaded.extractors.items():
            if rival.extractors.get(feature, extractor) is not extractor:
                return (
                    f"its feature {feature!r} is of another class in {other.name!r} of the package "
                    f"{other.origin}; one of them needs another name"
                )
    return None


_BUILT_IN = {
    metric.card.name: f"{type(metric).__module__}:{type(metric).__name__}" for metric in built_in_metrics()
}

METRICS: Registry[AnyClass] = Registry("metric", "spid.metrics", _BUILT_IN, _fault, _quarrel)


def _usable() -> list[str]:
    return [name for name in METRICS.usable() if name not in METRICS.built_in]


def plug_in_metrics() -> list[Metric | SetMetric]:
    """The metrics of plug-ins that have no fault; `spid doctor` names the others."""
    return [METRICS.get(name)() for name in _usable()]


def all_extractors(
    family: str, models: Mapping[str, str] | None = None, device: str = "cpu"
) -> dict[str, Extractor]:
    """Every feature's extractor by name, those of plug-ins too, see `zoo`. Nothing is loaded."""
    found = zoo(family, models, device)
    for name in _usable():
        for feature, extractor in METRICS.get(name).extractors.items():
            if feature not in found:
                found[feature] = extractor(device)
    return found
