"""All metrics by name, and the selections `default`, `compat:ibench` and `all`. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from benchmarks.metrics import ibench
from benchmarks.metrics.base import MetricInfo
from benchmarks.metrics.built_in import built_in_metrics
from benchmarks.metrics.metric import Metric, SetMetric
from benchmarks.metrics.models.base import Extractor, content_digest
from benchmarks.metrics.plugins import METRICS, all_extractors, plug_in_metrics
from methods.errors import unknown_name
from methods.shipped import is_pocket

AnyMetric = Metric | SetMetric

SELECTIONS = ("default", "compat:ibench", "all")
_POCKET_ONLY = ("musiq_pocket", "probes")
_PHOTO_ONLY = ("musiq", "aesthetic", "inception", "dino", "dreamsim", "lpips", "pick_image", "face_second")


def metrics(family: str = "pocket") -> dict[str, AnyMetric]:
    """Every metric by name, in reading order: ours, then those of plug-ins. family: of the backbone."""
    return {metric.card.name: metric for metric in (*built_in_metrics(family), *plug_in_metrics())}


def select(wanted: Sequence[str] | str, family: str = "pocket") -> list[AnyMetric]:
    """The metrics of names and selections (a list, or one string with commas), each once, in reading order.

    `default` holds what can be measured for the family, and no plug-in: the pocket metrics need the pocket
    world, the others weights made on photographs. Raises UsageError for an unknown name, SpidError for a
    plug-in with a fault.
    """
    known = metrics(family)
    names: set[str] = set()
    for name in wanted.split(",") if isinstance(wanted, str) else wanted:
        name = name.strip()
        if name in SELECTIONS:
            names |= {metric.card.name for metric in known.values() if _selected(metric, name, family)}
        elif name in known:
            names.add(name)
        elif name in METRICS:
            METRICS.get(name)  # raises: it has a fault
        else:
            raise unknown_name("metric", name, [*SELECTIONS, *known], listing="spid metrics lists them.")
    return [metric for name, metric in known.items() if name in names]


def faults(wanted: Sequence[str] | str) -> list[dict[str, str]]:
    """Plug-ins that `all` would hold if nothing were wrong with them: name, package, and fault. Without `all`
    none: who names one is told by `select`."""
    parts = wanted.split(",") if isinstance(wanted, str) else wanted
    if "all" not in [part.strip() for part in parts]:
        return []
    return [
        {"name": one.name, "package": str(one.origin), "fault": one.fault}
        for one in METRICS.plug_ins()
        if one.fault is not None
    ]


def _selected(metric: AnyMetric, selection: str, family: str) -> bool:
    if selection == "all":
        return True
    if selection.startswith("compat:"):
        return metric.card.compat == selection.removeprefix("compat:")
    if METRICS.origin(metric.card.name) is not None:
        return False
    other = _PHOTO_ONLY if is_pocket(family) else _POCKET_ONLY
    return metric.card.compat is None and not any(feature in other for feature in features(metric))


def features(metric: AnyMetric) -> list[str]:
    """The features a metric needs, each once, in order."""
    return list(dict.fromkeys(need.partition(":")[2] for need in metric.needs))


def describe(metric: AnyMetric, extractors: Mapping[str, Extractor]) -> MetricInfo:
    """The card with the models that are in use."""
    used = [extractors[feature] for feature in features(metric) if feature in extractors]

    def joined(words: list[str]) -> str:
        return "; ".join(dict.fromkeys(words))

    return replace(
        metric.card,
        model=joined([extractor.tag for extractor in used]),
        preprocessing=joined([extractor.preprocessing for extractor in used]),
        licence=joined([extractor.licence for extractor in used]),
        weights=content_digest(
            (file for extractor in used for file in extractor.files()),
            (digest for extractor in used for digest in extractor.digests()),
        ),
        level="set" if isinstance(metric, SetMetric) else "sample",
        package=None if (origin := METRICS.origin(metric.card.name)) is None else str(origin),
        photographs=_photographs(metric),
    )


def _photographs(metric: AnyMetric) -> Literal["mean", "first"] | None:
    """See `Evaluator.score`; a set metric sees every sample once, with the first photograph of its person."""
    if not metric.compares:
        return None
    return "first" if isinstance(metric, SetMetric) else "mean"


def weights_of(
    wanted: Sequence[str] | str, family: str, models: Mapping[str, str] | None = None
) -> dict[str, str | None]:
    """The digest of the models' files for each of the metrics that `select` gives."""
    extractors = all_extractors(family, models)
    infos = [describe(metric, extractors) for metric in select(wanted, family)]
    return {info.name: info.weights for info in infos}


def missing(metric: AnyMetric, extractors: Mapping[str, Extractor]) -> str | None:
    """Why a metric cannot be measured here and what to do, as far as can be told without loading."""
    if (name := metric.card.name) in ibench.NOT_REPRODUCED:
        return ibench.NOT_REPRODUCED[name]
    if isinstance(metric, Metric) and metric.independent:
        for feature in features(metric):
            if (reason := getattr(extractors.get(feature), "bias", None)) is not None:
                return reason
    for feature in features(metric):
        if feature not in extractors:
            package = METRICS.origin(metric.card.name)
            return f"No model gives the feature {feature!r} that it needs. Ask those who made {package}."
        if (reason := extractors[feature].missing()) is not None:
            return reason
    return None
