"""From reference pictures to the person in them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from methods.errors import FaceError
from methods.hooks import Identity

if TYPE_CHECKING:
    from methods.faces import Face, FaceEncoder

STRANGER = 0.2
"""Likeness below which a photograph is told of, where an encoder states no threshold: two unrelated faces
of an ArcFace recogniser seldom reach it. Our choice."""


def identify(
    name: str,
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    encoder: FaceEncoder,
    select: str = "largest",
) -> Identity:
    """The person in one reference picture, or in several.

    Of several, the embedding is the mean of their normalised embeddings, normalised again: every photograph
    counts alike, however sharp it is. Raises FaceError or PictureError as `methods.faces.analyse`.
    """
    from methods.faces import analyse

    files = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    faces = tuple(analyse(path, encoder, select=select) for path in files)
    pictures = tuple(str(path) for path in files)
    embedding = faces[0].embedding if len(faces) == 1 else mean_embedding(name, faces)
    several = faces if len(faces) > 1 else ()
    return Identity(name, torch.from_numpy(embedding), pictures, faces[0], encoder, faces=several)


def mean_embedding(name: str, faces: Sequence[Face]) -> np.ndarray:
    """The normalised mean of normalised embeddings: float32 [D]. Raises FaceError where they cancel out."""
    mean = np.mean([face.embedding for face in faces], axis=0, dtype=np.float64)
    length = float(np.linalg.norm(mean))
    if length < 1e-3:
        raise FaceError(
            f"The photographs of {name} have nothing in common.", hint="Give photographs of one person."
        )
    return np.asarray(mean / length, dtype=np.float32)


def likenesses(identity: Identity) -> list[float]:
    """How alike each photograph of a person is to the others: the median of its similarities, by the encoder.

    [] for a single one. The median, so that one stranger among them does not make all look strange.
    """
    faces, encoder = identity.faces, identity.encoder
    if len(faces) < 2 or encoder is None:
        return []
    return [
        float(np.median([encoder.similarity(face, other) for other in faces if other is not face]))
        for face in faces
    ]


def strangers(identity: Identity) -> list[str]:
    """Files of photographs that look like somebody else: less alike than the encoder takes for one person."""
    encoder = identity.encoder
    least = STRANGER if encoder is None or encoder.threshold is None else encoder.threshold
    return [
        path for path, alike in zip(identity.pictures, likenesses(identity), strict=False) if alike < least
    ]
