"""Skin, ears, eyes, brows, nose, mouth and marks."""

from __future__ import annotations

from math import sin

import skia

from methods.pocket.world.draw.brush import (
    RGB,
    Point,
    fill,
    glow,
    line,
    linear,
    mix,
    oval,
    radial,
    shade,
    spline,
)
from methods.pocket.world.draw.head import Head

_IRIS: dict[str, RGB] = {
    "dark": (44, 30, 28),
    "brown": (120, 70, 34),
    "amber": (204, 138, 36),
    "green": (70, 146, 76),
    "blue": (52, 128, 216),
    "grey": (140, 156, 170),
    "violet": (134, 84, 196),
}
_LIPS: dict[str, RGB] = {"rose": (222, 92, 112), "red": (204, 26, 44), "plum": (124, 30, 84)}
_MAKEUP: dict[str, RGB] = {
    "smoky": (44, 36, 48),
    "blue": (40, 104, 220),
    "rose": (232, 70, 130),
    "green": (30, 150, 110),
}


def draw_ears(canvas: skia.Canvas, head: Head) -> None:
    """Both ears, behind the face; the far one disappears when the head turns."""
    r = 3.8 + 2.6 * head.person.ears
    for side in (-1, 1):
        turn = -side * sin(head.yaw)
        x = side * (head.w + 0.3 * r - max(0.0, -turn) * 14.0 - max(0.0, turn) * 3.0) + 2.0 * sin(head.yaw)
        oval(canvas, x, 4.0, r * 0.85, r * 1.35, fill(shade(head.skin, -0.1)))
        oval(canvas, x + side * 0.4, 4.2, r * 0.42, r * 0.8, fill(shade(head.skin, -0.28)))


def draw_skin(canvas: skia.Canvas, head: Head) -> None:
    """The bare face with light from the upper left, marks and age lines."""
    face, skin, p = head.outline(), head.skin, head.person
    paint = radial(
        (-8.0, -8.0),
        54.0,
        (shade(skin, 0.2), 1.0),
        (skin, 1.0),
        (shade(skin, -0.34), 1.0),
        at=(0.0, 0.42, 1.0),
    )
    canvas.drawPath(face, paint)
    canvas.save()
    canvas.clipPath(face, doAntiAlias=True)
    blush = mix(skin, (222, 60, 70), 0.6)
    strength = 0.6 if p.mark == "rosy cheeks" else 0.24
    for side in (-1, 1):
        x, y = head.at(side * 0.58 * head.w, 12.0)
        glow(canvas, (x, y), 8.5, blush, strength)
        glow(canvas, head.at(side * head.eye_dx, 0.0), 9.5, shade(skin, -0.5), 0.16)
    glow(canvas, (head.at(0, 0)[0], head.chin_y - 3.0), 6.0, shade(skin, 0.5), 0.3)
    glow(canvas, (head.at(0, 0)[0], head.mouth_y + 6.0), 6.0, shade(skin, -0.5), 0.22)
    glow(canvas, head.at(-4.0, head.hairline_y + 6.0), 12.0, shade(skin, 0.6), 0.24)
    if head.mood == "angry":
        glow(canvas, head.at(0.0, -4.0), 26.0, (216, 40, 30), 0.28)
    _draw_marks(canvas, head)
    if p.age > 0.45:
        a = min(1.0, (p.age - 0.35) * 1.5)
        for side in (-1, 1):
            fold = spline(
                [
                    head.at(side * (p.nose_width * 3 + 5.2), head.nose_y + 1.0),
                    head.at(side * (head.mouth_w + 3.4), head.mouth_y - 1.0),
                ],
                closed=False,
            )
            canvas.drawPath(fold, line(head.line, 1.0, 0.6 * a))
            x, y = head.at(side * head.eye_dx, head.eye_ry + 3.4)
            canvas.drawPath(
                spline([(x - 4, y - 0.8), (x, y + 0.4), (x + 4, y - 0.8)], False),
                line(head.line, 0.9, 0.5 * a),
            )
        if p.age > 0.6:
            for k in range(2):
                y = head.hairline_y + 4.0 + 2.6 * k
                crease = spline([head.at(-9, y + 0.5), head.at(0, y - 0.5), head.at(9, y + 0.5)], False)
                canvas.drawPath(crease, line(head.line, 0.9, 0.5 * a))
    canvas.restore()


def _draw_marks(canvas: skia.Canvas, head: Head) -> None:
    mark, skin = head.person.mark, head.skin
    side = -1 if mark.endswith(("left", "left cheek")) else 1
    if mark == "freckles":
        dot = fill(shade(mix(skin, (150, 60, 20), 0.5), -0.25), 0.8)
        for x, y in ((7, 9), (10.5, 7.5), (13.5, 9.5), (9, 12), (12.5, 12.8), (16, 12), (4, 6.5)):
            for s in (-1, 1):
                canvas.drawCircle(*head.at(s * x, y + 0.7 * s), 0.8, dot)
    elif mark == "mole chin":
        canvas.drawCircle(*head.at(4.5, 0.83 * head.chin_y), 1.5, fill((52, 28, 22), 0.95))
    elif mark.startswith("mole"):
        canvas.drawCircle(*head.at(side * 0.5 * head.w, head.mouth_y - 5.0), 1.6, fill((52, 28, 22), 0.95))
    elif mark.startswith("scar"):
        a, b = head.at(side * 0.36 * head.w, 7.5), head.at(side * 0.66 * head.w, head.mouth_y + 1.0)
        canvas.drawLine(*a, *b, line(mix(skin, (150, 20, 40), 0.65), 2.0, 0.9))
        canvas.drawLine(a[0] - 0.5, a[1] - 0.5, b[0] - 0.5, b[1] - 0.5, line((255, 226, 220), 0.7, 0.8))
    elif mark.startswith("birthmark"):
        x, y = head.at(side * 0.62 * head.w, -3.0)
        spot = spline(
            [(x - 7, y - 1), (x - 2, y - 8), (x + 6, y - 5), (x + 7, y + 4), (x + 1, y + 9), (x - 5, y + 7)]
        )
        canvas.drawPath(spot, fill(mix(skin, (130, 22, 56), 0.62), 0.75))


def draw_eyes(canvas: skia.Canvas, head: Head, gaze: Point) -> None:
    """Both eyes with lids, iris, highlight, lashes and make-up, and the brows above them."""
    for side in (-1, 1):
        _draw_eye(canvas, head, side, gaze)
        _draw_brow(canvas, head, side)
    if head.mood == "sad":
        x, y = head.at(head.eye_dx - 1.5, 0.0)
        tear = spline([(x, y + 4.5), (x + 1.9, y + 9.5), (x, y + 11.6), (x - 1.9, y + 9.5)])
        canvas.drawPath(tear, fill((120, 200, 250), 0.95))
        canvas.drawCircle(x - 0.5, y + 9.4, 0.7, fill((255, 255, 255), 0.9))


def _draw_eye(canvas: skia.Canvas, head: Head, side: int, gaze: Point) -> None:
    p, x = head.person, side * head.eye_dx
    rx, ry = head.eye_rx, head.eye_ry * head.expression.lids
    tilt = 2.4 * (p.eye_tilt - 0.45)  # outer corner higher for tilt > 0
    canvas.save()
    canvas.translate(*head.at(x, 0.0))
    canvas.scale(head.squeeze(x) * side, 1.0)  # +x is now the outer side of either eye
    almond = skia.Path()
    almond.moveTo(-rx, 0.5 + 0.3 * tilt)
    almond.cubicTo(-0.55 * rx, -1.32 * ry, 0.5 * rx, -1.5 * ry, rx, -tilt)
    almond.cubicTo(0.6 * rx, 1.25 * ry, -0.4 * rx, 1.2 * ry, -rx, 0.5 + 0.3 * tilt)
    almond.close()
    lid = spline(
        [(-rx, 0.5 + 0.3 * tilt), (-0.4 * rx, -0.92 * ry), (0.35 * rx, -1.06 * ry - 0.3 * tilt), (rx, -tilt)],
        False,
    )
    if p.makeup != "none":
        lid_high = spline(
            [
                (-rx, 0.0),
                (-0.4 * rx, -1.25 * ry - 2.2),
                (0.6 * rx, -1.3 * ry - 2.6),
                (rx + 2.0, -tilt - 1.8),
                (rx, -tilt),
                (0.35 * rx, -1.0 * ry),
            ]
        )
        canvas.drawPath(lid_high, fill(_MAKEUP[p.makeup], 0.78))
    else:
        crease = spline(
            [(-0.7 * rx, -ry - 0.8), (0.1 * rx, -1.12 * ry - 2.0), (0.95 * rx, -0.5 * ry - 1.6 - tilt)], False
        )
        canvas.drawPath(crease, line(head.line, 0.8, 0.55))
    canvas.drawPath(
        almond, linear((0, -ry), (0, ry), ((206, 208, 220), 1), ((255, 255, 255), 1), at=(0.0, 0.5))
    )
    canvas.save()
    canvas.clipPath(almond, doAntiAlias=True)
    r = min(0.56 * rx, max(head.eye_ry * 0.98, 2.5))
    gx, gy = side * gaze[0], gaze[1]
    iris = _IRIS[p.iris]
    canvas.drawCircle(gx, gy, r, fill(shade(iris, -0.5)))
    canvas.drawCircle(
        gx, gy, r * 0.84, linear((0, gy - r), (0, gy + r), (shade(iris, -0.15), 1), (shade(iris, 0.3), 1))
    )
    canvas.drawCircle(gx, gy, r * 0.44, fill((12, 10, 14)))
    canvas.restore()
    canvas.drawPath(lid, line((34, 22, 24), 1.7 if p.gender == "woman" else 1.25))
    lower = spline([(-rx * 0.6, 0.75 * ry), (0.2 * rx, 0.95 * ry), (rx, -tilt)], False)
    canvas.drawPath(lower, line(head.line, 0.7, 0.5))
    if p.gender == "woman":
        for lx, ly, dx, dy in ((rx, -tilt, 2.3, -2.0), (0.7 * rx, -0.72 * ry - 0.5 * tilt, 1.6, -2.2)):
            canvas.drawLine(lx, ly, lx + dx, ly + dy, line((34, 22, 24), 1.2))
    canvas.drawCircle(gx - side * r * 0.36, gy - r * 0.42, max(0.95, r * 0.3), fill((255, 255, 255)))
    canvas.restore()


def _draw_brow(canvas: skia.Canvas, head: Head, side: int) -> None:
    p, e = head.person, head.expression
    thick = 1.3 + 3.0 * p.brow_thickness
    base = -head.eye_ry - 3.4 - 2.6 * p.brow_height - e.brow_raise
    arch, slope = 0.4 + 3.6 * p.brow_arch, 2.2 * (p.brow_angle - 0.65)
    inner, outer = head.eye_dx - head.eye_rx - 0.4, head.eye_dx + head.eye_rx + 1.6
    inner_y = base + e.brow_slant + slope
    outer_y = base - 0.35 * e.brow_slant + 1.4 - 0.6 * slope
    mid, mid_y = inner + 0.6 * (outer - inner), base - arch + 0.15 * e.brow_slant
    points = [
        (inner, inner_y - 0.5 * thick),
        (mid, mid_y - 0.5 * thick),
        (outer, outer_y),
        (mid, mid_y + 0.5 * thick),
        (inner, inner_y + 0.5 * thick),
    ]
    colour = mix(shade(head.hair, -0.35), shade(head.skin, -0.6), 0.25)
    canvas.drawPath(spline([head.at(side * x, y) for x, y in points]), fill(colour, 0.95))


def draw_nose(canvas: skia.Canvas, head: Head) -> None:
    """Bridge shadow, wings, nostrils and a highlight on the tip."""
    p, y = head.person, head.nose_y
    shape = p.nose_shape
    w = (2.9 + 3.4 * p.nose_width) * (1.2 if shape == "broad" else 0.85 if shape == "pointed" else 1.0)
    bridge = 1.6 + (1.1 if shape in ("broad", "hooked") else 0.0)
    tip = head.at(0.0, y, 5.0)
    drop = {"hooked": 2.0, "pointed": 1.0, "button": -0.8}.get(shape, 0.0)
    side = 1 if head.yaw >= 0 else -1
    hump = 1.8 if shape == "hooked" else 0.0
    shadow = shade(head.skin, -0.4)
    dark = spline(
        [
            head.at(side * bridge, -3.0),
            head.at(side * (bridge + 0.6), 0.4 * y, 2.0 + hump),
            (tip[0] + side * w, y + 0.6),
            (tip[0], y + 1.6),
            (tip[0] + side * 1.2, y - 3.0),
        ]
    )
    canvas.drawPath(dark, fill(shadow, 0.5))
    ridge = spline(
        [
            head.at(-side * 0.4, -3.0),
            head.at(-side * 0.4, 0.4 * y, 2.0 + hump),
            (tip[0] - side * 0.6, y - 1.0),
        ],
        False,
    )
    canvas.drawPath(ridge, line(shade(head.skin, 0.45), 1.9, 0.5))
    oval(
        canvas,
        tip[0],
        y - 0.6,
        0.62 * w + 0.8,
        2.6 if shape != "button" else 3.2,
        fill(shade(head.skin, 0.1)),
    )
    for s in (-1, 1):
        oval(canvas, tip[0] + s * 0.74 * w, y + 0.2, 0.36 * w + 0.6, 1.9, fill(shade(head.skin, -0.13)))
        oval(canvas, tip[0] + s * 0.5 * w, y + 1.2, 0.22 * w + 0.4, 0.75, fill(head.line, 0.9))
    base = spline(
        [
            (tip[0] - w - 0.6, y - 0.3),
            (tip[0] - 0.5 * w, y + 1.8),
            (tip[0], y + 1.8 + drop),
            (tip[0] + 0.5 * w, y + 1.8),
            (tip[0] + w + 0.6, y - 0.3),
        ],
        False,
    )
    canvas.drawPath(base, line(head.line, 1.0, 0.75))
    glow(canvas, (tip[0] - 0.9, y - 1.6), 2.4, (255, 255, 255), 0.5)


def draw_mouth(canvas: skia.Canvas, head: Head) -> None:
    """Lips, and teeth where the expression shows them."""
    p, e = head.person, head.expression
    natural = mix(shade(head.skin, -0.2), (190, 60, 66), 0.5)
    lips = (
        natural
        if p.lip_colour == "natural"
        else (mix(head.skin, (226, 160, 150), 0.45) if p.lip_colour == "pale" else _LIPS[p.lip_colour])
    )
    y, lift, mw = head.mouth_y, e.corner_lift, head.mouth_w
    upper, lower = 1.3 + 2.0 * p.lip_fullness, 1.7 + 2.8 * p.lip_fullness

    def path(*points: Point) -> list[Point]:
        return [head.at(px * mw, y + py) for px, py in points]

    if e.mouth == "round":
        x = head.at(0.0, y)[0]
        oval(canvas, x, y + 1.6, mw + 1.2, 5.2 + lower * 0.5, fill(lips))
        oval(canvas, x, y + 1.6, mw - 0.6, 4.0, fill((74, 14, 22)))
        oval(canvas, x, y + 4.0, 0.6 * mw, 1.5, fill((206, 84, 90)))
        return
    mid = 0.25 * lift
    if e.mouth == "closed":
        top = path((-1, -lift), (-0.3, mid - upper), (0, mid - 0.7 * upper), (0.3, mid - upper), (1, -lift))
        bottom = path(
            (0.55, mid + 0.72 * lower - 0.35 * lift),
            (0, mid + lower + 0.2),
            (-0.55, mid + 0.72 * lower - 0.35 * lift),
        )
        canvas.drawPath(spline(top + bottom), fill(lips))
        glow(canvas, (head.at(0, y)[0] - 1.0, y + mid + 0.55 * lower), 2.8, (255, 235, 230), 0.45)
        seam = spline(
            path((-1, -lift), (-0.5, mid - 0.3 * lift), (0, mid + 0.3), (0.5, mid - 0.3 * lift), (1, -lift)),
            False,
        )
        canvas.drawPath(seam, line(shade(mix(lips, head.skin, 0.3), -0.7), 1.25))
        for s in (-1, 1):
            if lift > 0:
                dimple = spline(
                    [head.at(s * (mw + 1.6), y - lift - 1.6), head.at(s * (mw + 2.4), y - lift + 1.2)], False
                )
                canvas.drawPath(dimple, line(head.line, 1.0, 0.6))
        return
    if e.mouth == "laugh":
        outer = path(
            (-1, -lift - 0.6),
            (0, -0.6 * upper - 0.6),
            (1, -lift - 0.6),
            (0.6, 6.2 + 0.4 * lower),
            (0, 7.6 + 0.6 * lower),
            (-0.6, 6.2 + 0.4 * lower),
        )
        inner = path((-0.88, -lift + 0.6), (0, 0.8), (0.88, -lift + 0.6), (0.52, 5.4), (0, 6.8), (-0.52, 5.4))
        teeth = path((-0.82, -lift + 0.8), (0, 0.8), (0.82, -lift + 0.8), (0.66, 2.2), (0, 3.2), (-0.66, 2.2))
    else:
        outer = path(
            (-1, -lift),
            (-0.7, -2.6 - 0.6 * upper),
            (0.7, -2.6 - 0.6 * upper),
            (1, -lift),
            (0.75, 3.2 + 0.5 * lower),
            (-0.75, 3.2 + 0.5 * lower),
        )
        inner = path((-0.85, -lift), (-0.62, -2.3), (0.62, -2.3), (0.85, -lift), (0.66, 2.8), (-0.66, 2.8))
        teeth = path((-0.78, -lift), (-0.58, -1.8), (0.58, -1.8), (0.78, -lift), (0.6, 2.3), (-0.6, 2.3))
    canvas.drawPath(spline(outer), fill(lips))
    canvas.drawPath(spline(inner), fill((74, 14, 22)))
    if e.mouth == "laugh":
        x = head.at(0, y)[0]
        oval(canvas, x, y + 5.4, 0.42 * mw, 1.7, fill((214, 88, 96)))
    canvas.drawPath(spline(teeth), fill((250, 250, 246)))
    if e.mouth == "teeth":
        canvas.drawLine(*head.at(-0.7 * mw, y + 0.3), *head.at(0.7 * mw, y + 0.3), line((120, 90, 92), 0.7))
