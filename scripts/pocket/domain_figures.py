"""How many pictures of a folder the gate for photographs lets through.

    python -m scripts.pocket.domain_figures FOLDER [FOLDER ...]

Every picture is judged as it is; with --crops the first four faces that dlib finds in each are judged too,
with a random margin, as people cut them out. A picture is let through when the pocket detector finds a face
in it and the gate takes it for rendered. Pictures that the pocket models made should all pass.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from methods.errors import PictureError
from methods.faces import Detection, detect, load_encoder, may_judge, select_face
from methods.images import load_picture

CROPS = 4
LONGEST = 800  # pixels of the picture in which dlib looks for faces


def pictures(folder: Path) -> Iterator[tuple[Path, Image.Image]]:
    """Those that can be read, in the order of their names."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            yield path, load_picture(path)
        except PictureError as error:
            print(f"left out: {error}")


def faces_cut_out(picture: Image.Image, rng: np.random.Generator) -> Iterator[Image.Image]:
    """The faces that dlib finds, with 0.3 to 1.2 of their width around them."""
    small = picture.copy()
    small.thumbnail((LONGEST, LONGEST))
    for face in load_encoder("dlib").detect(np.asarray(small))[:CROPS]:
        x1, y1, x2, y2 = (float(edge) for edge in face.box)
        margin = rng.uniform(0.3, 1.2) * (x2 - x1)
        left, top = max(0, int(x1 - margin)), max(0, int(y1 - margin))
        right, bottom = min(small.width, int(x2 + margin)), min(small.height, int(y2 + margin))
        if min(right - left, bottom - top) >= 40:
            yield small.crop((left, top, right, bottom))


def largest(picture: Image.Image) -> Detection | None:
    found, _ = detect(np.asarray(picture), load_encoder("pocket"))
    return found[select_face(found, "largest", *picture.size)] if found else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--crops", action="store_true", help="judge the faces cut out as well")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    encoder = load_encoder("pocket")
    counts = {"pictures": 0, "with a face": 0, "let through": 0}
    for folder in args.folders:
        for path, picture in pictures(folder):
            for shown in [picture, *(faces_cut_out(picture, rng) if args.crops else ())]:
                face = largest(shown)
                passes = face is not None and may_judge(encoder, shown, face)
                counts["pictures"] += 1
                counts["with a face"] += face is not None
                counts["let through"] += passes
                if passes:
                    print(f"let through: {path}")
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
