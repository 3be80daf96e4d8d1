"""Small vocabulary of paints and paths that every part is drawn with. Colours are (r, g, b) in 0..255."""

from __future__ import annotations

from collections.abc import Sequence

import skia

RGB = tuple[float, float, float]
Point = tuple[float, float]


def mix(a: RGB, b: RGB, t: float) -> RGB:
    """Linear blend: `a` at t = 0, `b` at t = 1."""
    return (a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t)


def shade(c: RGB, t: float) -> RGB:
    """Darker for t < 0 (towards a warm black), lighter for t > 0 (towards white)."""
    return mix(c, (20, 10, 25), -t) if t < 0 else mix(c, (255, 252, 245), t)


def ink(c: RGB, alpha: float = 1.0) -> int:
    return skia.Color(int(c[0]), int(c[1]), int(c[2]), int(255 * alpha))


def fill(c: RGB, alpha: float = 1.0) -> skia.Paint:
    return skia.Paint(AntiAlias=True, Color=ink(c, alpha))


def line(c: RGB, width: float, alpha: float = 1.0) -> skia.Paint:
    return skia.Paint(
        AntiAlias=True, Color=ink(c, alpha), Style=skia.Paint.kStroke_Style, StrokeWidth=width,
        StrokeCap=skia.Paint.kRound_Cap, StrokeJoin=skia.Paint.kRound_Join,
    )  # fmt: skip


def linear(p: Point, q: Point, *stops: tuple[RGB, float], at: Sequence[float] | None = None) -> skia.Paint:
    """Linear gradient from `p` to `q` through (colour, alpha) stops."""
    shader = skia.GradientShader.MakeLinear(
        points=[skia.Point(*p), skia.Point(*q)], colors=[ink(c, a) for c, a in stops], positions=at or []
    )
    return skia.Paint(AntiAlias=True, Shader=shader)


def radial(
    centre: Point, radius: float, *stops: tuple[RGB, float], at: Sequence[float] | None = None
) -> skia.Paint:
    """Radial gradient from the centre outwards through (colour, alpha) stops."""
    shader = skia.GradientShader.MakeRadial(
        center=skia.Point(*centre), radius=radius, colors=[ink(c, a) for c, a in stops], positions=at or []
    )
    return skia.Paint(AntiAlias=True, Shader=shader)


def glow(canvas: skia.Canvas, centre: Point, radius: float, c: RGB, alpha: float) -> None:
    """A soft round spot that fades to nothing at `radius`."""
    canvas.drawCircle(*centre, radius, radial(centre, radius, (c, alpha), (c, 0.0)))


def oval(canvas: skia.Canvas, x: float, y: float, rx: float, ry: float, paint: skia.Paint) -> None:
    canvas.drawOval(skia.Rect.MakeLTRB(x - rx, y - ry, x + rx, y + ry), paint)


def box(
    canvas: skia.Canvas, x0: float, y0: float, x1: float, y1: float, paint: skia.Paint, r: float = 0.0
) -> None:
    canvas.drawRoundRect(skia.Rect.MakeLTRB(x0, y0, x1, y1), r, r, paint)


def poly(points: Sequence[Point]) -> skia.Path:
    path = skia.Path()
    path.moveTo(*points[0])
    for point in points[1:]:
        path.lineTo(*point)
    path.close()
    return path


def spline(points: Sequence[Point], closed: bool = True) -> skia.Path:
    """Smooth (Catmull-Rom) curve through the points."""
    n = len(points)
    path = skia.Path()
    path.moveTo(*points[0])
    for i in range(n if closed else n - 1):
        p1, p2 = points[i], points[(i + 1) % n]
        p0 = points[i - 1] if closed or i > 0 else p1
        p3 = points[(i + 2) % n] if closed or i + 2 < n else p2
        path.cubicTo(
            p1[0] + (p2[0] - p0[0]) / 6, p1[1] + (p2[1] - p0[1]) / 6,
            p2[0] - (p3[0] - p1[0]) / 6, p2[1] - (p3[1] - p1[1]) / 6,
            p2[0], p2[1],
        )  # fmt: skip
    if closed:
        path.close()
    return path
