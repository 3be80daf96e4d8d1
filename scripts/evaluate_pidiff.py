"""What PIDiff must show, measured with the pocket models on people nobody trained on.

    spid train --method pidiff --output outputs/full
    spid train --method pidiff --output outputs/one --set options.wild_steps=0
    python scripts/evaluate_pidiff.py --full outputs/full/adapter --stage-one outputs/one/adapter

Writes results/pidiff.json (background and identity, full training against the first stage alone, paired;
after every person, over the people so far) and beside it pidiff-coarse.png and pidiff-fine.png: row r, column
c shows person r with the coarse style rows (shape) or the fine ones (colouring) of person c. A first stage
that hardly shows the person hardly moves the background either: --id-weights 1 0.7 0.5 measures the full
training at lower weights of the identity too. Stop it at any time: records are kept in --work, and the same
command goes on there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from methods.compat import ensure_torchvision

ensure_torchvision()

from methods.backbone.backbone import Backbone  # noqa: E402
from methods.backbone.sampling import sample  # noqa: E402
from methods.errors import SpidError, UsageError  # noqa: E402
from methods.evaluation.background import Measured, compare, measure, plain_pictures, verdict  # noqa: E402
from methods.evaluation.figures import Figures, Remaining  # noqa: E402
from methods.evaluation.people import held_out  # noqa: E402
from methods.files import save_json  # noqa: E402
from methods.hooks import Identity, Job  # noqa: E402
from methods.images import contact_sheet, save_png  # noqa: E402
from methods.paths import pocket_dir  # noqa: E402
from methods.pidiff.method import Config, PIDiff, reference_image  # noqa: E402
from methods.pocket.models import PocketModels  # noqa: E402
from spatialid_cli import console  # noqa: E402

PROMPTS = (
    "a photo of a person in a red sweater, on a beach",
    "a photo of a smiling person in a blue suit, in a city",
    "a photo of a person in a green hoodie, in a forest",
    "a photo of a person in a white t-shirt, in a library",
)


def style_sheet(
    backbone: Backbone, folder: Path, people: list[Identity], steps: int, levels: str
) -> Image.Image:
    """Person r with the style rows of person c, all from one noise."""
    width, height = backbone.default_size
    columns = []
    for giver in people:
        method = PIDiff.load(folder, backbone, Config(style_from=giver.pictures[0], style_levels=levels))
        jobs = [
            Job(PROMPTS[0], width, height, backbone.defaults.guidance, identity=person, steps=steps)
            for person in people
        ]
        columns.append([result.picture for result in sample(backbone, jobs, method, batch_size=len(jobs))])
        console.log(f"{levels}: {len(columns)} of {len(people)} columns")
    shown = [reference_image(person) for person in people]
    rows = [[one, *made] for one, made in zip(shown, zip(*columns, strict=True), strict=True)]
    givers: list[Image.Image | None] = [None, *shown]
    titles = ["person", *(f"{levels} rows of {n}" for n in range(len(people)))]
    return contact_sheet([givers, *rows], titles, cell=128)


def background(
    adapters: dict[str, Path],
    people: list[Identity],
    prompts: list[str],
    models: PocketModels,
    steps: int,
    id_weights: list[float],
    figures: Figures,
    work: Path,
) -> None:
    """Both adapters, person by person; a record for each, and the figures over the people so far.

    id_weights: of the full training; the first stage is always at 1
    """
    backbone, scorer = models.backbone, models.scorer
    methods = {name: PIDiff.load(folder, backbone) for name, folder in adapters.items()}
    plain = plain_pictures(backbone, prompts, scorer, steps=steps)
    cases = [("stage one", 1.0), *(("full", weight) for weight in id_weights)]
    measured: dict[tuple[str, float], list[Measured]] = {case: [] for case in cases}
    remaining = Remaining()
    for done, person in enumerate(people, start=1):
        fresh = False
        for name, weight in cases:
            method = methods[name]
            used = [backbone.fingerprint, models.conditioner.fingerprint, scorer.fingerprint]
            key = [method.weights_fingerprint(), *used, prompts, steps, weight]
            digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
            path = work / digest / f"{person.name}.json"
            if not path.is_file():
                made = measure(backbone, method, person, plain, scorer, steps=steps, id_weight=weight)
                save_json(path, [asdict(row) for row in made])
                fresh = True
            stored = json.loads(path.read_text(encoding="utf-8"))
            measured[name, weight] += [Measured(**row) for row in stored]
        for weight in id_weights:
            found = compare(measured["full", weight], measured["stage one", 1.0])
            part = "background" if weight == 1 else f"background at id-weight {weight:g}"
            figures.keep(part, {**found, "reached": verdict(found)})
        left = remaining.after(len(people) - done, fresh=fresh)
        console.log(f"background: {done} of {len(people)} people{left}")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", type=Path, required=True, help="adapter of both stages")
    parser.add_argument("--stage-one", type=Path, help="adapter of the first stage alone, for background")
    parser.add_argument("--parts", default="background,styles", help="of background,styles")
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help=f"the first of {len(PROMPTS)}")
    parser.add_argument("--id-weights", type=float, nargs="+", default=[1.0], help="of the full training")
    parser.add_argument("--sheet-people", type=int, default=4, help="rows and columns of a style sheet")
    parser.add_argument("--levels", nargs="+", default=["coarse", "fine"], help="rows to swap, a sheet each")
    parser.add_argument("--steps", type=int, default=25, help="sampling steps")
    parser.add_argument("--weights", type=Path, default=pocket_dir(), help="folder of the pocket models")
    parser.add_argument(
        "--work", type=Path, default=Path("outputs/evaluate-pidiff"), help="records of the run"
    )
    parser.add_argument("--output", type=Path, default=Path("results/pidiff.json"))
    arguments = parser.parse_args(argv)
    parts = [part.strip() for part in arguments.parts.split(",") if part.strip()]
    try:
        if unknown := [part for part in parts if part not in ("background", "styles")]:
            raise UsageError(f"Unknown part {unknown[0]!r}.", hint="Known: background, styles.")
        if "background" in parts and arguments.stage_one is None:
            raise UsageError("The part background needs --stage-one.", hint="Or take --parts styles.")
        models = PocketModels(arguments.weights)
        backbone = models.backbone
        count = max(arguments.people if "background" in parts else 0, arguments.sheet_people)
        folder = arguments.work / "people"
        people = [held_out(number, folder, models.conditioner) for number in range(count)]
        prompts = list(PROMPTS[: arguments.prompts])
        settings = {"backbone": backbone.fingerprint, "prompts": prompts, "steps": arguments.steps}
        figures = Figures(arguments.output, settings)
        if "background" in parts:
            adapters = {"full": arguments.full, "stage one": arguments.stage_one}
            chosen = people[: arguments.people]
            weights = arguments.id_weights
            background(adapters, chosen, prompts, models, arguments.steps, weights, figures, arguments.work)
        if "styles" in parts:
            shown = people[: arguments.sheet_people]
            for levels in arguments.levels:
                sheet = style_sheet(backbone, arguments.full, shown, arguments.steps, levels)
                save_png(arguments.output.with_name(f"{arguments.output.stem}-{levels}.png"), sheet)
    except SpidError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
