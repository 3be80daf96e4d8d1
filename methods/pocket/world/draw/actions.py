"""What the hands do; drawn in picture coordinates so that every framing shows it."""

from __future__ import annotations

import skia

from methods.pocket.world.draw.brush import RGB, box, fill, line, linear, oval, poly, radial, shade, spline


def _hand(canvas: skia.Canvas, x: float, y: float, skin: RGB, side: int) -> None:
    """A fist around something, thumb in front."""
    oval(canvas, x, y, 8.0, 7.2, radial((x - 2, y - 3), 11, (shade(skin, 0.15), 1), (shade(skin, -0.25), 1)))
    for k in range(3):
        canvas.drawLine(
            x - 5.5 * side,
            y - 2.5 + 3.2 * k,
            x + 0.5 * side,
            y - 2.9 + 3.2 * k,
            line(shade(skin, -0.45), 0.9, 0.7),
        )


def _sleeve(canvas: skia.Canvas, x: float, y: float, colour: RGB, lean: float) -> None:
    arm = poly([(x - 7, y + 3), (x + 7, y + 3), (x + 10 + lean, 134), (x - 10 + lean, 134)])
    canvas.drawPath(arm, linear((x - 9, y), (x + 9, y), (shade(colour, 0.14), 1), (shade(colour, -0.3), 1)))
    canvas.drawPath(arm, line(shade(colour, -0.5), 1.0, 0.7))


def draw_action(canvas: skia.Canvas, action: str, skin: RGB, colour: RGB, side: int) -> None:
    """One action; `side` -1 puts it in the left half of the picture, 1 in the right."""
    if action == "none":
        return
    x = 64.0 + side * 46.0
    if action == "waving":
        y = 88.0
        _sleeve(canvas, x, y + 12, colour, -8.0 * side)
        for dx, dy in ((-8.5, -13), (-3.4, -17.5), (2.4, -17.8), (7.6, -14)):
            canvas.drawLine(x + dx * 0.6, y, x + dx, y + dy, line(shade(skin, -0.4), 6.0))
            canvas.drawLine(x + dx * 0.6, y, x + dx, y + dy, line(skin, 4.8))
        canvas.drawLine(x - side * 5, y + 5, x - side * 13, y - 3, line(shade(skin, -0.1), 5.0))
        oval(
            canvas,
            x,
            y + 3,
            8.8,
            10.0,
            radial((x - 2, y), 14, (shade(skin, 0.15), 1), (shade(skin, -0.2), 1)),
        )
    elif action == "balloon":
        cx, cy = 64.0 + side * 48.0, 24.0
        canvas.drawPath(
            spline([(x, 108), (x + 2 * side, 80), (cx, cy + 19)], False), line((250, 250, 250), 1.3)
        )
        canvas.drawPath(
            spline([(x + 0.8, 108), (x + 0.8 + 2 * side, 80), (cx + 0.8, cy + 19)], False),
            line((60, 50, 60), 0.8, 0.7),
        )
        canvas.drawPath(poly([(cx, cy + 16), (cx - 3.5, cy + 21), (cx + 3.5, cy + 21)]), fill((170, 14, 40)))
        oval(
            canvas,
            cx,
            cy,
            14.5,
            17.5,
            radial(
                (cx - 5, cy - 6),
                25,
                ((255, 130, 130), 1),
                ((232, 30, 50), 1),
                ((150, 8, 34), 1),
                at=(0, 0.45, 1),
            ),
        )
        oval(canvas, cx - 5, cy - 8, 3, 4.5, fill((255, 255, 255), 0.6))
        _sleeve(canvas, x, 112, colour, 2.0 * side)
        _hand(canvas, x, 109, skin, side)
    elif action == "book":
        top, low = 98.0, 122.0
        for s in (-1, 1):
            page = poly([(64, top + 4), (64 + s * 28, top), (64 + s * 30, low), (64, low + 5)])
            cover = poly([(64, top + 6), (64 + s * 30.5, top + 1), (64 + s * 32.5, low + 2.5), (64, low + 8)])
            canvas.drawPath(cover, fill((168, 42, 34)))
            canvas.drawPath(
                page,
                linear((64, 0), (64 + s * 30, 0), ((196, 186, 166), 1), ((255, 252, 240), 1), at=(0.0, 0.35)),
            )
            for k in range(4):
                canvas.drawLine(
                    64 + s * 6,
                    top + 8.4 + 4 * k,
                    64 + s * 24,
                    top + 6 + 4 * k,
                    line((150, 140, 130), 1.1, 0.8),
                )
        for s in (-1, 1):
            _hand(canvas, 64 + s * 31, 119, skin, s)
    elif action == "coffee":
        x = 64.0 + side * 36.0
        _sleeve(canvas, x + side * 8, 116, colour, 8.0 * side)
        for k in (-1, 1):
            steam = spline(
                [(x + 4 * k, 90), (x + 4 * k - 2.5, 84), (x + 4 * k + 2.5, 79), (x + 4 * k, 73)], False
            )
            canvas.drawPath(steam, line((255, 255, 255), 2.2, 0.7))
        canvas.drawArc(
            skia.Rect.MakeLTRB(x - side * 5 - 10, 97, x - side * 5 + 10, 113),
            0,
            360,
            False,
            line((214, 218, 226), 3.0),
        )
        box(
            canvas,
            x - 10,
            92,
            x + 10,
            118,
            linear(
                (x - 10, 0),
                (x + 10, 0),
                ((255, 255, 255), 1),
                ((236, 238, 244), 1),
                ((170, 176, 190), 1),
                at=(0, 0.5, 1),
            ),
            3.0,
        )
        oval(canvas, x, 93, 10, 3.4, fill((236, 238, 244)))
        oval(canvas, x, 93.4, 8.4, 2.5, fill((84, 48, 26)))
        box(canvas, x - 10, 103, x + 10, 107.5, fill((40, 120, 200)))
        _hand(canvas, x + side * 8, 111, skin, side)
    elif action == "flowers":
        x = 64.0 + side * 38.0
        for dx, dy in ((-10, 92), (-4, 84), (4, 86), (10, 93), (0, 94)):
            canvas.drawLine(x, 116, x + dx, dy, line((40, 124, 50), 2.0))
        for dx, dy in ((-15, 98), (14, 99)):
            oval(canvas, x + dx, dy, 6, 3.0, fill((52, 150, 62)))
        heads: tuple[tuple[float, float, RGB], ...] = (
            (-11, 90, (246, 96, 150)),
            (-3, 82, (255, 214, 60)),
            (7, 85, (250, 110, 160)),
            (12, 94, (255, 214, 60)),
            (0, 94, (238, 70, 110)),
        )
        for dx, dy, c in heads:
            for px, py in ((0, -3.2), (3.1, -1), (1.9, 2.7), (-1.9, 2.7), (-3.1, -1)):
                canvas.drawCircle(x + dx + px, dy + py, 2.9, fill(shade(c, 0.1 * (py < 0))))
            canvas.drawCircle(x + dx, dy, 2.2, fill((140, 70, 20) if c[2] < 100 else (255, 236, 120)))
        _sleeve(canvas, x + side * 3, 117, colour, 8.0 * side)
        _hand(canvas, x, 114, skin, side)
