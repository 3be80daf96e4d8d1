"""What the fitted methods must show, measured with the pocket models on people nobody trained on.

attention  share of V*'s attention inside the true face region: facewise against textual inversion at
           equal steps and batch (wanted: 1.5 times as much), and without the loss
ablation   prompt following and identity: facewise against itself without the loss and with shared
           tokens
speed      id-ea at 320 steps against textual inversion at 5,000: identity, and the ratio of times
cost       processor seconds and final loss of every fit with the settings of its backbone, against the
           published ones with the network in float32 (textual inversion at facewise's steps and batch)
sweep      attention share, prompt following and identity over a grid of options
bound      what limits a learned word: identity when the text features themselves are fitted, at the
           word's place or at all of them, beside textual inversion at equal steps and uniform
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.studies.figures import Figures, Remaining
from benchmarks.studies.study import Study, Variant
from methods.errors import UsageError
from methods.registry import get_method, method_info, method_names
from methods.settings import OPTION, configure

Options = Mapping[str, Mapping[str, Any]]
"""Options of fits by method, instead of their defaults."""
Measure = Callable[[int], dict[str, Any]]
"""The figures of a part over so many people."""


def attention(study: Study, options: Options) -> Measure:
    variants = variants_at_equal_steps(study, options)
    return lambda people: study.shares(variants, people)


def ablation(study: Study, options: Options) -> Measure:
    inversion, full, *worse = variants_at_equal_steps(study, options)
    return lambda people: study.comparison([full, *worse, inversion, Variant("none", "none")], people)


def speed(study: Study, options: Options) -> Measure:
    variants = [
        Variant(name, name, {OPTION: "published", **options.get(name, {})})
        for name in ("id-ea", "textual-inversion")
    ]
    release = Variant("id-ea release", "id-ea", {**variants[0].options, "mode": "release"})
    return lambda people: {
        "pictures": study.comparison([*variants, release], people),
        "seconds": study.seconds(variants, people),
    }


def cost(study: Study, options: Options) -> Measure:
    inversion = variants_at_equal_steps(study, {"facewise": {OPTION: "published"}})[0].options
    pairs = {}
    for name in fitted_methods():
        equal = inversion if name == "textual-inversion" else {}
        own = options.get(name, {})
        published = {OPTION: "published", "precision": "float32", **equal, **own}
        pairs[name] = [Variant(name, name, own), Variant(f"{name} as published", name, published)]
    return lambda people: {
        name: {**study.seconds(pair, people), "final_loss": study.losses(pair, people)}
        for name, pair in pairs.items()
    }


def sweep(study: Study, grid: Mapping[str, Any], options: Options) -> Measure:
    """Every combination of the grid's values; the first one is what ratios and differences refer to."""
    if set(grid) != {"method", "base", "values"}:
        raise UsageError("A sweep has the entries method, base and values.", hint="See configs/fits.")
    names = list(grid["values"])
    variants = []
    for values in itertools.product(*grid["values"].values()):
        own = {**options.get(grid["method"], {}), **grid["base"], **dict(zip(names, values, strict=True))}
        label = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        variants.append(Variant(label, grid["method"], own))
    return lambda people: {
        "attention": study.shares(variants, people),
        "pictures": study.comparison(variants, people),
    }


def bound(study: Study, options: Options) -> Measure:
    inversion = variants_at_equal_steps(study, options)[0]
    equal = {name: inversion.options[name] for name in ("steps", "batch")}
    variants = [
        inversion,
        Variant("features at the word's place", "free-features", {**equal, "places": "word"}),
        Variant("features at all places", "free-features", {**equal, "places": "all"}),
        Variant("uniform", "uniform"),
    ]
    return lambda people: study.comparison(variants, people)


def fitted_methods() -> list[str]:
    """Names of the methods that fit every person."""
    return [name for name in method_names() if method_info(name).kind == "fit"]


def variants_at_equal_steps(study: Study, options: Options) -> list[Variant]:
    """Textual inversion with facewise's own steps and batch first, then facewise and its ablations."""
    own = options.get("facewise", {})
    config = configure(get_method("facewise"), own, family=study.models.backbone.family)
    equal = {**options.get("textual-inversion", {}), "steps": config.steps, "batch": config.batch}
    return [
        Variant("textual-inversion", "textual-inversion", equal),
        Variant("facewise", "facewise", own),
        Variant("facewise without loss", "facewise", {**own, "weight": 0.0}),
        Variant("facewise with shared tokens", "facewise", {**own, "shared": True}),
    ]


PARTS = {"attention": attention, "ablation": ablation, "speed": speed, "bound": bound, "cost": cost}
"""And `sweep`, which takes a grid."""


def evaluate(study: Study, part: str, measure: Measure, figures: Figures) -> None:
    """One part, person by person, over the people so far."""
    remaining = Remaining()
    for people in range(1, study.people + 1):
        made = len(study.made)
        figures.keep(part, measure(people))
        left = remaining.after(study.people - people, fresh=len(study.made) > made)
        study.report(f"{part}: {people} of {study.people} people{left}")
