"""Training pictures for the detector: faces moved, scaled, letterboxed, several at once, or none at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scripts.pocket.dataset import Dataset
from scripts.pocket.perception_loop import degrade

SIZE = 128


@dataclass
class Scene:
    """One training picture with its faces: pixels uint8 [128,128,3], boxes [K,4], landmarks [K,5,2]."""

    pixels: NDArray[Any]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]


EMPTY = (np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32))


def _moved(
    boxes: NDArray[np.float32], landmarks: NDArray[np.float32], scale: float, shift: NDArray[np.floating]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    offset = np.asarray(shift, np.float32)
    return boxes * np.float32(scale) + np.tile(offset, 2), landmarks * np.float32(scale) + offset


def _placed(renders: Dataset, i: int, rng: np.random.Generator) -> Scene:
    """A picture scaled by 0.4..1.35 and moved so that its face stays visible; the rest is filled."""
    picture, box, points = (
        np.asarray(renders.pictures[i]),
        renders.meta["box"][i],
        renders.meta["landmarks"][i],
    )
    scale = math.exp(rng.uniform(math.log(0.4), math.log(1.35)))
    size = max(box[2:] - box[:2]) * scale
    centre = (box[:2] + box[2:]) / 2 * scale
    if rng.random() < 0.5:  # letterboxed as insightface does: top left corner, black
        shift, fill = np.zeros(2), 0
    else:
        room = min(0.45 * size, SIZE / 2 - 1)
        shift, fill = rng.uniform(room, SIZE - room, 2) - centre, int(rng.integers(0, 256))
        if scale > 1:  # keep the canvas covered where possible
            shift = np.clip(shift, SIZE * (1 - scale), 0)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)
    area = cv2.INTER_AREA if scale < 0.7 else cv2.INTER_LINEAR
    if scale < 0.7:  # warpAffine does not average; shrink first
        small = cv2.resize(picture, (round(SIZE * scale),) * 2, interpolation=area)
        matrix[0, 0] = matrix[1, 1] = 1.0
        pixels = cv2.warpAffine(small, matrix, (SIZE, SIZE), borderValue=(fill,) * 3)
    else:
        pixels = cv2.warpAffine(picture, matrix, (SIZE, SIZE), flags=area, borderValue=(fill,) * 3)
    boxes, landmarks = _moved(box[None], points[None], scale, shift)
    middle = (boxes[0, :2] + boxes[0, 2:]) / 2
    if (middle < 2).any() or (middle > SIZE - 3).any():
        return Scene(pixels, *EMPTY)
    return Scene(pixels, boxes, landmarks)


def _tiled(renders: Dataset, indices: NDArray[np.integer]) -> Scene:
    """Two or four pictures beside each other at half size."""
    canvas = np.zeros((SIZE, SIZE, 3), np.uint8)
    boxes, landmarks = [], []
    half = SIZE // 2
    for place, i in enumerate(indices):
        corner = np.array([(place % 2) * half, (place // 2) * half])
        tile = cv2.resize(np.asarray(renders.pictures[i]), (half, half), interpolation=cv2.INTER_AREA)
        canvas[corner[1] : corner[1] + half, corner[0] : corner[0] + half] = tile
        b, p = _moved(renders.meta["box"][i][None], renders.meta["landmarks"][i][None], 0.5, corner)
        boxes.append(b)
        landmarks.append(p)
    return Scene(canvas, np.concatenate(boxes), np.concatenate(landmarks))


def _faceless(renders: Dataset, i: int, rng: np.random.Generator) -> Scene:
    """A window of a picture beside, above or below its face, or texture without anything."""
    if rng.random() < 0.25:
        coarse = rng.integers(0, 256, (int(rng.integers(1, 24)),) * 2 + (3,), dtype=np.uint8)
        return Scene(cv2.resize(coarse, (SIZE, SIZE), interpolation=int(rng.integers(0, 3))), *EMPTY)
    picture, (x1, y1, x2, y2) = np.asarray(renders.pictures[i]), renders.meta["box"][i].round().astype(int)
    strips = [
        picture[:, : max(x1 - 2, 0)],
        picture[:, x2 + 2 :],
        picture[: max(y1 - 2, 0)],
        picture[y2 + 2 :],
    ]
    strip = max(strips, key=lambda s: s.size) if rng.random() < 0.5 else strips[int(rng.integers(4))]
    if min(strip.shape[:2]) < 8:
        strip = picture[:8, :8]
    side = min(strip.shape[:2])
    top, left = (int(rng.integers(0, length - side + 1)) for length in strip.shape[:2])
    return Scene(
        cv2.resize(np.ascontiguousarray(strip[top : top + side, left : left + side]), (SIZE, SIZE)), *EMPTY
    )


def scene(renders: Dataset, rng: np.random.Generator) -> Scene:
    """A random training picture: mostly one face as rendered or moved, some with several, some with none."""
    i, choice = int(rng.integers(len(renders))), rng.random()
    if choice < 0.6:
        made = Scene(
            np.asarray(renders.pictures[i]), renders.meta["box"][i][None], renders.meta["landmarks"][i][None]
        )
    elif choice < 0.88:
        made = _placed(renders, i, rng)
    elif choice < 0.92:
        made = _tiled(renders, rng.integers(0, len(renders), int(rng.choice([2, 4]))))
    else:
        made = _faceless(renders, i, rng)
    made.pixels = degrade(np.ascontiguousarray(made.pixels), rng)
    return made
