"""From a reference picture to the person in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from methods.hooks import Identity

if TYPE_CHECKING:
    from methods.faces import FaceEncoder


def identify(
    name: str, path: str | os.PathLike[str], encoder: FaceEncoder, select: str = "largest"
) -> Identity:
    """The person in a reference picture; raises FaceError or PictureError as `methods.faces.analyse`."""
    from methods.faces import analyse

    face = analyse(path, encoder, select=select)
    return Identity(name, torch.from_numpy(face.embedding), (str(path),), face, encoder)
