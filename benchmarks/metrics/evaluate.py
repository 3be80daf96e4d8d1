"""Score pictures with many metrics: every picture is analysed once per model, whatever asks for it."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from benchmarks.metrics.base import MetricInfo, SampleView, Score
from benchmarks.metrics.catalogue import AnyMetric, describe, faults, missing, select
from benchmarks.metrics.metric import UNRELATED, Accumulator, Failure, Metric, NoScore, SetMetric, View
from benchmarks.metrics.models.base import Extractor
from benchmarks.metrics.plugins import all_extractors
from methods.errors import SpidError, WeightsError

REMEMBERED = 20_000
"""Features kept per model; reference and without-ID pictures are asked for again and again."""
TOLERANCE = 1e-4
"""By how much rounding may carry a value out of its range."""


class Evaluator:
    """Built once per run and process.

    metrics: names, or `default`, `compat:ibench` or `all`, also several with commas. backbone_family:
    `pocket` selects the pocket twins of every model. models: role -> name or path, see `models.zoo.ROLES`;
    the recogniser that conditioned the run belongs to role `face-conditioning`. device: of the models that
    run on torch. batch_size: pictures per forward pass. note: takes a line for people, of what takes long.

    infos: the cards of all metrics asked for, the unavailable ones too. unavailable: metric -> what is
    missing and what to do; grows when a model turns out not to load. faults: plug-ins that `all` leaves out,
    see `catalogue.faults`. Construction loads no model.

    Raises UsageError for an unknown metric or role.
    """

    def __init__(
        self,
        metrics: Sequence[str] | str = "default",
        *,
        backbone_family: str,
        models: Mapping[str, str] | None = None,
        device: str = "cpu",
        batch_size: int = 32,
        note: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.metrics = select(metrics, backbone_family)
        self.faults = faults(metrics)
        self.batch_size = batch_size
        self._extractors = all_extractors(backbone_family, models, device)
        for extractor in self._extractors.values():
            extractor.note = note
        self.infos: list[MetricInfo] = [describe(metric, self._extractors) for metric in self.metrics]
        self.unavailable: dict[str, str] = {}
        for metric in self.metrics:
            if (reason := missing(metric, self._extractors)) is not None:
                self.unavailable[metric.card.name] = reason
        self._broken: dict[str, str] = {}
        self._remembered: dict[str, OrderedDict[str, Any]] = {
            name: OrderedDict() for name in self._extractors
        }

    def score(self, samples: Sequence[SampleView]) -> list[dict[str, Score]]:
        """One dict per sample, with a Score for every metric of level 'sample', in the order of `infos`.

        Where a person has several photographs, a metric that compares with the reference is measured against
        each, and its value is the mean, as CLIP-I, DINO and face similarities are averaged over all real
        pictures of a subject (DreamBooth, Ruiz et al. 2023, section 4.2). Never raises for what a picture or
        a model does: that is a Score with a status.
        """
        wanted = [(metric, info) for metric, info in self._pairs() if isinstance(metric, Metric)]
        each = [_by_photograph(sample) for sample in samples]
        views = iter(self._views(list(chain(*each)), [metric for metric, _ in wanted]))
        found = []
        for of in each:
            first, *more = islice(views, len(of))
            scores = {info.name: self._score(metric, info, first) for metric, info in wanted}
            for metric, info in wanted if more else ():
                if metric.compares:
                    others = [self._score(metric, info, view) for view in more]
                    scores[info.name] = mean_score([scores[info.name], *others])
            found.append(scores)
        return found

    def score_set(self, samples: Iterable[SampleView]) -> dict[str, Score]:
        """A Score for every metric of level 'set' over the samples of one method.

        samples may be a generator: pictures are needed a batch at a time; only sums and features are kept.
        """
        wanted = [(metric, info) for metric, info in self._pairs() if isinstance(metric, SetMetric)]
        states: dict[str, Accumulator] = {}
        scores: dict[str, Score] = {}
        for metric, info in wanted:
            if info.name in self.unavailable:
                scores[info.name] = Score(None, "unavailable", self.unavailable[info.name])
            else:
                states[info.name] = metric.begin()
        chosen = [metric for metric, info in wanted if info.name in states]
        stream = iter(samples) if states else iter(())
        infos = {info.name: info for _, info in wanted}
        while part := list(islice(stream, self.batch_size)):
            for view in self._views(part, chosen):
                for name, state in list(states.items()):
                    try:
                        state.add(view)
                    except Exception as error:
                        if infos[name].package is None:
                            raise
                        scores[name] = _broken(infos[name], error)
                        del states[name]
        for name, state in states.items():
            try:
                scores[name] = _checked(state.result(), infos[name])
            except Exception as error:
                if infos[name].package is None:
                    raise
                scores[name] = _broken(infos[name], error)
        return {name: scores[name] for name in infos}

    def load(self) -> dict[str, str]:
        """Load every model that the metrics need; metric -> why, of those whose model does not load.

        Each model is asked for one picture or text: a damaged file is told before anything is sampled.
        """
        from PIL import Image

        before = set(self.unavailable)
        needs = {need for metric in self.metrics if metric.card.name not in before for need in metric.needs}
        for where, feature in sorted(
            {(need.partition(":")[0] == "text", need.partition(":")[2]) for need in needs}
        ):
            self._compute(feature, [("load", "a person" if where else Image.new("RGB", (128, 128)))])
        return {name: why for name, why in self.unavailable.items() if name not in before}

    def load_asked(self, asked: str | Sequence[str], *, keep_going: bool) -> None:
        """`load`; a metric of `asked` whose model does not load is unavailable.

        Raises WeightsError where it is asked for by its own name, unless `keep_going`.
        """
        lists = [asked] if isinstance(asked, str) else asked
        named = {name.strip() for one in lists for name in one.split(",")}
        for name, reason in self.load().items():
            if name in named and not keep_going:
                raise WeightsError(
                    f"The metric {name} cannot be measured: {reason}",
                    hint="Mend the model, leave the metric out, or give --keep-going.",
                )

    def forget_failures(self) -> None:
        """Compute again what failed for one picture, when it is asked for."""
        for remembered in self._remembered.values():
            for key, feature in list(remembered.items()):
                if isinstance(feature, Failure) and feature.status == "error":
                    del remembered[key]

    def _pairs(self) -> Iterator[tuple[AnyMetric, MetricInfo]]:
        return zip(self.metrics, self.infos, strict=True)

    def _score(self, metric: Metric, info: MetricInfo, view: View) -> Score:
        if info.name in self.unavailable:
            return Score(None, "unavailable", self.unavailable[info.name])
        if metric.about_person and view.sample.category.lower() == UNRELATED:
            return Score(None, "ok", "the prompt is about no person")
        if view.sample.people and (metric.one_person or metric.compares):
            return Score(None, "ok", "the picture shows several people: see id_people")
        try:
            return _checked(metric.score(view), info)
        except NoScore as error:
            return error.score
        except Exception as error:
            if info.package is None:
                raise  # a mistake of ours
            return _broken(info, error)

    # ------------------------------------------------------------------ features
    def _views(self, samples: Sequence[SampleView], metrics: Sequence[AnyMetric]) -> list[View]:
        """The samples with every feature that the metrics need, computed in batches over all pictures."""
        needs = {
            need for metric in metrics if metric.card.name not in self.unavailable for need in metric.needs
        }
        items: dict[str, dict[str, Any]] = {}  # feature -> key -> picture or text
        keys: list[dict[str, str]] = []
        for sample in samples:
            sources = _sources(sample)
            keys.append(
                {need: sources[where][0] for need in needs if (where := need.partition(":")[0]) in sources}
            )
            for need in keys[-1]:
                where, _, feature = need.partition(":")
                items.setdefault(feature, {}).setdefault(*sources[where])
        found = {feature: self._features(feature, wanted) for feature, wanted in items.items()}
        return [
            View(sample, {need: found[need.partition(":")[2]][key] for need, key in own.items()})
            for sample, own in zip(samples, keys, strict=True)
        ]

    def _features(self, feature: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        remembered = self._remembered[feature]
        new = [
            (key, item() if callable(item) else item) for key, item in wanted.items() if key not in remembered
        ]
        fresh: dict[str, Any] = {}
        for start in range(0, len(new), self.batch_size):
            part = new[start : start + self.batch_size]
            fresh.update(zip((key for key, _ in part), self._compute(feature, part), strict=True))
        found = {key: fresh[key] if key in fresh else remembered[key] for key in wanted}
        remembered.update(fresh)
        while len(remembered) > REMEMBERED:
            remembered.popitem(last=False)
        return found

    def _compute(self, feature: str, part: Sequence[tuple[str, Any]]) -> list[Any]:
        if feature in self._broken:
            return [Failure("unavailable", self._broken[feature])] * len(part)
        extractor = self._extractors[feature]
        try:
            return extractor.compute(part)
        except SpidError as error:
            self._break(feature, str(error))
            return [Failure("unavailable", str(error))] * len(part)
        except Exception:  # one bad picture, or too large a batch: each by itself, and the bad one says why
            return [_alone(extractor, item) for item in part]

    def _break(self, feature: str, reason: str) -> None:
        """A model that does not load makes its metrics unavailable, with the reason."""
        self._broken[feature] = reason
        for metric in self.metrics:
            if any(need.partition(":")[2] == feature for need in metric.needs):
                self.unavailable.setdefault(metric.card.name, reason)


def _sources(sample: SampleView) -> dict[str, tuple[str, Any]]:
    """where -> (key of its content, picture or text), for all that the sample has."""
    from methods.images import pixels_hash

    sources: dict[str, tuple[str, Any]] = {
        "picture": (sample.id, sample.picture),
        "text": (sample.prompt, sample.prompt),
    }
    if sample.reference is not None:
        sources["reference"] = (sample.reference_id or pixels_hash(sample.reference), sample.reference)
    if sample.baseline is not None:
        sources["baseline"] = (sample.baseline_id or pixels_hash(sample.baseline), sample.baseline)
    if sample.target is not None:
        sources["target"] = (f"target {sample.target_id or sample.id}", sample.target)
    if sample.people:
        # one picture may be that of several groups, without identity above all
        shown = [[key for key, _ in photographs] for photographs in sample.people]
        sources["people"] = (f"{sample.id} with {shown}", (*sources["picture"], sample.people))
        if sample.baseline is not None:
            sources["floor"] = (
                f"{sources['baseline'][0]} with {shown}",
                (*sources["baseline"], sample.people),
            )
    return sources


def _by_photograph(sample: SampleView) -> list[SampleView]:
    """The sample with each photograph of its person as its reference."""
    others = [replace(sample, reference=one, reference_id=key, further=()) for key, one in sample.further]
    return [replace(sample, further=()), *others] if others else [sample]


def mean_score(scores: Sequence[Score]) -> Score:
    """Of one picture against several photographs: the mean of those with a value, else the first's reason.

    The status is that of the first photograph that has a value, since it speaks of the picture.
    """
    known = [score for score in scores if score.value is not None]
    if not known:
        return scores[0]
    reason = known[0].reason
    if len(known) < len(scores):
        lost = next(score.reason for score in scores if score.value is None)
        reason = f"over {len(known)} of {len(scores)} photographs ({lost})"
    value = math.fsum(score.value for score in known if score.value is not None) / len(known)
    return Score(value, known[0].status, reason)


def _broken(info: MetricInfo, error: Exception) -> Score:
    """What a plug-in's mistake becomes: a named error of its own metric, and nothing else."""
    return Score(None, "error", f"{info.name} ({info.package}): {_line(error)}")


def _line(error: Exception) -> str:
    return ((str(error).splitlines() or [""])[0])[:160] or type(error).__name__


def _alone(extractor: Extractor, item: tuple[str, Any]) -> Any:
    try:
        return extractor.compute([item])[0]
    except Exception as error:
        return Failure("error", f"{extractor.tag}: {_line(error)}")


def _checked(value: float | Score, info: MetricInfo) -> Score:
    """A score whose value is finite and within the range that its card states."""
    score = value if isinstance(value, Score) else Score(float(value))
    if score.value is None:
        return score
    low, high = info.range
    if not math.isfinite(score.value):
        return Score(None, "error", f"{info.name} is {score.value}")
    if not low - TOLERANCE <= score.value <= high + TOLERANCE:
        return Score(
            None, "error", f"{info.name} is {score.value:.6g}, outside its range {low:g} to {high:g}"
        )
    return Score(min(max(score.value, low), high), score.status, score.reason)
