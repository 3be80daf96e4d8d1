"""The head of a face, as FFHQ cuts it out: upright, hair included, background whitened."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Surround = Literal["keep", "white"]

HEAD_CENTRE = (0.5, 0.47)
HEAD_AXES = (0.42, 0.50)
"""The ellipse in which an FFHQ-aligned head lies, hair included: centre and semi-axes, shares of the crop."""

_EDGE = 0.12  # width of the ellipse's soft edge, as a share of its radius


def ffhq_transform(landmarks: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """Affine map [2, 3] from pixels of the crop (size x size) to pixels of the picture.

    landmarks [5, 2]: the eyes, the nose tip, the mouth corners (`methods.faces.types.Detection`). FFHQ's rule
    (Karras et al. 2019, section A): with e the vector between the eyes and m the one from between the eyes to
    between the mouth corners,

        x = unit(e - rot90(m)) * max(2 |e|, 1.8 |m|),    y = rot90(x),    centre = eyes + 0.1 m

    are half the crop's sides. FFHQ takes the eyes' centres from 68 points; five say the same.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    eyes, mouth = points[:2].mean(0), points[3:5].mean(0)
    e, m = points[1] - points[0], mouth - eyes
    x = e - _rot90(m)
    x *= max(2.0 * np.hypot(*e), 1.8 * np.hypot(*m)) / np.hypot(*x)
    y = _rot90(x)
    centre = eyes + 0.1 * m
    step_x, step_y = 2 * x / size, 2 * y / size
    corner = centre - x - y + (step_x + step_y) / 2  # of the first pixel's centre, not its edge
    return np.column_stack([step_x, step_y, corner])


def aligned_head(
    rgb: NDArray[np.uint8],
    landmarks: NDArray[np.floating],
    size: int,
    *,
    surround: Surround = "white",
) -> NDArray[np.uint8]:
    """The aligned head: uint8 [H, W, 3] and landmarks [5, 2] -> uint8 [size, size, 3].

    Area-averaged when it shrinks, linear else; white outside the picture. `white` also fades what lies
    outside an ellipse around the head to white: a *reconstruction* of the whitened background that e4e codes
    of photographs are taken with, without its parsing network.
    """
    import cv2

    matrix = ffhq_transform(landmarks, size)
    fine = max(1, round(float(np.hypot(*matrix[:, 0]))))  # crops smaller than their source average it
    if fine > 1:
        matrix = ffhq_transform(landmarks, size * fine)
    side = size * fine
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(rgb, matrix, (side, side), flags=flags, borderValue=(255.0, 255.0, 255.0))
    if fine > 1:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    if surround == "white":
        inside = head_ellipse(size)[..., None]
        crop = np.rint(inside * crop + (1 - inside) * 255.0)
    return np.asarray(crop, dtype=np.uint8)


def head_ellipse(size: int) -> NDArray[np.float32]:
    """1 inside the head's ellipse, 0 outside, linear over its soft edge: float32 [size, size]."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    return _in_ellipse(axis[None, :], axis[:, None])


def head_region(landmarks: NDArray[np.floating], height: int, width: int) -> NDArray[np.float32]:
    """The same ellipse in a picture: landmarks [5, 2] in its pixels -> float32 [height, width].

    At least 0.5 on the ellipse and in it.
    """
    matrix = ffhq_transform(landmarks, 1)  # from shares of the crop, less half, to pixels
    y, x = np.mgrid[:height, :width].astype(np.float64)
    offset = np.stack([x - matrix[0, 2], y - matrix[1, 2]])
    return _in_ellipse(*(np.tensordot(np.linalg.inv(matrix[:, :2]), offset, axes=1) + 0.5))


def _in_ellipse(x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.float32]:
    """x and y as shares of the crop; they broadcast."""
    dx, dy = (x - HEAD_CENTRE[0]) / HEAD_AXES[0], (y - HEAD_CENTRE[1]) / HEAD_AXES[1]
    radius = np.sqrt(dx**2 + dy**2)
    return np.asarray(np.clip((1.0 - radius) / _EDGE + 0.5, 0.0, 1.0), dtype=np.float32)


def _rot90(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """A quarter turn that takes image-right to image-down."""
    return np.array([-v[1], v[0]])
