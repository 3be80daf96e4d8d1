"""What the fitted methods must show, measured with the pocket models on people nobody trained on.

    python scripts/evaluate_fits.py                                  # everything, to results/fits.json
    python scripts/evaluate_fits.py --parts attention,ablation --people 16
    python scripts/evaluate_fits.py --parts sweep --sweep configs/fits/facewise-lambda.yaml

    attention  share of V*'s attention inside the true face region: facewise against textual inversion at
               equal steps and batch (wanted: 1.5 times as much), and without the loss
    ablation   prompt following and identity: facewise against itself without the loss and with shared
               tokens
    speed      id-ea at 320 steps against textual inversion at 5,000: identity, and the ratio of times
    sweep      attention share, prompt following and identity over a grid of options
    bound      what limits a learned word: identity when the text features themselves are fitted, at the
               word's place or at all of them, beside textual inversion at equal steps and uniform

Stop it at any time: every fit and every measurement is kept in --work, and the same command goes on there.
The output is written after every person and holds the people so far; parts of an earlier run with the same
settings stay in it. One fit of textual inversion at 5,000 steps takes most of the time of `speed`; shorter
ones are asked for by --set textual-inversion.steps=500, and stand in the settings of the output.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from methods.config import build, load_yaml
from methods.errors import SpidError, UsageError
from methods.evaluation.figures import Figures, Remaining
from methods.evaluation.study import Study, Variant, options_by_method
from methods.paths import pocket_dir
from methods.pocket.models import PocketModels
from methods.registry import get_method, method_info, method_names
from spatialid_cli import console

PARTS = ("attention", "ablation", "speed", "sweep", "bound")

Options = Mapping[str, Mapping[str, Any]]
"""Options of fits by method, instead of their defaults."""
Measure = Callable[[int], dict[str, Any]]
"""The figures of a part over so many people."""


def attention(study: Study, options: Options) -> Measure:
    variants = variants_at_equal_steps(options)
    return lambda people: study.shares(variants, people)


def ablation(study: Study, options: Options) -> Measure:
    inversion, full, *worse = variants_at_equal_steps(options)
    return lambda people: study.comparison([full, *worse, inversion, Variant("none", "none")], people)


def speed(study: Study, options: Options) -> Measure:
    own = options.get("id-ea", {})
    variants = [
        Variant("id-ea", "id-ea", own),
        Variant("textual-inversion", "textual-inversion", options.get("textual-inversion", {})),
    ]
    release = Variant("id-ea release", "id-ea", {**own, "mode": "release"})
    return lambda people: {
        "pictures": study.comparison([*variants, release], people),
        "seconds": study.seconds(variants, people),
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
    inversion = variants_at_equal_steps(options)[0]
    equal = {name: inversion.options[name] for name in ("steps", "batch")}
    variants = [
        inversion,
        Variant("features at the word's place", "free-features", {**equal, "places": "word"}),
        Variant("features at all places", "free-features", {**equal, "places": "all"}),
        Variant("uniform", "uniform"),
    ]
    return lambda people: study.comparison(variants, people)


def variants_at_equal_steps(options: Options) -> list[Variant]:
    """Textual inversion with facewise's own steps and batch first, then facewise and its ablations."""
    own = options.get("facewise", {})
    config: Any = build(get_method("facewise").Config, own, where="facewise")
    equal = {**options.get("textual-inversion", {}), "steps": config.steps, "batch": config.batch}
    return [
        Variant("textual-inversion", "textual-inversion", equal),
        Variant("facewise", "facewise", own),
        Variant("facewise without loss", "facewise", {**own, "weight": 0.0}),
        Variant("facewise with shared tokens", "facewise", {**own, "shared": True}),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, write after every part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="attention,ablation,speed", help=f"of {','.join(PARTS)}")
    parser.add_argument("--sweep", type=Path, default=Path("configs/fits/facewise-lambda.yaml"))
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=8, help="pictures per person")
    parser.add_argument("--renders", type=int, default=4, help="photographs per person for attention")
    parser.add_argument("--steps", type=int, default=25, help="sampling steps")
    parser.add_argument("--set", action="append", default=[], metavar="METHOD.KEY=VALUE", dest="settings")
    parser.add_argument("--weights", type=Path, default=pocket_dir(), help="folder of the pocket models")
    parser.add_argument("--work", type=Path, default=Path("outputs/evaluate-fits"), help="records of the run")
    parser.add_argument("--output", type=Path, default=Path("results/fits.json"))
    arguments = parser.parse_args(argv)
    parts = [part.strip() for part in arguments.parts.split(",") if part.strip()]
    try:
        if unknown := [part for part in parts if part not in PARTS]:
            raise UsageError(f"Unknown part {unknown[0]!r}.", hint=f"Known: {', '.join(PARTS)}.")
        fits = [name for name in method_names() if method_info(name).kind == "fit"]
        options = options_by_method(arguments.settings, fits)
        study = Study(
            arguments.work,
            PocketModels(arguments.weights),
            people=arguments.people,
            prompts=arguments.prompts,
            renders=arguments.renders,
            steps=arguments.steps,
            report=console.log,
        )
        figures = Figures(
            arguments.output,
            {
                "backbone": study.models.backbone.fingerprint,
                "prompts": study.prompts,
                "renders": study.renders,
                "steps": study.steps,
                "options": options,
            },
        )
        known = {"attention": attention, "ablation": ablation, "speed": speed, "bound": bound}
        for part in parts:
            measure = (
                known[part](study, options)
                if part in known
                else sweep(study, load_yaml(arguments.sweep), options)
            )
            remaining = Remaining()
            for people in range(1, study.people + 1):
                made = len(study.made)
                figures.keep(part, measure(people))
                left = remaining.after(study.people - people, fresh=len(study.made) > made)
                console.log(f"{part}: {people} of {study.people} people{left}")
    except SpidError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
