"""What a metric is: a card, the features it needs, and one formula. Imports no torch.

A need is written `where:feature`, `where` being picture, baseline, reference, target, text, people (the
picture with the references of several people) or floor (the same of the picture without identity), and
`feature` one that `benchmarks.metrics.models` computes. All features are computed in batches before any
metric is asked, so a metric's `score` is arithmetic on a few vectors and reads like its definition.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from benchmarks.metrics.base import MetricInfo, SampleView, Score, Status
from benchmarks.metrics.models.base import Extractor

UNRELATED = "unrelated"
"""The prompt category (in any case) of prompts that mention no person; drift is measured on them alone."""

WHERE = {
    "picture": "the picture",
    "baseline": "the picture without identity",
    "reference": "the reference picture",
    "target": "the asked-for picture of this person",
    "text": "the prompt",
    "people": "a company of several people",
    "floor": "a company of several people without their picture",
}
"""Where a feature may be taken from, in words."""
_NO_FACE: dict[str, Status] = {
    "picture": "no_face_gen",
    "reference": "no_face_ref",
    "people": "no_face_ref",
    "floor": "no_face_ref",
}
"""Pictures whose missing face is a status of the sample."""


@dataclass(frozen=True)
class Failure:
    """Why a model gave no feature of one picture. status: 'no_face', 'unavailable' or 'error'.

    foreign: why the model may not judge this picture at all, unless the picture is known to be of its world.
    """

    status: str
    reason: str
    foreign: str | None = None


class NoScore(Exception):
    """Ends a metric for one sample with a score that says why."""

    def __init__(self, score: Score) -> None:
        super().__init__(score.reason)
        self.score = score


def not_applicable(reason: str) -> NoScore:
    """For a sample that the metric has nothing to say about."""
    return NoScore(Score(None, "ok", reason))


class View:
    """One sample and the features of its pictures.

    features: need -> value, or the Failure that took its place. A need of a picture that the sample does not
    have is absent.
    """

    def __init__(self, sample: SampleView, features: Mapping[str, Any]) -> None:
        self.sample = sample
        self._features = features

    def __getitem__(self, need: str) -> Any:
        """The feature. Raises NoScore with the status that names what is missing."""
        where = need.partition(":")[0]
        if need not in self._features:
            raise not_applicable(f"{WHERE[where]} is not part of this sample")
        value = self._judged(need)
        if not isinstance(value, Failure):
            return value
        reason = f"{WHERE[where]}: {value.reason}"
        if value.status == "no_face" and where not in _NO_FACE:
            raise not_applicable(reason)  # it says nothing about the picture of this sample
        status: Status = "unavailable" if value.status == "unavailable" else "error"
        raise NoScore(Score(None, _NO_FACE[where] if value.status == "no_face" else status, reason))

    def failed(self, need: str, status: str) -> bool:
        """Whether the feature is missing for this very reason."""
        value = self._judged(need)
        return isinstance(value, Failure) and value.status == status

    def _judged(self, need: str) -> Any:
        """The feature, or the Failure in its place: also where its model may not judge the picture."""
        value = self._features.get(need)
        given = need.partition(":")[0] == "reference" or not self.sample.rendered
        if given and (foreign := getattr(value, "foreign", None)):
            return Failure("unavailable", foreign)
        return value


def _compares(needs: tuple[str, ...]) -> bool:
    return any(need.startswith("reference:") for need in needs)


class Metric(ABC):
    """One value per sample, and per photograph of its person: of several, the evaluator takes the mean."""

    info: ClassVar[MetricInfo]
    needs: tuple[str, ...] = ()
    extractors: ClassVar[Mapping[str, Callable[[str], Extractor]]] = {}
    """Features that a plug-in brings along, by name: classes that take a torch device."""
    independent: ClassVar[bool] = False
    """Whether its recogniser must not be the one that conditioned the pictures."""
    about_person: ClassVar[bool] = False
    """Whether it says nothing about prompts of category `Unrelated`, which mention no person."""
    one_person: ClassVar[bool] = False
    """Whether it says nothing about a picture of several people, as nothing does that compares with the one
    reference: it looks at the largest face, or its model knows pictures of one person."""

    @property
    def card(self) -> MetricInfo:
        """The card before models are chosen; metrics of a family (one per factor) fill it themselves."""
        return self.info

    @property
    def compares(self) -> bool:
        """Whether it looks at the reference picture."""
        return _compares(self.needs)

    @abstractmethod
    def score(self, view: View) -> float | Score:
        """The value, or a Score that carries a status. May raise NoScore."""


class Accumulator(Protocol):
    """The running state of a set metric over the samples of one method."""

    def add(self, view: View) -> None: ...

    def result(self) -> float | Score: ...


class SetMetric(ABC):
    """One value per method. Samples are shown one by one, so that pictures need not stay in memory."""

    info: ClassVar[MetricInfo]
    needs: tuple[str, ...] = ()
    extractors: ClassVar[Mapping[str, Callable[[str], Extractor]]] = {}

    @property
    def card(self) -> MetricInfo:
        return self.info

    @property
    def compares(self) -> bool:
        return _compares(self.needs)

    @abstractmethod
    def begin(self) -> Accumulator: ...
