"""Rendering styles as filters on the finished picture, float32 RGB in [0, 1]; widths scale with its size.

The clothing colour survives every style: the sketch keeps it as a pale wash under the pencil.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.floating]
_LUMA = np.asarray([0.299, 0.587, 0.114], dtype=np.float32)


@lru_cache(maxsize=64)
def _blur_matrix(size: int, sigma: float) -> Picture:
    """[size, size] row-stochastic Gaussian: blurring is two small matrix products."""
    x = np.arange(size, dtype=np.float32)
    kernel = np.exp(-0.5 * ((x[:, None] - x[None, :]) / sigma) ** 2)
    return (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)


def _blur(grey: Picture, sigma: float) -> Picture:
    """Gaussian blur of [S, S]; sigma in pixels of a 128 px picture."""
    b = _blur_matrix(grey.shape[0], sigma * grey.shape[0] / 128.0)
    return b @ grey @ b.T


def _blur_colour(rgb: Picture, sigma: float) -> Picture:
    b = _blur_matrix(rgb.shape[0], sigma * rgb.shape[0] / 128.0)
    s = rgb.shape[0]
    rows = (b @ rgb.reshape(s, s * 3)).reshape(s, s, 3)
    return np.matmul(b, rows)


@lru_cache(maxsize=32)
def _cloud(size: int, seed: int, cells: int) -> Picture:
    """Smooth random field in [0, 1], the same at every size."""
    grid = np.random.default_rng(seed).random((cells, cells)).astype(np.float32)
    t = (np.arange(size, dtype=np.float32) + 0.5) / size * (cells - 1)
    weight = np.maximum(0.0, 1.0 - np.abs(t[:, None] - np.arange(cells, dtype=np.float32)[None, :]))
    weight = weight * weight * (3.0 - 2.0 * weight)
    weight /= weight.sum(axis=1, keepdims=True)
    return (weight @ grid @ weight.T).astype(np.float32)


@lru_cache(maxsize=8)
def _margin(size: int) -> Picture:
    """Distance in 128ths of the picture to its nearest edge, [S, S]."""
    t = (np.arange(size, dtype=np.float32) + 0.5) * 128.0 / size
    t = np.minimum(t, 128.0 - t)
    return np.minimum(t[:, None], t[None, :])


def _contours(rgb: Picture, fine: float, gain: float) -> Picture:
    """Dark-side line strength in [0, 1] of a difference of Gaussians, [S, S]."""
    grey = rgb @ _LUMA
    return np.clip((_blur(grey, 1.7 * fine) - _blur(grey, fine)) * gain, 0.0, 1.0)


def _edges(rgb: Picture, sigma: float) -> Picture:
    """Colour gradient magnitude in [0, ~1], [S, S], per pixel of a 128 px picture."""
    smooth = _blur_colour(rgb, sigma)
    dy, dx = np.zeros_like(smooth), np.zeros_like(smooth)
    dy[1:-1] = smooth[2:] - smooth[:-2]
    dx[:, 1:-1] = smooth[:, 2:] - smooth[:, :-2]
    return np.sqrt((dx * dx + dy * dy).sum(axis=2)) * (rgb.shape[0] / 128.0)


def _saturate(rgb: Picture, amount: float) -> Picture:
    grey = (rgb @ _LUMA)[..., None]
    return grey + (rgb - grey) * amount


def _sketch(rgb: Picture, _seed: int) -> Picture:
    lines = np.clip(1.15 * _edges(rgb, 0.6) + _contours(rgb, 0.9, 4.0) - 0.16, 0.0, 0.95)
    tone = 0.58 + 0.42 * (rgb @ _LUMA)
    wash = _saturate(rgb, 0.42)
    wash = 0.3 * (wash - (wash @ _LUMA)[..., None]) * 2.2
    paper = np.asarray([0.98, 0.97, 0.94], dtype=np.float32) * tone[..., None] + wash
    pencil = np.asarray([0.16, 0.16, 0.19], dtype=np.float32)
    return paper + (pencil - paper) * lines[..., None]


def _watercolor(rgb: Picture, seed: int) -> Picture:
    size = rgb.shape[0]
    pigment = 0.55 * rgb + 0.45 * _blur_colour(rgb, 0.9)
    pigment = _saturate(pigment, 1.25) * 0.82 + 0.2
    wet = _cloud(size, seed % 16, 9)[..., None]
    pigment = pigment * (0.86 + 0.26 * wet) - 0.16 * np.clip(_edges(rgb, 0.9) - 0.08, 0, 1)[..., None]
    paper = np.asarray([1.0, 0.992, 0.97], dtype=np.float32)
    cover = np.clip((_margin(size) - 2.0 - 11.0 * _cloud(size, 100 + seed % 16, 12)) / 3.5, 0.0, 1.0)[
        ..., None
    ]
    return paper + (pigment - paper) * cover


def _comic(rgb: Picture, _seed: int) -> Picture:
    smooth = _saturate(0.5 * rgb + 0.5 * _blur_colour(rgb, 0.9), 1.35)
    grey = smooth @ _LUMA
    steps = 4.0
    level = grey * steps
    base = np.floor(level)
    flat = (base + np.clip((level - base - 0.4) / 0.2, 0.0, 1.0)) / steps  # narrow ramps: no jagged steps
    cel = smooth + (flat - grey)[..., None] * 0.75
    lines = np.clip(1.9 * _edges(rgb, 0.6) + _contours(rgb, 0.9, 3.0) - 0.6, 0.0, 1.0)[..., None]
    ink = np.asarray([0.05, 0.04, 0.09], dtype=np.float32)
    drawn = np.clip(cel * 1.08 + 0.02, 0.0, 1.0)
    drawn = drawn + (ink - drawn) * lines
    margin = _margin(rgb.shape[0])[..., None]
    return np.where(margin < 2.2, 1.0, np.where(margin < 4.0, ink, drawn)).astype(np.float32)


def _oil(rgb: Picture, seed: int) -> Picture:
    size = rgb.shape[0]
    paint = _saturate(0.6 * rgb + 0.4 * _blur_colour(rgb, 0.8), 1.25)
    relief = _cloud(size, 40 + seed % 16, 30)
    strokes = relief - np.roll(relief, (size // 64, size // 64), axis=(0, 1))
    paint = paint * (1.04 + 0.14 * strokes[..., None])
    varnish = np.asarray([0.99, 0.93, 0.78], dtype=np.float32)
    margin = _margin(size)[..., None]
    paint = paint * varnish * (0.7 + 0.3 * np.clip((margin - 5.0) / 18.0, 0.0, 1.0))
    gold = np.asarray([0.80, 0.60, 0.22], dtype=np.float32) * (
        0.55 + 0.6 * np.sin(np.clip(margin / 6.5, 0, 1) * np.pi)
    )
    return np.where(margin < 6.5, gold, paint).astype(np.float32)


_STYLES = {"sketch": _sketch, "watercolor": _watercolor, "comic": _comic, "oil painting": _oil}


def apply_style(pixels: NDArray[np.uint8], style: str, seed: int) -> NDArray[np.uint8]:
    """Filter RGB [S, S, 3]; 'photo' returns the pixels as they are."""
    if style == "photo":
        return pixels
    drawn = _STYLES[style](pixels.astype(np.float32) / 255.0, seed)
    return (np.clip(drawn, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
