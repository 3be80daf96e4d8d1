"""Is this a rendered person or a photograph? For models that know rendered people only.

The pocket models find something in many a photograph, and would embed it: a wrong face. So a face they find
is accepted only when it looks rendered. Three kinds of evidence, all cheap and without torch, the first two
joined by logistic regression (weights in `domain.safetensors`, fitted by `domain_fit`):

- texture of the picture at 128 pixels. Renders are smooth between sharp edges; in photographs hair, cloth
  and noise leave small-scale residue nearly everywhere.
- appearance of the aligned face. Rendered faces have outlined eyes, flat cheeks and drawn brows: oriented
  gradients and local contrast tell them from real ones.
- the detector's confidence, where it is low: renders, even maltreated, score 0.78 and more.

None needs the picture's own resolution, so JPEG, blur and resizing move the score but little.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from PIL import Image

from methods.faces.geometry import align
from methods.faces.types import Detection

WEIGHTS = Path(__file__).with_name("domain.safetensors")

_SIDE = 128  # pixels of the longer side at which texture is measured
_BLOCK = 4
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_SURE = 0.8  # detector scores below this count against a render,
_DOUBT = 12.0  # by this much log odds for each unit
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def is_rendered(picture: Image.Image, face: Detection | None = None) -> bool:
    """Whether `rendered_score` is positive."""
    return rendered_score(picture, face) > 0


def rendered_score(picture: Image.Image, face: Detection | None = None) -> float:
    """Log odds that an RGB picture is rendered; the more positive, the surer.

    face: what a detector trained on renders found in it; without one only texture speaks.
    """
    weights = _weights()
    if face is None:
        return float(texture(picture) @ weights["texture"] + weights["texture_bias"][0])
    features = np.concatenate([texture(picture), appearance(align(np.asarray(picture), face.landmarks))])
    score = float(features @ weights["joint"] + weights["joint_bias"][0])
    return score - _DOUBT * max(0.0, _SURE - face.score)


def texture(picture: Image.Image) -> NDArray[np.float64]:
    """Small-scale residue and colour statistics of an RGB picture, float64 [15].

    For |L - median3x3(L)| and |Laplacian of L|, L the luma in 0..255: log quantiles of 4 x 4 block means, and
    log(rms / mean), which is high when the residue sits on few edges. Then the entropy of 32-level colours
    and two quantiles of chroma.
    """
    luma = np.asarray(_resized(picture, _SIDE), dtype=np.float32) @ _LUMA
    middle = luma[1:-1, 1:-1]
    rows, columns = middle.shape
    shifted = [luma[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    residue = np.abs(middle - np.median(np.stack(shifted), axis=0))
    laplacian = np.abs(4 * middle - shifted[1] - shifted[3] - shifted[5] - shifted[7])
    found: list[float] = []
    for energy in (residue, laplacian):
        found += np.log(np.quantile(_block_means(energy, _BLOCK), _QUANTILES) + 0.1).tolist()
        found.append(float(np.log(np.sqrt((energy**2).mean()) + 0.1) - np.log(energy.mean() + 0.1)))
    colours = np.asarray(_resized(picture, _SIDE // 2)).reshape(-1, 3).astype(np.int64) // 8
    shares = np.unique(colours @ [1024, 32, 1], return_counts=True)[1] / len(colours)
    chroma = colours.max(1) - colours.min(1)
    found.append(float(-(shares * np.log(shares)).sum()))
    found += np.log1p(np.quantile(chroma, (0.5, 0.9))).tolist()
    return np.array(found)


def appearance(crop: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What an aligned face uint8 [112, 112, 3] is made of, float64 [588].

    Oriented gradients of the standardised luma (7 x 7 cells, 8 directions), then the log standard deviation
    of the luma in 14 x 14 cells.
    """
    luma = crop.astype(np.float32) @ _LUMA
    contrast = np.log(luma.reshape(14, 8, 14, 8).std((1, 3)) + 1)
    half = luma.reshape(56, 2, 56, 2).mean((1, 3))
    half = (half - half.mean()) / (half.std() + 4)  # 4: a flat crop stays flat
    dx, dy = np.zeros_like(half), np.zeros_like(half)
    dx[:, 1:-1] = half[:, 2:] - half[:, :-2]
    dy[1:-1] = half[2:] - half[:-2]
    strength = np.hypot(dx, dy)
    direction = ((np.arctan2(dy, dx) + np.pi) / (2 * np.pi) * 8).astype(int) % 8
    cells = [np.where(direction == k, strength, 0).reshape(7, 8, 7, 8).mean((1, 3)) for k in range(8)]
    return np.concatenate([np.stack(cells, axis=-1).ravel(), contrast.ravel()]).astype(np.float64)


def _resized(picture: Image.Image, side: int) -> Image.Image:
    scale = side / max(picture.size)
    size = (max(side // 4, round(picture.width * scale)), max(side // 4, round(picture.height * scale)))
    # The box filter averages noise away as a smaller camera would, and never rings.
    return picture.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)


def _block_means(values: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    rows, columns = values.shape[0] // block, values.shape[1] // block
    cut = values[: rows * block, : columns * block]
    return cut.reshape(rows, block, columns, block).mean((1, 3)).ravel()


@lru_cache(maxsize=1)
def _weights() -> dict[str, NDArray[np.float64]]:
    return safetensors.numpy.load_file(WEIGHTS)
