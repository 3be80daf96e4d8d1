"""Things worn on the head or neck; drawn in face units over the face and hair."""

from __future__ import annotations

from math import sin

import skia

from methods.pocket.world.draw.brush import fill, line, linear, poly, shade, spline
from methods.pocket.world.draw.head import Head


def draw_accessory(canvas: skia.Canvas, head: Head, accessory: str) -> None:
    """One accessory of the factor of that name; 'none' draws nothing."""
    w, t, s = head.w, head.top_y, sin(head.yaw)
    if accessory in ("glasses", "sunglasses"):
        _glasses(canvas, head, dark=accessory == "sunglasses")
    elif accessory == "hat":
        y = head.hairline_y + 1.0
        x = 3.0 * s
        felt, band = (176, 124, 70), (60, 34, 26)
        crown = spline(
            [
                (x - w + 1, y + 1),
                (x - 0.86 * w, t - 16),
                (x - 0.3 * w, t - 20),
                (x, t - 17),
                (x + 0.3 * w, t - 20),
                (x + 0.86 * w, t - 16),
                (x + w - 1, y + 1),
            ]
        )
        canvas.drawPath(
            crown,
            linear(
                (-w, 0),
                (w, 0),
                (shade(felt, 0.22), 1),
                (felt, 1),
                (shade(felt, -0.35), 1),
                at=(0.0, 0.45, 1.0),
            ),
        )
        canvas.save()
        canvas.clipPath(crown, doAntiAlias=True)
        canvas.drawRect(skia.Rect.MakeLTRB(-60, y - 8, 60, y), fill(band))
        canvas.restore()
        brim = spline(
            [
                (x - w - 17, y - 3),
                (x - 0.6 * w, y - 2.5),
                (x + 0.6 * w, y - 2.5),
                (x + w + 17, y - 3),
                (x + 0.7 * w, y + 4.2),
                (x, y + 5),
                (x - 0.7 * w, y + 4.2),
            ]
        )
        canvas.drawPath(brim, linear((0, y - 4), (0, y + 5), (shade(felt, 0.18), 1), (shade(felt, -0.25), 1)))
        under_brim = spline([(x - w, y + 4.5), (x, y + 6.0), (x + w, y + 4.5)], False)
        canvas.drawPath(under_brim, line((30, 10, 5), 2.6, 0.28))
    elif accessory == "crown":
        y, x = head.hairline_y - 3.0, 3.0 * s
        r = 0.8 * w
        points = [
            (x - r, y),
            (x - r - 3, y - 19),
            (x - 0.5 * r, y - 10),
            (x, y - 23),
            (x + 0.5 * r, y - 10),
            (x + r + 3, y - 19),
            (x + r, y),
            (x, y + 2.5),
        ]
        canvas.drawPath(
            poly(points),
            linear((0, y - 20), (0, y + 2), ((255, 236, 130), 1), ((250, 190, 30), 1), ((196, 124, 10), 1)),
        )
        canvas.drawPath(poly(points), line((140, 84, 8), 1.2))
        for px, py, c in (
            (-r - 3, -19, (230, 40, 60)),
            (0, -23, (60, 120, 250)),
            (r + 3, -19, (230, 40, 60)),
            (0, -5, (220, 30, 60)),
        ):
            canvas.drawCircle(x + px, y + py, 2.6, fill(c))
            canvas.drawCircle(x + px - 0.8, y + py - 0.8, 0.8, fill((255, 255, 255), 0.85))
    elif accessory == "headphones":
        x = -2.0 * s
        arc = skia.Rect.MakeLTRB(x - w - 5, t - 9, x + w + 5, 36)
        canvas.drawArc(arc, 184, 172, False, line((30, 32, 40), 5.4))
        canvas.drawArc(arc, 215, 60, False, line((150, 156, 170), 1.6))
        for k in (-1, 1):
            turn = k * s  # the cup on the far side slides behind the face
            cx = x + k * (w + 4.0 - max(0.0, turn) * 7.0 - max(0.0, -turn) * 6.0)
            canvas.drawRoundRect(skia.Rect.MakeLTRB(cx - 5.6, -8, cx + 5.6, 16), 5, 5, fill((26, 28, 36)))
            canvas.drawRoundRect(
                skia.Rect.MakeLTRB(cx - 3.6, -5.4, cx + 3.6, 13.4),
                3.6,
                3.6,
                linear((cx, -6), (cx, 14), ((110, 236, 240), 1), ((20, 150, 176), 1)),
            )
    elif accessory == "scarf":
        y = head.chin_y
        teal = (22, 138, 134)
        wrap = spline(
            [
                (-24, y + 4),
                (-12, y + 1),
                (0, y + 4.5),
                (12, y + 1),
                (24, y + 4),
                (27, y + 14),
                (14, y + 22),
                (0, y + 24),
                (-14, y + 22),
                (-27, y + 14),
            ]
        )
        tail = poly([(8, y + 16), (21, y + 14), (25, y + 60), (11, y + 60)])
        paint = linear((-24, y), (22, y + 26), (shade(teal, 0.25), 1), (shade(teal, -0.3), 1))
        canvas.drawPath(tail, fill(shade(teal, -0.1)))
        for k in range(3):
            canvas.drawLine(10 + k, y + 29 + 10 * k, 22 + k, y + 28 + 10 * k, line((250, 240, 214), 3.2))
        canvas.drawPath(wrap, paint)
        for px in (-15, -4, 9):
            canvas.drawPath(
                spline([(px, y + 5), (px + 3.5, y + 13), (px + 2, y + 22)], False), line((250, 240, 214), 3.0)
            )
        canvas.drawPath(
            spline([(-26, y + 10), (0, y + 15), (26, y + 10)], False), line(shade(teal, -0.5), 1.3, 0.6)
        )


def _glasses(canvas: skia.Canvas, head: Head, *, dark: bool) -> None:
    r = max(8.2, head.eye_rx + 2.4)
    if head.eye_dx - r < 1.2:
        r = head.eye_dx - 1.2
    frame = line((24, 22, 28), 2.0)
    inner = []
    for side in (-1, 1):
        x, y = head.at(side * (head.eye_dx + 0.4), 1.0)
        rx = r * head.squeeze(side * head.eye_dx)
        inner.append(x - side * rx)
        rect = skia.Rect.MakeLTRB(x - rx, y - r * 0.82, x + rx, y + r * (1.0 if dark else 0.92))
        if dark:
            canvas.drawRoundRect(
                rect, 5, 6, linear((0, y - r), (0, y + r), ((14, 14, 22), 0.97), ((52, 50, 72), 0.8))
            )
            canvas.drawLine(x - 0.5 * rx, y + 2.0, x + 0.1 * rx, y - 0.5 * r, line((255, 255, 255), 1.5, 0.4))
        else:
            canvas.drawRoundRect(rect, 6, 7, fill((220, 240, 255), 0.14))
        canvas.drawRoundRect(rect, 6, 7, frame)
        end = head.at(side * 0.985 * head.w, -1.0)
        canvas.drawLine(x + side * rx, y - 2.0, *end, frame)
    y = -0.6
    canvas.drawPath(
        spline([(inner[0], y), (0.5 * (inner[0] + inner[1]), y - 1.6), (inner[1], y)], False), frame
    )
