"""The drawing of masks over a picture: Pillow and numpy only, a perceptual colour map of our own sampling."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
INK, QUIET, PAPER = (32, 33, 38), (120, 122, 130), (255, 255, 255)
PHASE_COLOURS = {"early": (86, 92, 140), "mid": (34, 139, 134), "late": (196, 135, 30)}

_MAP = np.array(
    [
        (0.267, 0.005, 0.329),
        (0.283, 0.141, 0.458),
        (0.254, 0.265, 0.530),
        (0.207, 0.372, 0.553),
        (0.164, 0.471, 0.558),
        (0.128, 0.567, 0.551),
        (0.135, 0.659, 0.518),
        (0.267, 0.749, 0.441),
        (0.478, 0.821, 0.318),
        (0.741, 0.873, 0.150),
        (0.993, 0.906, 0.144),
    ]
)
"""viridis at 0, .1, ..., 1: lightness grows linearly, legible in grey and to colour-blind eyes."""


def colour(mask: NDArray[np.floating]) -> NDArray[np.float64]:
    """Colours in [0, 1] of values in [0, 1]: [h, w] -> [h, w, 3]."""
    places = np.linspace(0, 1, len(_MAP))
    return np.stack([np.interp(mask, places, channel) for channel in _MAP.T], axis=-1)


def overlay(picture: Image.Image, mask: NDArray[np.floating], size: tuple[int, int]) -> Image.Image:
    """A mask [h, w] over the picture at `size` (width, height): hue tells the mask, light the picture.

    Tokens stay visible as squares: nothing is smoothed that the method does not smooth.
    """
    grey = np.asarray(ImageOps.autocontrast(picture.convert("L").resize(size, Image.Resampling.LANCZOS)))
    values = np.asarray(
        Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.NEAREST), dtype=np.float64
    )
    light = (grey / 255.0)[..., None]
    mixed = colour(values) * (0.62 + 0.38 * light) + 0.16 * (light - 0.5)
    return Image.fromarray((mixed.clip(0, 1) * 255).round().astype(np.uint8))


def mask_sheet(
    picture: Image.Image,
    rows: Sequence[tuple[str, Sequence[NDArray[np.floating]]]],
    *,
    steps: Sequence[int],
    noise_levels: Sequence[float],
    phases: Sequence[str],
    cell: int = 144,
) -> Image.Image:
    """The picture, then a column per step and a row per group of masks, under a band of the phases.

    rows:  (title of one or two lines, one mask [h, w] in [0, 1] per step)
    steps: number of each step, counted from 1; noise_levels its t, phases its phase
    cell:  longer side of one overlay in pixels
    """
    scale = cell / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    title, small = ImageFont.load_default(size=15), ImageFont.load_default(size=12)
    margin, gap, band = 20, 10, 7
    side = max(62, max(round(small.getlength(line)) for text, _ in rows for line in text.split("\n")) + 14)
    left = margin + width + 22 + side
    top = margin + 20 + band + 34
    right = 62
    sheet = Image.new(
        "RGB",
        (
            left + len(steps) * (width + gap) - gap + right + margin,
            top + len(rows) * (height + gap) - gap + margin,
        ),
        PAPER,
    )
    draw = ImageDraw.Draw(sheet)

    sheet.paste(picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS), (margin, top))
    draw.text((margin, top - 8), "picture", fill=QUIET, font=small, anchor="ls")

    start = 0
    for phase, members in groupby(phases):
        stop = start + len(list(members))
        x0, x1 = left + start * (width + gap), left + stop * (width + gap) - gap
        tint = PHASE_COLOURS.get(phase, QUIET)
        draw.text((x0, margin + 14), phase, fill=tint, font=title, anchor="ls")
        draw.rounded_rectangle((x0, margin + 20, x1 - 1, margin + 20 + band - 1), band // 2, fill=tint)
        start = stop

    for column, (step, t) in enumerate(zip(steps, noise_levels, strict=True)):
        x = left + column * (width + gap)
        draw.text((x, top - 8), f"step {step}", fill=INK, font=small, anchor="ls")
        draw.text((x + width, top - 8), f"t {t:.2f}", fill=QUIET, font=small, anchor="rs")

    for row, (text, masks) in enumerate(rows):
        y = top + row * (height + gap)
        for index, line in enumerate(text.split("\n")):
            where = (left - 14, y + height / 2 + (index - 0.5) * 16)
            draw.text(where, line, fill=QUIET if index else INK, font=small, anchor="rm")
        for column, mask in enumerate(masks):
            sheet.paste(overlay(picture, mask, (width, height)), (left + column * (width + gap), y))

    _colour_bar(sheet, draw, small, sheet.width - margin - 44, top, height)
    return sheet


def _colour_bar(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, font: Font, x: int, y: int, height: int
) -> None:
    """0 below, 1 above, ticks at halves."""
    ramp = colour(np.linspace(1, 0, height)[:, None].repeat(12, axis=1))
    sheet.paste(Image.fromarray((ramp * 255).round().astype(np.uint8)), (x, y))
    for value in (1.0, 0.5, 0.0):
        level = y + round((1 - value) * (height - 1))
        draw.line((x + 12, level, x + 15, level), fill=QUIET)
        draw.text((x + 19, level), f"{value:g}", fill=QUIET, font=font, anchor="lm")
    draw.text((x, y - 8), "M", fill=INK, font=font, anchor="ls")
