"""What a claim consists of, as `configs/claims/*.yaml` says it (`read.py`). Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, TypeAdapter, WithJsonSchema

from benchmarks.statistics import MIN_UNITS
from methods.config import record
from methods.shipped import is_pocket

Prose = Annotated[str, AfterValidator(lambda text: " ".join(text.split()))]
"""Sentences of a YAML file, however it broke their lines."""
ByFamily = Annotated[
    Mapping[str, str], BeforeValidator(lambda given: {"other": given} if isinstance(given, str) else given)
]
"""Something by family of the backbone; a single word is that of all families."""

Expected = Literal["higher", "lower"]
RuleKind = Literal["superior", "not_worse", "kept", "at_most", "at_least"]
ExperimentKind = Literal["suite", "attention", "seconds", "fit_seconds"]
EXPERIMENT_KINDS: tuple[ExperimentKind, ...] = get_args(ExperimentKind)
Verdict = Literal["replicated", "not replicated", "inconclusive", "undecided", "not measured"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
PEOPLE = 16
"""Fewest people, or rounds of a timing, over whom a claim is judged, unless it says otherwise."""


@record
@dataclass(frozen=True)
class Rule:
    """When a claim counts as replicated; see `rules.judge`.

    kind:   superior  - the effect has the expected sign and may be at least `least`
            not_worse - it is not worse, against `expect`, than `margin`
            kept      - it lies within `margin` of nothing, on either side
            at_most, at_least - it lies on that side of `bound`
    expect: which way is better; `kept`, `at_most` and `at_least` take none
    least:  the smallest effect that counts, in the metric's unit
    margin: how much worse is still the same, in the metric's unit
    """

    kind: RuleKind
    expect: Expected | None = None
    least: float = 0.0
    margin: float = 0.0
    bound: float | None = None

    def __post_init__(self) -> None:
        if (self.kind in ("superior", "not_worse")) != (self.expect is not None):
            raise ValueError("`expect` belongs to superior and not_worse, and only to them")
        if (self.kind in ("at_most", "at_least")) != (self.bound is not None):
            raise ValueError("`bound` belongs to at_most and at_least, and only to them")
        if (self.kind in ("not_worse", "kept")) != (self.margin > 0):
            raise ValueError("a positive `margin` belongs to not_worse and kept, and only to them")
        if self.least < 0 or (self.least and self.kind != "superior"):
            raise ValueError("`least`, 0 or more, belongs to superior")


@record
@dataclass(frozen=True)
class Effect:
    """What is measured: treatment against control, over pairs of the same person, prompt and seed.

    metric:     by family of the backbone, `pocket` for all of the pocket world; `other` for those not named
    categories: of prompts; () for all of them
    ratio:      treatment / control (geometric mean) instead of treatment - control (mean)
    """

    metric: ByFamily
    treatment: str
    control: str
    categories: tuple[str, ...] = ()
    ratio: bool = False

    def metric_for(self, family: str) -> str | None:
        """The metric on a backbone of this family; None where the claim cannot be measured there."""
        return self.metric.get("pocket" if is_pocket(family) else family, self.metric.get("other"))


@record
@dataclass(frozen=True)
class Variant:
    """A method with options, as `spid bench --methods` takes it.

    families: what takes its place on backbones of these families; no other words have to change
    weights:  name of weights that do not come with the project and must be given
    recipe:   how such weights are made, in one line
    """

    name: str
    method: str
    families: Mapping[str, str] = field(default_factory=dict, hash=False)
    weights: str | None = None
    recipe: str = ""

    def __post_init__(self) -> None:
        if (self.weights is None) != (not self.recipe):
            raise ValueError(f"{self.name} needs weights and their recipe, or neither")

    def on(self, family: str) -> Variant:
        """The variant as it is on backbones of a family."""
        return replace(self, method=self.families.get(family, self.method), families={})


def _schema_of_variants() -> dict[str, Any]:
    """What a file writes: a mapping from the name of a variant to its method, or to all else of it."""
    schema = TypeAdapter(Variant).json_schema()
    schema["properties"].pop("name")
    schema["required"].remove("name")
    return {"type": "object", "additionalProperties": {"anyOf": [{"type": "string"}, schema]}}


Variants = Annotated[tuple[Variant, ...], WithJsonSchema(_schema_of_variants())]


@record
@dataclass(frozen=True)
class Experiment:
    """Variants on one suite; several claims read one experiment.

    kind:       suite - pictures and metrics by the harness's runner
                attention - where the word for the person looks, in pictures sampled for it
                seconds - sampling time, variants taking turns; fit_seconds - time of a fit per person
    sets:       of the suite; () for all
    metrics:    shown beside those that claims read
    repeats:    rounds of the timed kinds
    on_request: runs only when asked for by name, because it takes hours
    axis:       what the variants vary, where they are points of a curve
    """

    name: str
    title: str
    variants: Variants
    kind: ExperimentKind = "suite"
    suite: str = "claims"
    sets: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    metrics: tuple[str, ...] = ()
    repeats: int = 12
    on_request: bool = False
    axis: str | None = None

    def __post_init__(self) -> None:
        asked = [(one.method, one.weights) for one in self.variants]
        if len(set(asked)) < len(asked):
            raise ValueError("two variants are the same")

    def variant(self, name: str) -> Variant:
        return next(one for one in self.variants if one.name == name)


@record
@dataclass(frozen=True)
class Paper:
    """A paper, in the words of the method's card."""

    key: str
    title: Prose
    arxiv: str


@record
@dataclass(frozen=True)
class Statement:
    """One statement of a paper as a hypothesis, as the file of its paper writes it.

    id:              within the file
    statement:       what the paper says, in our words
    source:          where it says so
    published:       its own numbers, "" where none are known
    operationalised: what is measured instead, and why this stands for the statement
    people:          fewest people, or rounds of a timing, over whom it is judged; over fewer it is undecided
    """

    id: str
    title: Prose
    statement: Prose
    source: Prose
    operationalised: Prose
    experiment: str
    effect: Effect
    rule: Rule
    published: Prose = ""
    people: int = PEOPLE

    def __post_init__(self) -> None:
        if self.people < MIN_UNITS:
            raise ValueError(f"`people` is {self.people}; an interval takes at least {MIN_UNITS}")


@dataclass(frozen=True, kw_only=True)
class Claim(Statement):
    """A statement with its paper; `id` is `paper/statement`."""

    paper: Paper

    @property
    def definition(self) -> str:
        """Digest of what is asked and by which rule, settled before any data: SHA-256, 16 hexadecimal digits.

        Not of `people`: how much evidence is wanted may grow without the question being another.
        """
        settled = {name: value for name, value in asdict(self).items() if name != "people"}
        text = json.dumps(settled, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@record
@dataclass(frozen=True)
class ClaimsFile:
    """A file of `configs/claims`: one paper, what is measured, and what it says."""

    paper: str
    arxiv: str
    experiments: tuple[Experiment, ...]
    claims: tuple[Statement, ...]


@dataclass(frozen=True)
class Catalogue:
    """All claims and experiments, in reading order."""

    claims: tuple[Claim, ...]
    experiments: Mapping[str, Experiment] = field(default_factory=dict)

    def on(self, family: str) -> Catalogue:
        """The same for backbones of a family."""
        found = {
            name: replace(one, variants=tuple(variant.on(family) for variant in one.variants))
            for name, one in self.experiments.items()
        }
        return replace(self, experiments=found)

    def of(self, experiment: str) -> list[Claim]:
        """The claims that read an experiment."""
        return [claim for claim in self.claims if claim.experiment == experiment]
