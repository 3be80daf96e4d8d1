"""Alignment by five landmarks, and which of several faces is meant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from methods.errors import FaceError, SeveralFacesError, UsageError
from methods.faces.types import Detection

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float32,
)
"""Where insightface puts the five landmarks in a 112 x 112 crop, (x, y) in pixels."""


def similarity_transform(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rotation, uniform scale and shift M [2, 3] minimising sum |M [source; 1] - target|^2.

    source, target [n, 2]. Umeyama 1991, eq. 40-42, as insightface's `estimate_norm`.
    """
    source, target = source.astype(np.float64), target.astype(np.float64)
    mu_x, mu_y = source.mean(0), target.mean(0)
    x, y = source - mu_x, target - mu_y
    u, d, vt = np.linalg.svd(y.T @ x / len(x))
    s = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])  # never a reflection
    rotation = u @ np.diag(s) @ vt
    scale = (d * s).sum() / x.var(0).sum()
    return np.column_stack([scale * rotation, mu_y - scale * rotation @ mu_x])


def similarity_transforms(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """The transforms [N, 2, 3] of many sources [N, n, 2] to one target [n, 2], minimising the same.

    In complex numbers, w = a z + b with a = sum conj(z - mean) (w - mean) / sum |z - mean|^2: Umeyama's
    solution in two dimensions, where it is never a reflection.
    """
    z = source[..., 0].astype(np.float64) + 1j * source[..., 1]
    w = (target[:, 0].astype(np.float64) + 1j * target[:, 1])[None]
    centre, middle = z.mean(-1, keepdims=True), w.mean(-1, keepdims=True)
    dz = z - centre
    a = (dz.conj() * (w - middle)).sum(-1) / (np.abs(dz) ** 2).sum(-1)
    b = middle[..., 0] - a * centre[..., 0]
    return np.asarray([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]]).transpose(2, 0, 1)


def align(rgb: NDArray[np.uint8], landmarks: NDArray[np.floating], size: int = 112) -> NDArray[np.uint8]:
    """The face, upright in `size` x `size` pixels: uint8 [H, W, 3] -> uint8 [size, size, 3].

    landmarks [5, 2] in insightface's order. Bilinear, black outside the picture, as insightface's
    `norm_crop`. Recognisers see 112; other multiples of it show more detail of the same crop.
    """
    import cv2

    matrix = similarity_transform(np.asarray(landmarks), TEMPLATE * (size / 112))
    return np.asarray(cv2.warpAffine(rgb, matrix, (size, size), borderValue=0.0), dtype=np.uint8)


def check_policy(policy: str) -> None:
    """Raise UsageError unless `policy` is largest, center, error, index:<n> or just <n>."""
    if policy in ("largest", "center", "error") or policy.removeprefix("index:").isdecimal():
        return
    raise UsageError(
        f"unknown face selection {policy!r}.",
        hint="Give largest, center, error, or a number: 0 is the leftmost face.",
    )


def select_face(detections: Sequence[Detection], policy: str, width: int, height: int) -> int:
    """Which detection `policy` means; width and height of the picture.

    'largest': by box area. 'center': box centre nearest to the picture's. 'index:n' or 'n': the n-th from the
    left, counted from 0. 'error': the only one, SeveralFacesError when there are more.
    """
    check_policy(policy)
    boxes = np.stack([d.box for d in detections]).astype(np.float64)
    if policy == "error":
        if len(detections) > 1:
            raise SeveralFacesError(
                f"{len(detections)} faces found where one is expected.",
                hint="Crop the picture, or choose with --face-select largest, center or index:<n>.",
            )
        return 0
    if policy == "largest":
        return int(np.argmax((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    if policy == "center":
        return int(np.argmin(((centres - (width / 2, height / 2)) ** 2).sum(1)))
    index = int(policy.removeprefix("index:"))
    if index >= len(detections):
        raise FaceError(
            f"--face-select {policy}: only {len(detections)} face(s) found.",
            hint=f"Faces are counted from the left, 0 to {len(detections) - 1}.",
        )
    return int(np.argsort(centres[:, 0], kind="stable")[index])
