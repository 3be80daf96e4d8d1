"""People that no pocket model was trained on, as evaluations show them to methods."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from methods.generate import identify
from methods.images import save_png
from methods.pocket.world import HELD_OUT, render, sample_context, sample_person

if TYPE_CHECKING:
    from methods.contract import Identity
    from methods.faces import FaceEncoder

FIRST_PERSON = HELD_OUT + 500_000
"""Their number 0. Suites and previews take people from HELD_OUT on: these are others."""

PLAIN = {"style": "photo", "framing": "portrait", "pose": "front", "accessory": "none", "action": "none"}
"""Of reference photographs: a face to be seen."""


def held_out(number: int, folder: Path, encoder: FaceEncoder) -> Identity:
    """A held-out person by one rendered photograph, which is kept in `folder`.

    Raises FaceError where the encoder finds no face in it.
    """
    path = folder / f"{FIRST_PERSON + number}.png"
    if not path.is_file():
        context = sample_context(np.random.default_rng([number, 0]), **PLAIN)
        save_png(path, Image.fromarray(render(sample_person(FIRST_PERSON + number), context).pixels))
    return identify(f"person-{number}", path, encoder)
