"""Score pictures with many metrics: every picture is analysed once per model, whatever asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.metrics.base import MetricInfo, SampleView, Score


class Evaluator:
    """Built once per run and process.

    metrics: names, or `default`, `compat:ibench` or `all`. backbone_family: `pocket` selects the pocket twins
    of every model. models: role -> name or path, see `benchmarks.metrics.models`.

    infos: the cards of all metrics asked for, the unavailable ones too. unavailable: metric -> what is
    missing and what to do. Construction loads no model; a model is loaded when the first picture needs it.

    Raises UsageError for an unknown metric, role or model name.
    """

    infos: list[MetricInfo]
    unavailable: dict[str, str]

    def __init__(
        self, metrics: Sequence[str] | str, *, backbone_family: str, models: Mapping[str, str] | None = None
    ) -> None:
        raise NotImplementedError

    def score(self, samples: Sequence[SampleView]) -> list[dict[str, Score]]:
        """One dict per sample, with a Score for every metric of level 'sample', in the order of `infos`."""
        raise NotImplementedError

    def score_set(self, samples: Iterable[SampleView]) -> dict[str, Score]:
        """A Score for every metric of level 'set' over the samples of one method; may be a generator."""
        raise NotImplementedError
