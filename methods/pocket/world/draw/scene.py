"""The ten scenes, drawn in picture coordinates (128 x 128); `rng` moves their details."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, sin

import numpy as np
import skia

from methods.pocket.world.draw.brush import (
    RGB,
    box,
    fill,
    glow,
    line,
    linear,
    oval,
    poly,
    radial,
    shade,
    spline,
)

Rng = np.random.Generator


def _sky(canvas: skia.Canvas, top: RGB, low: RGB, horizon: float = 128.0) -> None:
    canvas.drawRect(skia.Rect.MakeWH(128, 128), linear((0, 0), (0, horizon), (top, 1), (low, 1)))


def _cloud(canvas: skia.Canvas, x: float, y: float, s: float) -> None:
    for dx, dy, r in ((-9, 1, 6), (-2, -3, 8), (7, -1, 7), (13, 2, 4.5)):
        oval(canvas, x + s * dx, y + s * dy, s * r, s * r * 0.72, fill((255, 255, 255), 0.85))


def _beach(canvas: skia.Canvas, u: list[float]) -> None:
    _sky(canvas, (70, 168, 236), (206, 238, 250), 66)
    sun = 12 + 20 * u[0] if u[1] < 0.5 else 96 + 20 * u[0]
    glow(canvas, (sun, 18), 24, (255, 250, 200), 0.9)
    canvas.drawCircle(sun, 18, 8, fill((255, 248, 190)))
    _cloud(canvas, 128 - sun, 22 + 8 * u[2], 0.9)
    box(canvas, 0, 62, 128, 100, linear((0, 62), (0, 96), ((14, 110, 180), 1), ((64, 206, 210), 1)))
    canvas.drawPath(
        spline([(-20, 92 + 5 * u[3]), (30, 88), (70, 95), (150, 86), (150, 160), (-20, 160)]),
        fill((250, 250, 245)),
    )
    sand = spline([(-20, 96 + 5 * u[3]), (30, 92), (70, 99), (150, 90), (150, 160), (-20, 160)])
    canvas.drawPath(sand, linear((0, 90), (0, 128), ((248, 224, 160), 1), ((226, 186, 112), 1)))
    x = 8.0 if u[1] >= 0.5 else 120.0
    lean = 8 if x < 64 else -8
    canvas.drawPath(spline([(x, 110), (x + 0.3 * lean, 70), (x + lean, 34)], False), line((130, 86, 48), 4.5))
    for dx, dy in ((-20, 6), (-17, -8), (-2, -15), (15, -9), (20, 5)):
        leaf = spline(
            [
                (x + lean, 33),
                (x + lean + 0.55 * dx, 30 + 0.9 * dy),
                (x + lean + dx, 36 + dy),
                (x + lean + 0.45 * dx, 36 + 0.5 * dy),
            ]
        )
        canvas.drawPath(leaf, fill((34, 140, 66)))


def _city(canvas: skia.Canvas, u: list[float]) -> None:
    _sky(canvas, (120, 164, 214), (232, 226, 216), 100)
    for row, (c, base, w) in enumerate((((160, 174, 198), 22.0, 19.0), ((92, 104, 134), 44.0, 23.0))):
        for k in range(8):
            x = -10 + k * w + 9 * u[row]
            y = base + 30 * ((u[(k + 3 * row) % 8] * 7.3) % 1.0)
            box(
                canvas,
                x,
                y,
                x + w - 2.5,
                130,
                linear((0, y), (0, 128), (shade(c, 0.1), 1), (shade(c, -0.25), 1)),
            )
            if row:
                for wy in range(int(y) + 5, 122, 9):
                    for wx in range(3):
                        lit = (wy * 7 + wx * 5 + k * 3) % 5 < 3
                        box(
                            canvas,
                            x + 3 + 6 * wx,
                            wy,
                            x + 6.4 + 6 * wx,
                            wy + 5,
                            fill((255, 228, 140) if lit else (62, 74, 104), 0.9),
                        )
    box(canvas, 0, 112, 128, 128, fill((86, 88, 98)))
    box(canvas, 0, 110, 128, 114, fill((190, 190, 196)))


def _forest(canvas: skia.Canvas, u: list[float]) -> None:
    _sky(canvas, (206, 236, 190), (120, 180, 110), 110)
    glow(canvas, (30 + 70 * u[0], 10), 56, (255, 255, 210), 0.75)
    for layer, (c, step) in enumerate((((104, 164, 104), 17), ((46, 116, 62), 24), ((18, 76, 44), 34))):
        for k in range(9):
            x = -14 + k * step + 20 * u[layer + 1] + 5 * u[(k + layer) % 8]
            top = 8 + 12 * layer + 16 * u[(k * 3 + layer) % 8]
            half = 8.0 + 3.4 * layer
            if layer == 2 and 30 < x < 98:
                continue
            box(canvas, x - 1.6 - layer * 0.5, 80, x + 1.6 + layer * 0.5, 128, fill((84, 58, 40)))
            for j in range(3):
                y = top + j * 19
                canvas.drawPath(
                    poly(
                        [(x, y), (x + half * (0.7 + 0.25 * j), y + 32), (x - half * (0.7 + 0.25 * j), y + 32)]
                    ),
                    fill(shade(c, -0.06 * j)),
                )
    box(canvas, 0, 108, 128, 128, linear((0, 106), (0, 128), ((70, 132, 58), 1), ((32, 84, 40), 1)))


def _desert(canvas: skia.Canvas, u: list[float]) -> None:
    _sky(canvas, (250, 178, 92), (255, 232, 170), 76)
    x = 20 + 88 * u[0]
    glow(canvas, (x, 24), 30, (255, 255, 220), 0.9)
    canvas.drawCircle(x, 24, 9, fill((255, 250, 214)))
    for k, c in enumerate(((236, 170, 92), (222, 142, 66), (202, 116, 50))):
        y = 62 + 18 * k + 6 * u[k + 1]
        dune = spline(
            [
                (-30, y + 10),
                (10 + 40 * u[k + 2], y - 6),
                (70 + 20 * u[k], y + 7),
                (110, y - 5),
                (170, y + 8),
                (170, 190),
                (-30, 190),
            ]
        )
        canvas.drawPath(dune, linear((0, y), (110, y + 40), (shade(c, 0.18), 1), (shade(c, -0.12), 1)))
    for px, s in ((11 + 6 * u[5], 1.0), (112 + 6 * u[6], 0.85)):
        g = line((44, 128, 70), 6.4 * s)
        canvas.drawLine(px, 108, px, 108 - 46 * s, g)
        canvas.drawPath(
            spline([(px, 92), (px - 9 * s, 90), (px - 10 * s, 76)], False), line((44, 128, 70), 4.6 * s)
        )
        canvas.drawPath(
            spline([(px, 84), (px + 9 * s, 82), (px + 10 * s, 68)], False), line((36, 112, 60), 4.6 * s)
        )


def _mountains(canvas: skia.Canvas, u: list[float]) -> None:
    _sky(canvas, (96, 160, 232), (222, 238, 252), 90)
    _cloud(canvas, 20 + 90 * u[7], 12, 0.8)
    peaks: tuple[tuple[float, float, RGB], ...] = (
        (18 + 16 * u[0], 22.0, (110, 132, 172)),
        (108 - 16 * u[1], 16.0, (98, 120, 164)),
        (64 + 20 * (u[2] - 0.5), 36.0, (128, 150, 188)),
    )
    for px, h, c in peaks:
        peak = [(px - 54, 112.0), (px, h), (px + 54, 112.0)]
        canvas.drawPath(
            poly(peak), linear((px - 20, h), (px + 26, 100), (shade(c, 0.22), 1), (shade(c, -0.22), 1))
        )
        canvas.drawPath(
            poly(
                [
                    (px, h),
                    (px + 17, h + 28),
                    (px + 9, h + 24),
                    (px + 3, h + 32),
                    (px - 5, h + 24),
                    (px - 17, h + 28),
                ]
            ),
            fill((252, 254, 255)),
        )
        canvas.drawPath(
            poly([(px, h), (px + 17, h + 28), (px + 9, h + 24), (px + 3, h + 10)]), fill((190, 208, 236), 0.9)
        )
    snow = spline([(-20, 100), (30, 94 + 6 * u[3]), (90, 102), (150, 92 + 6 * u[4]), (150, 170), (-20, 170)])
    canvas.drawPath(snow, linear((0, 94), (0, 128), ((255, 255, 255), 1), ((206, 222, 246), 1)))
    for px in (6 + 8 * u[5], 118 - 6 * u[6]):
        for j in range(3):
            y = 66 + 12 * j
            canvas.drawPath(
                poly([(px, y), (px + 6 + 3 * j, y + 17), (px - 6 - 3 * j, y + 17)]), fill((26, 78, 76))
            )
            canvas.drawPath(poly([(px, y), (px + 3 + j, y + 7), (px - 3 - j, y + 7)]), fill((244, 250, 255)))


def _living_room(canvas: skia.Canvas, u: list[float]) -> None:
    wall = (232, 214, 190)
    canvas.drawRect(
        skia.Rect.MakeWH(128, 128), linear((0, 0), (128, 128), (shade(wall, 0.2), 1), (shade(wall, -0.12), 1))
    )
    x = 4 + 8 * u[0]
    box(canvas, x, 12, x + 36, 62, fill((252, 250, 246)))
    box(canvas, x + 3, 15, x + 33, 59, linear((0, 15), (0, 59), ((132, 196, 244), 1), ((212, 238, 214), 1)))
    canvas.drawLine(x + 18, 14, x + 18, 60, line((252, 250, 246), 2.4))
    canvas.drawLine(x + 2, 37, x + 34, 37, line((252, 250, 246), 2.4))
    x = 96 + 6 * u[1]
    box(canvas, x, 12, x + 25, 40, fill((96, 62, 40)))
    box(canvas, x + 2.5, 14.5, x + 22.5, 37.5, fill((240, 232, 210)))
    canvas.drawPath(
        poly([(x + 3, 37), (x + 10, 22), (x + 15, 30), (x + 18, 25), (x + 22, 37)]), fill((206, 96, 70))
    )
    x = 112 - 4 * u[2]
    canvas.drawLine(x, 60, x, 110, line((80, 60, 50), 2.4))
    glow(canvas, (x, 62), 30, (255, 226, 140), 0.8)
    canvas.drawPath(poly([(x - 7, 48), (x + 7, 48), (x + 12, 66), (x - 12, 66)]), fill((255, 224, 150)))
    box(canvas, -6, 82, 134, 140, linear((0, 82), (0, 128), ((126, 142, 118), 1), ((84, 100, 82), 1)), 10)
    box(canvas, -4, 100, 63, 140, fill((146, 162, 136)), 7)
    box(canvas, 65, 100, 132, 140, fill((136, 152, 126)), 7)


def _library(canvas: skia.Canvas, u: list[float]) -> None:
    canvas.drawRect(skia.Rect.MakeWH(128, 128), fill((66, 38, 26)))
    colours: tuple[RGB, ...] = (
        (150, 44, 40),
        (40, 84, 96),
        (178, 136, 60),
        (64, 96, 60),
        (110, 60, 90),
        (200, 180, 140),
        (52, 60, 110),
    )
    for row in range(5):
        y = 2 + 26 * row
        x, k = -6.0 + 6 * u[row], 0
        while x < 128:
            width = 5.0 + 3.4 * u[(k + row) % 8]
            top = y + 5 * u[(3 * k + row) % 8]
            c = colours[(k * 3 + row * 5 + int(7 * u[(k + 2 * row) % 8])) % 7]
            box(
                canvas,
                x,
                top,
                x + width - 0.5,
                y + 22,
                linear((x, 0), (x + width, 0), (shade(c, 0.12), 1), (shade(c, -0.3), 1)),
            )
            canvas.drawLine(x + 1, top + 4, x + width - 1.5, top + 4, line((230, 200, 120), 0.9, 0.6))
            x, k = x + width, k + 1
        box(
            canvas,
            0,
            y + 22,
            128,
            y + 26,
            linear((0, y + 22), (0, y + 26), ((150, 96, 56), 1), ((92, 54, 32), 1)),
        )
    glow(canvas, (64, 40), 90, (255, 210, 130), 0.26)


def _garden(canvas: skia.Canvas, u: list[float]) -> None:
    _sky(canvas, (150, 214, 246), (226, 246, 226), 60)
    for k in range(9):
        x = k * 17 - 8 + 10 * u[k % 8]
        canvas.drawCircle(x, 52 + 7 * u[(k + 3) % 8], 16, fill((72 + 20 * u[k % 8], 156, 78)))
    box(canvas, 0, 60, 128, 128, linear((0, 56), (0, 128), ((112, 190, 84), 1), ((50, 130, 56), 1)))
    petals: tuple[RGB, ...] = (
        (240, 76, 120),
        (255, 200, 50),
        (250, 250, 250),
        (170, 90, 210),
        (250, 120, 60),
    )
    for k in range(30):
        x = (k * 37 + 60 * u[k % 8]) % 132 - 2
        y = 60 + 66 * (k / 30.0)
        s = 1.5 + 2.5 * k / 30.0
        c = petals[(k + int(5 * u[0])) % 5]
        for j in range(5):
            canvas.drawCircle(x + s * cos(1.257 * j), y + s * sin(1.257 * j), 0.85 * s, fill(c))
        canvas.drawCircle(x, y, 0.7 * s, fill((250, 220, 90) if c[1] < 190 or c[2] > 200 else (150, 80, 20)))


def _night(canvas: skia.Canvas, u: list[float]) -> None:
    _sky(canvas, (10, 14, 52), (62, 44, 116), 120)
    band = spline(
        [
            (-10, 90 - 40 * u[0]),
            (60, 46),
            (140, 10 + 20 * u[1]),
            (140, 34 + 20 * u[1]),
            (60, 76),
            (-10, 124 - 40 * u[0]),
        ]
    )
    canvas.drawPath(band, fill((150, 120, 220), 0.25))
    for k in range(34):
        x, y = (k * 47 + 90 * u[k % 8]) % 128, (k * 29 + 70 * u[(k + 3) % 8]) % 108
        r = 0.8 + 0.9 * u[(k * 3) % 8]
        if k % 6 == 0:
            glow(canvas, (x, y), 4.5, (220, 230, 255), 0.8)
        canvas.drawCircle(x, y, r, fill((255, 255, 240)))
    x = 20 + 14 * u[4] if u[5] < 0.5 else 96 + 14 * u[4]
    glow(canvas, (x, 22), 26, (255, 250, 210), 0.55)
    canvas.drawCircle(x, 22, 11, radial((x - 3, 19), 14, ((255, 254, 236), 1), ((234, 222, 170), 1)))
    for dx, dy, r in ((3, -3, 2.4), (-4, 3, 2.0), (4, 5, 1.6)):
        canvas.drawCircle(x + dx, 22 + dy, r, fill((210, 198, 150), 0.8))
    hill = spline(
        [(-20, 108), (30, 100 + 6 * u[6]), (90, 110), (150, 100 + 6 * u[7]), (150, 170), (-20, 170)]
    )
    canvas.drawPath(hill, fill((14, 16, 36)))


_BACKDROPS: tuple[RGB, ...] = ((196, 200, 208), (206, 200, 192), (186, 198, 200), (202, 194, 204))


def _studio(canvas: skia.Canvas, u: list[float]) -> None:
    c = _BACKDROPS[int(4 * u[0]) % 4]
    paint = radial((64, 50), 96, (shade(c, 0.55), 1), (c, 1), (shade(c, -0.3), 1), at=(0.0, 0.55, 1.0))
    canvas.drawRect(skia.Rect.MakeWH(128, 128), paint)


_SCENES: dict[str, Callable[[skia.Canvas, list[float]], None]] = {
    "beach": _beach,
    "city": _city,
    "forest": _forest,
    "desert": _desert,
    "mountains": _mountains,
    "living room": _living_room,
    "library": _library,
    "garden": _garden,
    "night sky": _night,
    "studio": _studio,
}


def draw_scene(canvas: skia.Canvas, scene: str, rng: Rng) -> None:
    """Fill the whole 128 x 128 picture with one scene of the factor of that name."""
    _SCENES[scene](canvas, rng.random(8).tolist())
