"""People that no pocket model was trained on, as evaluations show them to methods."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from methods.files import write_bytes
from methods.identify import identify
from methods.pocket.references import counterfactual, counterfactual_nuisance, reference_png
from methods.pocket.world import HELD_OUT

if TYPE_CHECKING:
    from methods.faces import FaceEncoder
    from methods.hooks import Identity

FIRST_PERSON = HELD_OUT + 400
"""Their number 0: the claims ledger's first one too (configs/suites/claims.yaml), and by the same reference
picture, so that a fit made for one measurement serves the other."""


def held_out(number: int, folder: Path, encoder: FaceEncoder) -> Identity:
    """A held-out person by one rendered photograph, which is kept in `folder`.

    Raises FaceError where the encoder finds no face in it.
    """
    person = FIRST_PERSON + number
    path = folder / f"{person}.png"
    if not path.is_file():
        photograph(person, path)
    return identify(f"person-{number}", path, encoder)


def photograph(person: int, path: Path) -> None:
    """Write the reference picture of a person of this number of the world."""
    write_bytes(path, reference_png(person, counterfactual(person, 0), counterfactual_nuisance(person, 0)))
