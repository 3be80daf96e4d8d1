"""Hair: what hangs behind the head, and what covers the forehead."""

from __future__ import annotations

from math import cos, pi, sin

import skia

from methods.pocket.world.draw.brush import Point, line, linear, shade, spline
from methods.pocket.world.draw.head import Head

_LONG = {"bob": 26.0, "long straight": 56.0, "long wavy": 54.0}
_VOLUME = {
    "buzz": 1.2,
    "short": 4.0,
    "side part": 5.0,
    "quiff": 4.0,
    "spiky": 4.0,
    "curly": 6.0,
    "afro": 6.0,
    "bob": 5.0,
    "long straight": 4.5,
    "long wavy": 6.0,
    "bun": 3.0,
    "ponytail": 3.2,
}


def _paint(head: Head, dark: float = 0.0) -> skia.Paint:
    c = shade(head.hair, -dark) if dark else head.hair
    return linear(
        (-20.0, -40.0), (18.0, 40.0), (shade(c, 0.2), 1), (c, 1), (shade(c, -0.38), 1), at=(0.0, 0.4, 1.0)
    )


def _blobs(
    path: skia.Path, centre: Point, rx: float, ry: float, count: int, r: float, start: float, end: float
) -> None:
    for i in range(count):
        a = start + (end - start) * i / (count - 1)
        path.addCircle(centre[0] + rx * cos(a), centre[1] + ry * sin(a), r)


def draw_back_hair(canvas: skia.Canvas, head: Head) -> None:
    """Everything behind neck, ears and face."""
    style, w, t = head.person.hair_style, head.w, head.top_y
    drift = -5.0 * sin(head.yaw)
    paint = _paint(head, 0.22)
    if style == "afro":
        path = skia.Path()
        _blobs(path, (drift * 0.5, -10.0), w + 8.0, 30.0, 13, 9.5, 0.85 * pi, 2.15 * pi)
        path.addOval(skia.Rect.MakeLTRB(drift * 0.5 - w - 11, -44, drift * 0.5 + w + 11, 18))
        canvas.drawPath(path, paint)
    elif style == "curly":
        path = skia.Path()
        _blobs(path, (drift * 0.5, -4.0), w + 2.5, 28.0, 12, 7.0, 0.8 * pi, 2.2 * pi)
        canvas.drawPath(path, paint)
    elif style in _LONG:
        low, v = _LONG[style], _VOLUME[style]
        if style == "long wavy":
            right = [
                (w + v, -8.0),
                (w + v + 4, 8.0),
                (w + v - 1, 22.0),
                (w + v + 6, 36.0),
                (w + v, low),
                (w - 8, low + 2),
            ]
        elif style == "bob":
            right = [(w + v, -8.0), (w + v + 3, 8.0), (w + v + 3.5, 20.0), (w - 3.0, low + 3)]
        else:
            right = [(w + v, -8.0), (w + v + 1, 10.0), (w + v + 1, 34.0), (w + v, low), (w - 9, low)]
        points = [(0.0, t - v), (0.7 * w, t - v + 4), *right, (0.0, right[-1][1])]
        points += [(-x, y) for x, y in reversed(right)] + [(-0.7 * w, t - v + 4)]
        canvas.drawPath(spline([(x + drift, y) for x, y in points]), paint)
    elif style == "bun":
        canvas.drawCircle(1.6 * drift, t - 8.5, 10.5, _paint(head, 0.1))
        swirl = spline(
            [(1.6 * drift - 6, t - 9), (1.6 * drift, t - 14), (1.6 * drift + 6, t - 8), (1.6 * drift, t - 4)],
            False,
        )
        canvas.drawPath(swirl, line(shade(head.hair, -0.45), 1.2, 0.7))
    elif style == "ponytail":
        s = 1 if head.yaw <= 0.02 else -1
        tail = [
            (s * 10, t - 1),
            (s * (w + 3), t - 5),
            (s * (w + 13), -10.0),
            (s * (w + 12), 14.0),
            (s * (w + 15), 36.0),
            (s * (w + 5), 30.0),
            (s * (w + 2), 6.0),
            (s * (w - 4), -14.0),
        ]
        canvas.drawPath(spline(tail), paint)
        canvas.drawCircle(s * (w + 0.5), t + 1.5, 3.4, line((226, 60, 90), 2.2))


def draw_front_hair(canvas: skia.Canvas, head: Head) -> None:
    """The cap of hair over skull and forehead, with the hairline of the style."""
    style, w, t, h = head.person.hair_style, head.w, head.top_y, head.hairline_y
    if style == "bald":
        return
    v = _VOLUME[style]
    dx = 4.5 * sin(head.yaw)  # the hairline follows the turn more than the silhouette does
    side = 2.0 if style in ("short", "quiff", "spiky", "buzz") else 6.0
    if style in ("bun", "ponytail"):
        side = -1.0
    outer = [
        (-w - 0.5 * v + 0.6, side),
        (-w - 0.6 * v, -10.0),
        (-0.78 * w, t + 3.5 - 0.7 * v),
        (0.0, t - v),
        (0.78 * w, t + 3.5 - 0.7 * v),
        (w + 0.6 * v, -10.0),
        (w + 0.5 * v - 0.6, side),
    ]
    inner: list[Point]
    if style == "side part":
        inner = [
            (w - 2.5, -5.0),
            (0.72 * w, h + 5.0),
            (0.1 * w, h + 3.0),
            (-0.4 * w, h - 3.0),
            (-0.72 * w, h + 3.0),
            (-w + 2.5, -5.0),
        ]
        outer[2], outer[3] = (-0.8 * w, t + 3.0 - v), (0.2 * w, t - v - 2.0)
    elif style == "quiff":
        inner = [
            (w - 2.2, -6.0),
            (0.8 * w, h + 1.0),
            (0.2 * w, h - 1.0),
            (-0.5 * w, h - 1.0),
            (-0.84 * w, h + 2.0),
            (-w + 2.2, -6.0),
        ]
        outer[2:5] = [(-0.8 * w, t - 4.0), (-0.2 * w, t - 11.0), (0.5 * w, t - 12.0), (0.92 * w, t - 2.0)]
    elif style == "bob":
        f = h + 8.0 if h < -18.0 else h + 6.0
        inner = [
            (w - 3.5, 10.0),
            (w - 4.0, -6.0),
            (0.7 * w, f),
            (0.0, f + 1.2),
            (-0.7 * w, f),
            (-w + 4.0, -6.0),
            (-w + 3.5, 10.0),
        ]
        outer[0], outer[-1] = (-w - v, 16.0), (w + v, 16.0)
    elif style in ("long straight", "long wavy"):
        inner = [
            (w - 4.0, 12.0),
            (w - 4.5, -4.0),
            (0.6 * w, h + 3.0),
            (0.05 * w, h - 4.5),
            (-0.6 * w, h + 3.0),
            (-w + 4.5, -4.0),
            (-w + 4.0, 12.0),
        ]
        outer[0], outer[-1] = (-w - v, 22.0), (w + v, 22.0)
    elif style == "short":
        inner = [
            (w - 2.2, -4.0),
            (0.8 * w, h + 4.0),
            (0.35 * w, h + 1.5),
            (0.0, h + 4.0),
            (-0.4 * w, h + 1.5),
            (-0.8 * w, h + 4.0),
            (-w + 2.2, -4.0),
        ]
    else:
        inner = [
            (w - 2.2, -6.0),
            (0.8 * w, h + 1.5),
            (0.3 * w, h - 1.5),
            (-0.3 * w, h - 1.5),
            (-0.8 * w, h + 1.5),
            (-w + 2.2, -6.0),
        ]
    path = spline(outer + [(x + dx, y) for x, y in inner])
    if style in ("curly", "afro"):
        _blobs(
            path,
            (dx * 0.6, h + 10.0),
            0.82 * w,
            14.0 if style == "curly" else 13.0,
            7,
            5.4,
            1.06 * pi,
            1.94 * pi,
        )
    if style == "spiky":
        for i in range(7):
            x = (i - 3) * 0.27 * w
            y = t + 2.5 * abs(i - 3) ** 1.3 * 0.8
            path.addPoly(
                [
                    skia.Point(x - 5.4, y + 5),
                    skia.Point(x + 0.12 * (i - 3) * w * 0.7, y - 11),
                    skia.Point(x + 5.4, y + 5),
                ],
                True,
            )
    paint = _paint(head)
    if style == "buzz":
        paint.setAlphaf(0.8)
    # a soft shadow of the hair on the forehead
    canvas.save()
    canvas.clipPath(head.outline(), doAntiAlias=True)
    canvas.translate(0.8, 2.0)
    canvas.drawPath(path, skia.Paint(AntiAlias=True, Color=skia.Color(60, 20, 10, 62)))
    canvas.restore()
    canvas.drawPath(path, paint)
    shine = line(shade(head.hair, 0.5), 2.2, 0.34)
    if style in ("side part", "short", "bob", "long straight", "long wavy", "bun", "ponytail", "quiff"):
        arc = spline([(-0.72 * w, t + 11.0), (-0.42 * w, t + 3.6 - 0.4 * v), (0.0, t + 1.4 - 0.4 * v)], False)
        canvas.drawPath(arc, shine)
    if style in ("long straight", "long wavy", "bob"):
        strand = line(shade(head.hair, -0.45), 1.0, 0.5)
        for s in (-1, 1):
            canvas.drawPath(
                spline([(s * 0.5 * w + dx, h - 2), (s * (w - 1), -4.0), (s * (w + 1.0), 14.0)], False), strand
            )
