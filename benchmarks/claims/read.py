"""Claims from `configs/claims/*.yaml`: strictly, every mistake named with its place. Imports no torch."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.claims.types import (
    EXPERIMENT_KINDS,
    PEOPLE,
    Catalogue,
    Claim,
    Effect,
    Experiment,
    Paper,
    Rule,
    Variant,
)
from methods.config import build, load_yaml
from methods.errors import UsageError, unknown_name
from methods.paths import configs_dir
from methods.registry import method_names

T = TypeVar("T")


@dataclass(frozen=True)
class _File:
    paper: str
    arxiv: str
    experiments: Any
    claims: Any


@dataclass(frozen=True)
class _Experiment:
    name: str
    title: str
    variants: Any
    kind: str = "suite"
    suite: str = "claims"
    sets: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    metrics: tuple[str, ...] = ()
    repeats: int = 12
    on_request: bool = False
    axis: str | None = None


@dataclass(frozen=True)
class _Variant:
    method: str
    weights: str | None = None
    recipe: str = ""


@dataclass(frozen=True)
class _Claim:
    id: str
    title: str
    statement: str
    source: str
    operationalised: str
    experiment: str
    effect: Any
    rule: Any
    published: str = ""
    people: int = PEOPLE


@dataclass(frozen=True)
class _Effect:
    metric: Any
    treatment: str
    control: str
    categories: tuple[str, ...] = ()
    ratio: bool = False


def read_claims(folder: str | Path | None = None) -> Catalogue:
    """Every claim of a folder's YAML files, in the order of the methods; None for those of the project.

    Raises UsageError, naming file and entry.
    """
    claims: list[Claim] = []
    experiments: dict[str, Experiment] = {}
    found = (configs_dir() / "claims" if folder is None else Path(folder)).glob("*.yaml")
    place = {name: at for at, name in enumerate(method_names())}
    files = sorted(found, key=lambda path: (place.get(path.stem, len(place)), path.stem))
    if not files:
        raise UsageError(f"There are no claims in {folder}.", hint="Name a folder with YAML files of claims.")
    for path in files:
        file = build(_File, load_yaml(path), where=str(path))
        paper = Paper(path.stem, " ".join(file.paper.split()), file.arxiv)
        for at, entry in _entries(file.experiments, f"{path}: experiments"):
            one = _experiment(entry, at)
            if one.name in experiments:
                raise UsageError(f"{at}: the experiment {one.name!r} exists.", hint="Choose another name.")
            experiments[one.name] = one
        for at, entry in _entries(file.claims, f"{path}: claims"):
            claim = _claim(entry, paper, experiments, at)
            if any(claim.id == known.id for known in claims):
                raise UsageError(f"{at}: the claim {claim.id!r} exists.", hint="Choose another id.")
            claims.append(claim)
    return Catalogue(tuple(claims), experiments)


def choose(catalogue: Catalogue, only: Sequence[str]) -> list[Claim]:
    """Claims by id, by paper (`spatialid`), by pattern (`*/identity`), or `all`, in reading order.

    Raises UsageError for a name that stands for no claim.
    """
    chosen: set[str] = set()
    for wanted in only:
        patterns = (wanted, f"{wanted}/*") if wanted != "all" else ("*",)
        found = {
            claim.id for claim in catalogue.claims if any(fnmatch.fnmatchcase(claim.id, p) for p in patterns)
        }
        if not found:
            papers = dict.fromkeys(claim.paper.key for claim in catalogue.claims)
            names = [*papers, "all", *(claim.id for claim in catalogue.claims)]
            raise unknown_name("claim", wanted, names, listing="spid claims --list lists them.")
        chosen |= found
    return [claim for claim in catalogue.claims if claim.id in chosen]


def _experiment(entry: Mapping[str, Any], at: str) -> Experiment:
    given = build(_Experiment, entry, where=at)
    if given.kind not in EXPERIMENT_KINDS:
        raise unknown_name(f"kind of {at}", given.kind, EXPERIMENT_KINDS)
    variants = []
    for name, value in _mapping(given.variants, f"{at}: variants").items():
        one = build(
            _Variant,
            {"method": value} if isinstance(value, str) else _mapping(value, at),
            where=f"{at}: {name}",
        )
        if (one.weights is None) != (not one.recipe):
            raise UsageError(f"{at}: {name} needs weights and their recipe.", hint="Give both, or neither.")
        variants.append(Variant(str(name), one.method, one.weights, one.recipe))
    asked = [(one.method, one.weights) for one in variants]
    if len(set(asked)) < len(asked):
        raise UsageError(f"{at}: two variants are the same.", hint="Name each method once.")
    values = {name: getattr(given, name) for name in _Experiment.__dataclass_fields__ if name != "variants"}
    return Experiment(variants=tuple(variants), **values)


def _claim(entry: Mapping[str, Any], paper: Paper, experiments: Mapping[str, Experiment], at: str) -> Claim:
    given = build(_Claim, entry, where=at)
    if given.experiment not in experiments:
        raise unknown_name(f"experiment of {at}", given.experiment, experiments)
    effect = build(_Effect, _mapping(given.effect, f"{at}: effect"), where=f"{at}: effect")
    metric = {"other": effect.metric} if isinstance(effect.metric, str) else effect.metric
    names = [one.name for one in experiments[given.experiment].variants]
    for side in (effect.treatment, effect.control):
        if side not in [*names, "none"]:
            raise unknown_name(f"variant of {at}", side, [*names, "none"])
    words: dict[str, Any] = {
        name: " ".join(getattr(given, name).split())
        for name in ("title", "statement", "source", "operationalised", "published")
    }
    return Claim(
        id=f"{paper.key}/{given.id}",
        paper=paper,
        experiment=given.experiment,
        effect=Effect(
            {str(key): str(value) for key, value in _mapping(metric, f"{at}: metric").items()},
            effect.treatment,
            effect.control,
            effect.categories,
            effect.ratio,
        ),
        rule=build(Rule, _mapping(given.rule, f"{at}: rule"), where=f"{at}: rule"),
        people=given.people,
        **words,
    )


def _entries(value: Any, where: str) -> list[tuple[str, Mapping[str, Any]]]:
    if not isinstance(value, list):
        raise UsageError(f"{where} is no list.", hint="Write `- ...` lines.")
    return [(f"{where}[{place}]", _mapping(entry, f"{where}[{place}]")) for place, entry in enumerate(value)]


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} is {value!r}.", hint="Write `key: value` lines.")
    return value
