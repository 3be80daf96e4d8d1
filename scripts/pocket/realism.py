"""How near generated pictures are to renders: their distribution, and faces drawn too hard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.metrics.distribution import FrechetDistance

if TYPE_CHECKING:
    from benchmarks.metrics.models.clip import OpenClip
    from methods.faces import FaceEncoder


def frechet(clip: OpenClip, made: NDArray[np.uint8], real: NDArray[np.uint8]) -> dict[str, Any]:
    """Frechet distance of the CLIP features of two sets uint8 [N, H, W, 3].

    Biased upwards where pictures are few, most of all fewer than features: compare equal N only.
    """
    distance = FrechetDistance()
    for pictures, is_real in ((made, False), (real, True)):
        for first in range(0, len(pictures), 64):
            for feature in clip.images([Image.fromarray(one) for one in pictures[first : first + 64]]):
                distance.add(feature, real=is_real)
    value = distance.result().value
    return {"value": None if value is None else round(value, 4), "n": len(made), "features": distance.width}


def clipped(encoder: FaceEncoder, pictures: NDArray[np.uint8]) -> dict[str, Any]:
    """Share of the pixels of faces uint8 [N, H, W, 3] with a channel at 0 or 255.

    A face is the ellipse within the box that the detector draws around the best one; pictures without are
    left out, and `n` says how many had one.
    """
    shares = []
    for picture in pictures:
        found = encoder.detect(picture)
        if found:
            inside = picture[_ellipse(found[0].box, picture.shape[:2])]
            shares.append(float(np.mean(((inside == 0) | (inside == 255)).any(axis=-1))))
    return {"value": round(float(np.mean(shares)), 4) if shares else None, "n": len(shares)}


def _ellipse(box: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.bool_]:
    """bool [H, W], the ellipse that touches the sides of a box (left, top, right, bottom)."""
    left, top, right, bottom = (float(side) for side in box)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    across = (x - (left + right) / 2) / max((right - left) / 2, 0.5)
    down = (y - (top + bottom) / 2) / max((bottom - top) / 2, 0.5)
    inside: NDArray[np.bool_] = across**2 + down**2 <= 1
    return inside
