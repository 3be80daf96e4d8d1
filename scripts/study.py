"""Studies on held-out pocket people that no suite's rows hold, each into a JSON file of results/.

    python scripts/study.py methods --fit-people 32      # identity of every method           -> methods.json
    python scripts/study.py fits --parts attention,ablation --people 16                       -> fits.json
    python scripts/study.py pidiff --full outputs/full/adapter --stage-one outputs/one/adapter -> pidiff.json
    python scripts/study.py methods --methods none,pidiff --adapter pidiff=outputs/train-pidiff/adapter

`methods`: benchmarks/studies/methods.py; methods that fit every person come last, and only the first
--fit-people are fitted. `fits`: benchmarks/studies/fits.py. `pidiff`: benchmarks/studies/pidiff.py; both
trainings are made by `spid train --method pidiff`, the first stage with --set options.wild_steps=0. Beside
its JSON come pidiff-coarse.png and pidiff-fine.png: row r, column c shows person r with the coarse style rows
(shape) or the fine ones (colouring) of person c.

Stop it at any time: every fit and every measurement is kept in --work, the output is written after every
person and holds the people so far, and the same command goes on there. A changed adapter, backbone or option
is another record; parts of an earlier run with the same settings stay in the output.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from methods.compat import ensure_torchvision

ensure_torchvision()

from benchmarks.studies import fits, methods, pidiff  # noqa: E402
from benchmarks.studies.figures import Figures  # noqa: E402
from benchmarks.studies.people import held_out  # noqa: E402
from benchmarks.studies.study import Study, Variant, options_by_method  # noqa: E402
from methods.config import load_yaml  # noqa: E402
from methods.errors import SpidError, UsageError  # noqa: E402
from methods.images import save_png  # noqa: E402
from methods.paths import pocket_dir  # noqa: E402
from methods.pocket.models import PocketModels  # noqa: E402
from methods.registry import get_method, method_names  # noqa: E402
from spatialid_cli import console  # noqa: E402
from spatialid_cli.request import collect_pairs  # noqa: E402


def study_methods(arguments: argparse.Namespace) -> None:
    """results/methods.json, and its table."""
    names = split(arguments.methods)
    for name in names:
        get_method(name)
    options = options_by_method(arguments.settings, names)
    adapters = collect_pairs("--adapter", arguments.adapter, "pidiff=outputs/train-pidiff/adapter")
    if unknown := adapters.keys() - set(names):
        raise UsageError(f"--adapter {min(unknown)} is not measured.", hint="Name it in --methods.")
    study = Study(
        **shared(arguments),
        batch_size=max(1, min(8, arguments.prompts)),
        pictured={"style": "photo"},
        adapters={name: Path(folder) for name, folder in adapters.items()},
    )
    definition = (
        "mean over people of the scoring similarity to the reference, 0 without a face; "
        "intervals resample people"
    )
    figures = Figures(arguments.output, {"definition": definition, **settings(study), "options": options})
    variants = [Variant(name, name, options.get(name, {})) for name in names]
    methods.evaluate(study, variants, arguments.fit_people, figures)
    print(methods.table(figures.values))


def study_fits(arguments: argparse.Namespace) -> None:
    """results/fits.json."""
    parts = known_parts(arguments.parts, [*fits.PARTS, "sweep"])
    options = options_by_method(arguments.settings, fits.fitted_methods())
    study = Study(**shared(arguments), renders=arguments.renders)
    figures = Figures(arguments.output, {**settings(study), "renders": study.renders, "options": options})
    for part in parts:
        if part == "sweep":
            measure = fits.sweep(study, load_yaml(arguments.sweep), options)
        else:
            measure = fits.PARTS[part](study, options)
        fits.evaluate(study, part, measure, figures)


def study_pidiff(arguments: argparse.Namespace) -> None:
    """results/pidiff.json, and the sheets of styles beside it."""
    parts = known_parts(arguments.parts, ["background", "styles"])
    if "background" in parts and arguments.stage_one is None:
        raise UsageError("The part background needs --stage-one.", hint="Or take --parts styles.")
    models = PocketModels(arguments.weights)
    count = max(arguments.people if "background" in parts else 0, arguments.sheet_people)
    people = [held_out(number, arguments.work / "people", models.conditioner) for number in range(count)]
    prompts = list(pidiff.PROMPTS[: arguments.prompts])
    steps = arguments.steps
    figures = Figures(
        arguments.output, {"backbone": models.backbone.fingerprint, "prompts": prompts, "steps": steps}
    )
    if "background" in parts:
        pidiff.background(
            {"full": arguments.full, "stage one": arguments.stage_one},
            people[: arguments.people],
            prompts,
            models,
            steps,
            arguments.id_weights,
            figures,
            arguments.work,
            console.log,
        )
    if "styles" in parts:
        shown = people[: arguments.sheet_people]
        for levels in arguments.levels:
            sheet = pidiff.style_sheet(models.backbone, arguments.full, shown, steps, levels, console.log)
            save_png(arguments.output.with_name(f"{arguments.output.stem}-{levels}.png"), sheet)


def shared(arguments: argparse.Namespace) -> dict[str, Any]:
    """What every `Study` is given."""
    return {
        "work": arguments.work,
        "models": PocketModels(arguments.weights),
        "people": arguments.people,
        "prompts": arguments.prompts,
        "steps": arguments.steps,
        "report": console.log,
    }


def settings(study: Study) -> dict[str, Any]:
    """What the figures of a study depend on, whatever it measures."""
    return {"backbone": study.models.backbone.fingerprint, "prompts": study.prompts, "steps": study.steps}


def split(text: str) -> list[str]:
    """The names of a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def known_parts(text: str, known: Sequence[str]) -> list[str]:
    """Parts by name. Raises UsageError for one that does not exist."""
    parts = split(text)
    if unknown := [part for part in parts if part not in known]:
        raise UsageError(f"Unknown part {unknown[0]!r}.", hint=f"Known: {', '.join(known)}.")
    return parts


def parser() -> argparse.ArgumentParser:
    """One sub-command per study."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="study", required=True)

    def add(name: str, run: Any, people: int, prompts: int) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        one.set_defaults(run=run)
        one.add_argument("--people", type=int, default=people)
        one.add_argument("--prompts", type=int, default=prompts, help="pictures per person")
        one.add_argument("--steps", type=int, default=25, help="sampling steps")
        one.add_argument("--weights", type=Path, default=pocket_dir(), help="folder of the pocket models")
        one.add_argument(
            "--work", type=Path, default=Path(f"outputs/study-{name}"), help="records of the run"
        )
        one.add_argument("--output", type=Path, default=Path(f"results/{name}.json"))
        return one

    one = add("methods", study_methods, 32, 4)
    one.add_argument("--methods", default=",".join(method_names()), help="list; all unless given")
    one.add_argument("--fit-people", type=int, default=2, help="of them, for methods that fit everybody")
    one.add_argument("--adapter", action="append", default=[], metavar="METHOD=FOLDER")
    one.add_argument("--set", action="append", default=[], metavar="METHOD.KEY=VALUE", dest="settings")

    one = add("fits", study_fits, 16, 8)
    one.add_argument("--parts", default="attention,ablation,speed", help=f"of {','.join(fits.PARTS)},sweep")
    one.add_argument("--sweep", type=Path, default=Path("configs/fits/facewise-lambda.yaml"))
    one.add_argument("--renders", type=int, default=4, help="photographs per person for attention")
    one.add_argument("--set", action="append", default=[], metavar="METHOD.KEY=VALUE", dest="settings")

    one = add("pidiff", study_pidiff, 16, len(pidiff.PROMPTS))
    one.add_argument("--full", type=Path, required=True, help="adapter of both stages")
    one.add_argument("--stage-one", type=Path, help="adapter of the first stage alone, for background")
    one.add_argument("--parts", default="background,styles", help="of background,styles")
    one.add_argument("--id-weights", type=float, nargs="+", default=[1.0], help="of the full training")
    one.add_argument("--sheet-people", type=int, default=4, help="rows and columns of a style sheet")
    one.add_argument("--levels", nargs="+", default=["coarse", "fine"], help="rows to swap, a sheet each")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, write."""
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except SpidError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
