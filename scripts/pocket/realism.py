"""How near generated pictures are to renders: their distribution, and faces drawn too hard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.metrics.distribution import FrechetDistance
from methods.training.sources import ellipse

if TYPE_CHECKING:
    from benchmarks.metrics.models.clip import OpenClip
    from methods.faces import FaceEncoder


def features(clip: OpenClip, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """L2-normalised CLIP features [N, D] of pictures uint8 [N, H, W, 3]."""
    parts = [pictures[first : first + 64] for first in range(0, len(pictures), 64)]
    return np.concatenate([clip.images([Image.fromarray(one) for one in part]) for part in parts])


def frechet(made: NDArray[np.float32], real: NDArray[np.float32]) -> dict[str, Any]:
    """Frechet distance of two sets of features [N, D].

    Biased upwards where pictures are few, most of all fewer than features: compare equal N only.
    """
    distance = FrechetDistance()
    for rows, is_real in ((made, False), (real, True)):
        for feature in rows:
            distance.add(feature, real=is_real)
    value = distance.result().value
    return {"value": None if value is None else round(value, 4), "n": len(made), "features": distance.width}


def clipped(encoder: FaceEncoder, pictures: NDArray[np.uint8]) -> dict[str, Any]:
    """Share of the pixels of faces in pictures uint8 [N, S, S, 3] with a channel at 0 or 255.

    A face is the ellipse within the box that the detector draws around the best one; pictures without are
    left out, and `n` says how many had one.
    """
    shares = []
    for picture in pictures:
        found = encoder.detect(picture)
        if found:
            inside = picture[ellipse(found[0].box, len(picture))]
            shares.append(float(np.mean(((inside == 0) | (inside == 255)).any(axis=-1))))
    return {"value": round(float(np.mean(shares)), 4) if shares else None, "n": len(shares)}
