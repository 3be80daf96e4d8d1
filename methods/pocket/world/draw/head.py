"""Geometry of one head: where every feature lies for a person, an expression and a turn of the head."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin, sqrt

import skia

from methods.pocket.world.draw.brush import RGB, Point, mix, shade, spline
from methods.pocket.world.person import Person

_SKINS: tuple[RGB, ...] = (
    (255, 224, 204), (246, 200, 168), (226, 170, 130), (196, 134, 92), (152, 96, 62), (104, 66, 46),
)  # fmt: skip
_HAIR: dict[str, RGB] = {
    "black": (38, 34, 42), "dark brown": (72, 46, 36), "brown": (118, 76, 46), "auburn": (134, 50, 34),
    "ginger": (214, 104, 40), "blond": (232, 190, 104), "platinum": (246, 232, 196), "grey": (150, 152, 160),
    "white": (236, 236, 242), "blue": (56, 108, 216), "pink": (240, 118, 170), "green": (64, 160, 100),
    "purple": (132, 76, 180),
}  # fmt: skip


@dataclass(frozen=True)
class Expression:
    """How a face moves: lid opening factor, brow raise (up > 0) and inner slant (angry > 0), mouth kind."""

    lids: float
    brow_raise: float
    brow_slant: float
    mouth: str
    mouth_stretch: float
    corner_lift: float


EXPRESSIONS: dict[str, Expression] = {
    "neutral": Expression(1.0, 0.0, 0.0, "closed", 1.0, 0.5),
    "smiling": Expression(0.86, 0.6, 0.0, "closed", 1.22, 3.0),
    "laughing": Expression(0.5, 1.4, -0.4, "laugh", 1.3, 2.4),
    "sad": Expression(0.8, 0.6, -3.6, "closed", 0.92, -3.2),
    "angry": Expression(0.74, -1.4, 3.6, "teeth", 1.05, -1.6),
    "surprised": Expression(1.32, 3.4, -0.4, "round", 0.66, 0.0),
}


class Head:
    """Measures of a head in face units (pixels of a 128 px portrait, x right, y down, eye line at y = 0)."""

    def __init__(self, person: Person, expression: str, yaw: float) -> None:
        p = person
        self.person = p
        self.expression = EXPRESSIONS[expression]
        self.mood = expression
        self.yaw = yaw
        t = p.skin * (len(_SKINS) - 1)
        i = min(int(t), len(_SKINS) - 2)
        skin = mix(_SKINS[i], _SKINS[i + 1], t - i)
        self.skin: RGB = mix(
            skin, (232, 120, 100) if p.undertone > 0.5 else (206, 170, 90), 0.3 * abs(p.undertone - 0.5)
        )
        self.hair: RGB = _HAIR[p.hair_colour]
        self.line: RGB = shade(self.skin, -0.62)
        self.w = 24.6 + 4.8 * p.face_width
        self.chin_y = 30.0 + 7.5 * p.face_length
        self.top_y = -28.0 - 4.0 * p.forehead
        self.hairline_y = -15.5 - 6.0 * p.forehead
        self.jaw = 0.64 + 0.32 * p.jaw
        self.chin_w = 4.5 + 8.5 * p.chin
        self.nose_y = 7.5 + 5.0 * p.nose_length
        self.mouth_y = max(0.575 * self.chin_y + 3.0 * (p.mouth_height - 0.5), self.nose_y + 6.5)
        self.eye_dx = 10.2 + 2.6 * p.eye_spacing
        self.eye_rx = 4.9 + 1.7 * p.eye_size
        self.eye_ry = self.eye_rx * (0.46 + 0.3 * p.eye_openness)
        self.mouth_w = (6.2 + 4.4 * p.mouth_width) * self.expression.mouth_stretch

    def at(self, x: float, y: float, out: float = 0.0) -> Point:
        """Where a surface point goes when the head turns; `out` lifts it off the skull (the nose)."""
        z = 0.9 * self.w * sqrt(max(0.0, 1.0 - (x / self.w) ** 2 - 0.35 * (y / 36.0) ** 2)) + out
        return x * cos(self.yaw) + z * sin(self.yaw), y

    def squeeze(self, x: float) -> float:
        """Horizontal foreshortening of a feature centred at `x`."""
        return (self.at(x + 1.0, 0.0)[0] - self.at(x - 1.0, 0.0)[0]) / 2.0

    def outline(self) -> skia.Path:
        """The contour of the face from the crown to the chin."""
        w, c, s = self.w, self.chin_y, sin(self.yaw)
        forehead = 0.86 + 0.1 * self.person.forehead
        half = [
            (0.60 * w, self.top_y + 3.5), (forehead * w, -15.0), (w, 1.0), (0.97 * w, 9.0),
            (self.jaw * w, 0.66 * c), (max(self.chin_w, 0.36 * w), 0.93 * c - 0.6),
        ]  # fmt: skip
        right = [(0.0, self.top_y), *half, (0.36 * self.chin_w, c)]
        left = [(-x, y) for x, y in reversed(half)]
        points = [*right, (-0.36 * self.chin_w, c), *left]
        return spline([(x + s * (2.0 + 11.0 * max(0.0, y / c) ** 1.5), y) for x, y in points])

    def landmarks(self) -> list[Point]:
        """Eyes, nose tip, mouth corners, in image order left to right."""
        lift = self.expression.corner_lift
        return [
            self.at(-self.eye_dx, 0.0), self.at(self.eye_dx, 0.0), self.at(0.0, self.nose_y, 5.0),
            self.at(-self.mouth_w, self.mouth_y - lift), self.at(self.mouth_w, self.mouth_y - lift),
        ]  # fmt: skip
