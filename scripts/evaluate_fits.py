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

Stop it at any time: every fit and every measurement is kept in --work, and the same command goes on there.
One fit of textual inversion at 5,000 steps takes most of the time of `speed`.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from methods.config import load_yaml
from methods.errors import SpidError, UsageError
from methods.files import save_json
from methods.fitting.measure import Study, Variant
from methods.paths import pocket_dir
from methods.registry import get_method

PARTS = ("attention", "ablation", "speed", "sweep")


def variants_at_equal_steps() -> list[Variant]:
    """Textual inversion with facewise's own steps and batch first, then facewise and its ablations."""
    config = get_method("facewise").Config()
    equal = {"steps": config.steps, "batch": config.batch}
    return [
        Variant("textual-inversion", "textual-inversion", equal),
        Variant("facewise", "facewise"),
        Variant("facewise without loss", "facewise", {"weight": 0.0}),
        Variant("facewise with shared tokens", "facewise", {"shared": True}),
    ]


def attention(study: Study) -> dict[str, Any]:
    return study.shares(variants_at_equal_steps())


def ablation(study: Study) -> dict[str, Any]:
    inversion, full, *worse = variants_at_equal_steps()
    return study.comparison([full, *worse, inversion, Variant("none", "none")])


def speed(study: Study) -> dict[str, Any]:
    variants = [Variant("id-ea", "id-ea"), Variant("textual-inversion", "textual-inversion")]
    release = Variant("id-ea release", "id-ea", {"mode": "release"})
    return {"pictures": study.comparison([*variants, release]), "seconds": study.seconds(variants)}


def sweep(study: Study, grid: Mapping[str, Any]) -> dict[str, Any]:
    """Every combination of the grid's values; the first one is what ratios and differences refer to."""
    if set(grid) != {"method", "base", "values"}:
        raise UsageError("A sweep has the entries method, base and values.", hint="See configs/fits.")
    names = list(grid["values"])
    variants = []
    for values in itertools.product(*grid["values"].values()):
        options = {**grid["base"], **dict(zip(names, values, strict=True))}
        label = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        variants.append(Variant(label, grid["method"], options))
    return {"attention": study.shares(variants), "pictures": study.comparison(variants)}


def main() -> int:
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
    parser.add_argument("--weights", type=Path, default=pocket_dir(), help="folder of the pocket models")
    parser.add_argument("--work", type=Path, default=Path("outputs/evaluate-fits"), help="records of the run")
    parser.add_argument("--output", type=Path, default=Path("results/fits.json"))
    arguments = parser.parse_args()
    parts = [part.strip() for part in arguments.parts.split(",") if part.strip()]
    try:
        if unknown := [part for part in parts if part not in PARTS]:
            raise UsageError(f"Unknown part {unknown[0]!r}.", hint=f"Known: {', '.join(PARTS)}.")
        study = Study(
            arguments.work,
            arguments.weights,
            people=arguments.people,
            prompts=arguments.prompts,
            renders=arguments.renders,
            steps=arguments.steps,
            report=lambda line: print(line, file=sys.stderr, flush=True),
        )
        figures: dict[str, Any] = {"backbone": study.backbone.fingerprint}
        measures = {"attention": attention, "ablation": ablation, "speed": speed}
        for part in parts:
            known = measures.get(part)
            figures[part] = sweep(study, load_yaml(arguments.sweep)) if known is None else known(study)
            save_json(arguments.output, figures)
    except SpidError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
