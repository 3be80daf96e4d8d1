"""Facial hair."""

from __future__ import annotations

from math import sin

import skia

from methods.pocket.world.draw.brush import Point, fill, linear, mix, shade, spline
from methods.pocket.world.draw.head import Head


def draw_beard(canvas: skia.Canvas, head: Head) -> None:
    """Facial hair; the mouth is drawn over it afterwards."""
    beard = head.person.beard
    if beard == "none":
        return
    w, c, my, s = head.w, head.chin_y, head.mouth_y, sin(head.yaw)
    colour = shade(head.hair, -0.16)
    paint = linear((-w, 0), (w, c), (shade(colour, 0.12), 1), (shade(colour, -0.25), 1))
    if beard in ("stubble", "full", "long"):
        grow = 0.0 if beard == "stubble" else 1.6
        low = c + (0.0 if beard == "stubble" else 2.2 if beard == "full" else 13.0)
        wide = 0.62 if beard == "long" else 1.0
        right = [
            (w + 0.4 * grow, 4.0),
            (0.98 * w + grow, 12.0),
            (head.jaw * w + 1.5 * grow, 0.68 * c),
            (max(head.chin_w, 0.4 * w) * wide + grow, 0.95 * c + 0.75 * (low - c)),
        ]
        top = [
            (-0.8 * w, 12.0),
            (-head.mouth_w - 3.5, my - 4.5),
            (-4.0, my - 4.4),
            (0.0, my - 3.6),
            (4.0, my - 4.4),
            (head.mouth_w + 3.5, my - 4.5),
            (0.8 * w, 12.0),
        ]

        def turn(x: float, y: float) -> Point:
            return x + s * (2.0 + 11.0 * max(0.0, y / c) ** 1.5), y

        points = [turn(x, y) for x, y in right] + [turn(0.0, low)] + [turn(-x, y) for x, y in reversed(right)]
        points += [head.at(x, y) for x, y in top]
        if beard == "stubble":
            canvas.save()
            canvas.clipPath(head.outline(), doAntiAlias=True)
            canvas.drawPath(spline(points), fill(mix(shade(head.hair, -0.3), head.skin, 0.25), 0.5))
            canvas.restore()
        else:
            canvas.drawPath(spline(points), paint)
    if beard in ("moustache", "goatee"):
        lift = 0.5 * head.expression.corner_lift
        half = [
            (0.0, my - 4.8),
            (4.0, my - 5.6),
            (head.mouth_w + 3.2, my - 1.0 - lift),
            (head.mouth_w + 1.0, my + 0.8 - lift),
            (4.0, my - 1.6),
        ]
        right_lobe = [head.at(x, y) for x, y in half]
        left_lobe = [head.at(-x, y) for x, y in reversed(half[1:])]
        canvas.drawPath(spline([*right_lobe, head.at(0.0, my - 1.4), *left_lobe]), paint)
    if beard == "goatee":
        drop = {"laugh": 7.0, "round": 7.0}.get(head.expression.mouth, 3.4)
        mouth_x = max(head.mouth_w, 6.5)
        points = [
            head.at(x, y)
            for x, y in (
                (-mouth_x - 2.6, my - 1),
                (-mouth_x + 2.0, my + drop),
                (0, my + drop + 1),
                (mouth_x - 2.0, my + drop),
                (mouth_x + 2.6, my - 1),
                (mouth_x + 1.0, my + 8),
                (4.0, c + 3.0),
                (-4.0, c + 3.0),
                (-mouth_x - 1.0, my + 8),
            )
        ]
        canvas.drawPath(spline(points), paint)
