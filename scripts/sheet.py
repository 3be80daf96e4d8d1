"""The picture at the top of README: people by all methods in one sheet, as the shipped models make them.

    python scripts/sheet.py                        # results/sheet.jpg; three methods fit each person first
    python scripts/sheet.py --people 3,8 --seed 1  # other people, other noise

Everybody is put into a scene of their own, from the same noise by every method. Nothing is picked from
several tries: the seed is one for all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from benchmarks.studies.people import photograph
from methods.compat import ensure_torchvision
from methods.errors import SpidError
from methods.files import write_bytes
from methods.generate import generate
from methods.images import contact_sheet, load_picture
from methods.pocket.models import PocketModels
from methods.pocket.world import HELD_OUT

METHODS = (
    "none", "uniform", "spatialid", "infinite-id", "pidiff", "textual-inversion", "facewise", "id-ea",
)  # fmt: skip
SCENES = (
    "a photo of a {person} in a red sweater at the beach",
    "a photo of a laughing {person} in a green suit in the city",
    "a photo of a {person} with a hat in the forest",
    "a comic drawing of a {person} in a library",
)
PEOPLE = (400, 403, 404, 405)
"""Numbers after the first held-out one: four of those whom the tables are about."""


def numbers(text: str) -> tuple[int, ...]:
    """Comma-separated numbers from 0 up; argparse makes one line of a ValueError."""
    given = tuple(int(one) for one in text.split(","))
    if min(given) < 0:
        raise ValueError(text)
    return given


def main(argv: Sequence[str] | None = None) -> int:
    """Make the pictures and the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=numbers, default=PEOPLE, help="numbers, comma-separated")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--cell", type=int, default=112, help="side of a picture in the sheet, in pixels")
    parser.add_argument("--work", type=Path, default=Path("outputs/sheet"), help="folder of the references")
    parser.add_argument("--output", type=Path, default=Path("results/sheet.jpg"))
    arguments = parser.parse_args(argv)
    ensure_torchvision()
    models = PocketModels()
    people = [HELD_OUT + number for number in arguments.people]
    rows = []
    try:
        for number, scene in zip(people, SCENES * len(people), strict=False):
            reference = arguments.work / f"person-{number}.png"
            photograph(number, reference)
            made = generate(
                prompts=scene,
                references=str(reference),
                methods=list(METHODS),
                seed=arguments.seed,
                backbone=models.backbone,
                face_encoder=models.conditioner,
            )
            rows.append([load_picture(reference), *(one.picture for one in made)])
            print(f"{len(rows)} of {len(people)} people", file=sys.stderr, flush=True)
    except SpidError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    sheet = contact_sheet(rows, ["reference", *METHODS], cell=arguments.cell)
    file = BytesIO()
    sheet.save(file, "JPEG", quality=88, optimize=True)
    write_bytes(arguments.output, file.getvalue())
    print(arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
