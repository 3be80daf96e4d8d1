"""What the prompt asks for, checked by the probes; and whether the reference's context changes the answer."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from itertools import combinations
from typing import Any

from benchmarks.metrics.base import MetricInfo, Score
from benchmarks.metrics.metric import Metric, NoScore, SetMetric, View, not_applicable

_ATTR = MetricInfo(
    name="attr",
    title="attributes as prompted",
    direction="higher",
    range=(0.0, 1.0),
    model="",
    preprocessing="",
    definition="share of the factors named by the prompt (scene, clothing, colour, expression, ...) whose "
    "value the probe sees in the picture",
    source="this project: the ground truth of the pocket world",
    licence="",
)


class Attributes(Metric):
    """Over all factors that the prompt names."""

    one_person = True
    info = _ATTR
    needs = ("picture:probes",)

    def __init__(self, factors: tuple[str, ...]) -> None:
        self.factors = factors

    def score(self, view: View) -> float:
        wanted = [factor for factor in self.factors if factor in view.sample.truth]
        if not wanted:
            raise not_applicable("the prompt's factors are unknown or not named")
        seen = view["picture:probes"]
        return sum(seen[factor] == view.sample.truth[factor] for factor in wanted) / len(wanted)


class AttributeFactor(Attributes):
    """Of one factor."""

    def __init__(self, factor: str) -> None:
        super().__init__((factor,))
        word = factor.replace("_", " ")
        self._card = replace(
            _ATTR,
            name=f"attr_{factor}",
            title=f"{word} as prompted",
            definition=f"1 where the probe sees the {word} that the prompt names, else 0; prompts that name "
            "none leave the mean",
        )

    @property
    def card(self) -> MetricInfo:
        return self._card


class Counterfactual(SetMetric):
    info = MetricInfo(
        name="counterfactual",
        title="consistency over references",
        direction="higher",
        range=(-1.0, 1.0),
        model="",
        preprocessing="",
        definition="mean cosine of the CLIP features of pictures that share person, prompt and seed and "
        "differ only in the reference picture (the same person in another context); 1 for a method that "
        "takes nothing but identity from the reference",
        source="this project: counterfactual references of the pocket suite",
        licence="",
    )
    needs = ("picture:clip",)

    def begin(self) -> _Pairs:
        return _Pairs()


class _Pairs:
    """CLIP features by person, prompt and without-ID picture (which stands for the seed)."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, dict[str, Any]] = {}

    def add(self, view: View) -> None:
        sample = view.sample
        if sample.reference_id is None:
            return
        try:
            feature = view["picture:clip"]
        except NoScore:
            return
        group = (sample.identity, sample.prompt, sample.baseline_id)
        self._groups.setdefault(group, {})[sample.reference_id] = feature

    def result(self) -> Score:
        pairs = [float(a @ b) for group in self._groups.values() for a, b in combinations(group.values(), 2)]
        if not pairs:
            return Score(None, "ok", "no person was generated from two reference pictures")
        return Score(sum(pairs) / len(pairs), "ok", f"{len(pairs)} pairs")
