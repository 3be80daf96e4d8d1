"""What PIDiff must show, measured with the pocket models on people nobody trained on.

    spid train --method pidiff --output outputs/full
    spid train --method pidiff --output outputs/one --set options.wild_steps=0
    python scripts/evaluate_pidiff.py --full outputs/full/adapter --stage-one outputs/one/adapter

Writes results/pidiff.json (background and identity, full training against the first stage alone, paired) and
beside it pidiff-styles.png: row r, column c shows person r with the fine style rows of person c.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from methods.compat import ensure_torchvision

ensure_torchvision()

from methods.backbone.backbone import Backbone  # noqa: E402
from methods.backbone.load import load_backbone  # noqa: E402
from methods.backbone.sampling import sample  # noqa: E402
from methods.contract import Identity, Job  # noqa: E402
from methods.errors import SpidError  # noqa: E402
from methods.faces import FaceEncoder, analyse, load_encoder  # noqa: E402
from methods.files import save_json  # noqa: E402
from methods.images import contact_sheet, save_png  # noqa: E402
from methods.paths import pocket_dir  # noqa: E402
from methods.pidiff.measure import compare, measure, verdict  # noqa: E402
from methods.pidiff.method import Config, PIDiff  # noqa: E402
from methods.pocket.world import HELD_OUT, render, sample_context, sample_person  # noqa: E402

PROMPTS = (
    "a photo of a person in a red sweater, on a beach",
    "a photo of a smiling person in a blue suit, in a city",
    "a photo of a person in a green hoodie, in a forest",
    "a photo of a person in a white t-shirt, in a library",
)


def held_out(number: int, encoder: FaceEncoder, folder: Path) -> Identity:
    """A person that no pocket model saw, photographed plainly, with the picture in `folder`."""
    plain = {"style": "photo", "accessory": "none", "action": "none", "pose": "front", "framing": "portrait"}
    context = sample_context(np.random.default_rng(number), **plain)
    picture = Image.fromarray(render(sample_person(HELD_OUT + number), context, 256).pixels)
    path = folder / f"person-{number}.png"
    save_png(path, picture)
    face = analyse(path, encoder)
    embedding = torch.from_numpy(face.embedding)
    return Identity(f"person-{number}", embedding, (str(path),), face, encoder, picture)


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
        columns.append([result.picture for result in sample(backbone, jobs, method)])
    rows = [[person.image, *made] for person, made in zip(people, zip(*columns, strict=True), strict=True)]
    givers: list[Image.Image | None] = [None, *(person.image for person in people)]
    return contact_sheet([givers, *rows], ["shape", *(f"style {n}" for n in range(len(people)))], cell=128)


def main() -> int:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", type=Path, required=True, help="adapter of both stages")
    parser.add_argument("--stage-one", type=Path, required=True, help="adapter of the first stage alone")
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--sheet-people", type=int, default=4, help="rows and columns of the style sheet")
    parser.add_argument("--levels", default="8-17", help="rows that the style sheet swaps")
    parser.add_argument("--steps", type=int, default=25, help="sampling steps")
    parser.add_argument("--weights", type=Path, default=pocket_dir(), help="folder of the pocket models")
    parser.add_argument(
        "--work", type=Path, default=Path("outputs/evaluate-pidiff"), help="reference pictures"
    )
    parser.add_argument("--output", type=Path, default=Path("results/pidiff.json"))
    arguments = parser.parse_args()
    try:
        backbone = load_backbone(str(arguments.weights / "sd"))
        scorer = load_encoder(arguments.weights / "face-scoring")
        encoder = load_encoder(arguments.weights / "face")
        people = [held_out(number, encoder, arguments.work) for number in range(arguments.people)]
        measured: dict[str, Any] = {}
        for name, folder in (("full", arguments.full), ("stage one", arguments.stage_one)):
            measured[name] = measure(
                backbone,
                PIDiff.load(folder, backbone),
                people,
                PROMPTS,
                scorer,
                steps=arguments.steps,
                report=partial(print, name, file=sys.stderr, flush=True),
            )
        found = compare(measured["full"], measured["stage one"])
        save_json(arguments.output, {**found, "reached": verdict(found), "backbone": backbone.fingerprint})
        shown = people[: arguments.sheet_people]
        sheet = style_sheet(backbone, arguments.full, shown, arguments.steps, arguments.levels)
        save_png(arguments.output.with_name(f"{arguments.output.stem}-styles.png"), sheet)
    except SpidError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
