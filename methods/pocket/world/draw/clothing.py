"""Neck, shoulders and the garment."""

from __future__ import annotations

from math import sin

import skia

from methods.pocket.world.draw.brush import (
    RGB,
    fill,
    line,
    linear,
    mix,
    oval,
    poly,
    shade,
    spline,
)
from methods.pocket.world.draw.head import Head

CLOTHING_COLOURS: dict[str, RGB] = {
    "red": (206, 34, 38),
    "orange": (245, 130, 24),
    "yellow": (248, 212, 44),
    "green": (38, 148, 62),
    "blue": (34, 84, 214),
    "purple": (122, 46, 170),
    "pink": (248, 138, 184),
    "white": (244, 244, 246),
    "black": (34, 34, 40),
    "brown": (112, 68, 38),
}


def draw_hood(canvas: skia.Canvas, head: Head, colour: RGB) -> None:
    """The hood of a hoodie, behind the head."""
    y = head.chin_y
    hood = spline([(-31, y + 20), (-29, y - 4), (-17, y - 12), (17, y - 12), (29, y - 4), (31, y + 20)])
    canvas.drawPath(
        hood, linear((0, y - 12), (0, y + 16), (shade(colour, -0.1), 1), (shade(colour, -0.5), 1))
    )


def draw_body(canvas: skia.Canvas, head: Head, garment: str, colour: RGB) -> None:
    """Neck and torso in face units below the chin; the torso runs far below the picture."""
    y = head.chin_y
    man = head.person.gender == "man"
    neck = 12.5 + 3.0 * head.person.jaw if man else 10.0 + 2.5 * head.person.jaw
    half = 51.0 if man else 45.0
    drift = 3.0 * sin(head.yaw)
    skin = shade(head.skin, -0.14)
    body = [
        (-neck, y + 10.0),
        (-neck - 9, y + 14.5),
        (-half + 8, y + 20.0),
        (-half, y + 34.0),
        (-half - 4, y + 110.0),
        (half + 4, y + 110.0),
        (half, y + 34.0),
        (half - 8, y + 20.0),
        (neck + 9, y + 14.5),
        (neck, y + 10.0),
    ]
    throat = poly(
        [
            (-neck + drift, y - 14),
            (neck + drift, y - 14),
            (neck, y + 12),
            (neck + 8, y + 20),
            (-neck - 8, y + 20),
            (-neck, y + 12),
        ]
    )
    canvas.drawPath(throat, linear((0, y - 4), (0, y + 14), (shade(skin, -0.42), 1), (skin, 1)))
    torso = spline(body)
    if garment == "t-shirt":
        scoop = skia.Path()
        scoop.addOval(skia.Rect.MakeLTRB(-neck - 5.5, y - 6, neck + 5.5, y + 21.5))
        oval(canvas, 0, y + 15, neck + 4, 7, fill(skin))
        canvas.save()
        canvas.clipPath(scoop, skia.ClipOp.kDifference, True)
    light, dark = shade(colour, 0.16), shade(colour, -0.34)
    canvas.drawPath(
        torso, linear((-30, y + 10), (34, y + 70), (light, 1), (colour, 1), (dark, 1), at=(0.0, 0.4, 1.0))
    )
    fold = line(shade(colour, -0.42), 1.3, 0.6)
    for s in (-1, 1):
        canvas.drawPath(
            spline([(s * (half - 13), y + 30), (s * (half - 16), y + 46), (s * (half - 14), y + 90)], False),
            fold,
        )
    if garment == "t-shirt":
        canvas.restore()
        canvas.drawArc(
            skia.Rect.MakeLTRB(-neck - 6, y - 6, neck + 6, y + 22), 14, 152, False, line(dark, 2.2)
        )
    elif garment == "sweater":
        collar = spline(
            [
                (-neck - 3, y + 3),
                (0, y + 6),
                (neck + 3, y + 3),
                (neck + 5, y + 15),
                (0, y + 19),
                (-neck - 5, y + 15),
            ]
        )
        canvas.drawPath(collar, linear((0, y + 2), (0, y + 18), (dark, 1), (mix(colour, light, 0.6), 1)))
        canvas.drawPath(collar, line(dark, 1.2, 0.8))
        for k in range(-2, 3):
            canvas.drawLine(k * neck * 0.42, y + 8, k * neck * 0.46, y + 16, line(dark, 1.0, 0.6))
        for k in range(4):
            stripe = spline(
                [(-half + 12, y + 34 + 13 * k), (0, y + 37 + 13 * k), (half - 12, y + 34 + 13 * k)], False
            )
            canvas.drawPath(stripe, line(shade(colour, -0.3), 2.0, 0.55))
    elif garment == "suit":
        canvas.drawPath(poly([(-neck - 1, y + 8), (neck + 1, y + 8), (0, y + 52)]), fill((238, 240, 246)))
        canvas.drawPath(poly([(-neck + 5, y + 9), (neck - 5, y + 9), (0, y + 16)]), fill(skin))
        tie = (36, 38, 52) if sum(colour) > 150 else (180, 30, 44)
        canvas.drawPath(
            poly(
                [
                    (-3.2, y + 14),
                    (3.2, y + 14),
                    (2.4, y + 19),
                    (4.2, y + 38),
                    (0, y + 50),
                    (-4.2, y + 38),
                    (-2.4, y + 19),
                ]
            ),
            fill(tie),
        )
        for s in (-1, 1):
            lapel = poly(
                [
                    (s * (neck - 1), y + 7),
                    (s * (neck + 9), y + 14),
                    (s * (neck + 13), y + 28),
                    (s * (neck + 7), y + 30),
                    (s * 1.0, y + 56),
                ]
            )
            canvas.drawPath(lapel, fill(shade(colour, 0.1)))
            canvas.drawPath(lapel, line(dark, 1.2, 0.9))
            canvas.drawPath(
                poly([(s * (neck - 3), y + 6), (s * (neck + 1), y + 8), (s * 4, y + 19), (s * 1, y + 15)]),
                fill((250, 250, 252)),
            )
    else:
        canvas.drawArc(
            skia.Rect.MakeLTRB(-neck - 8, y - 8, neck + 8, y + 20),
            8,
            164,
            False,
            line(shade(colour, 0.06), 6.0),
        )
        canvas.drawArc(
            skia.Rect.MakeLTRB(-neck - 11, y - 8, neck + 11, y + 24), 10, 160, False, line(dark, 1.3, 0.9)
        )
        for s in (-1, 1):
            canvas.drawLine(
                s * 6.5,
                y + 20,
                s * 7.5,
                y + 38,
                line((250, 250, 250) if sum(colour) < 690 else (150, 150, 160), 1.7),
            )
        pocket = poly([(-20, y + 66), (-14, y + 50), (14, y + 50), (20, y + 66), (20, y + 90), (-20, y + 90)])
        canvas.drawPath(pocket, line(dark, 1.4, 0.8))
