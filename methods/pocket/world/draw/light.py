"""Coloured light laid over the whole picture; mild enough that colours keep their names."""

from __future__ import annotations

import skia

from methods.pocket.world.draw.brush import RGB, linear, radial


def _wash(canvas: skia.Canvas, paint: skia.Paint, mode: skia.BlendMode) -> None:
    paint.setBlendMode(mode)
    canvas.drawRect(skia.Rect.MakeWH(128, 128), paint)


def _tint(canvas: skia.Canvas, c: RGB, mode: skia.BlendMode) -> None:
    _wash(canvas, skia.Paint(Color=skia.Color(int(c[0]), int(c[1]), int(c[2]))), mode)


def draw_light(canvas: skia.Canvas, light: str, side: int) -> None:
    """Light of the factor of that name, falling in from `side` (-1 left, 1 right)."""
    near, far = (0.0, 128.0) if side < 0 else (128.0, 0.0)
    if light == "golden hour":
        _tint(canvas, (255, 232, 196), skia.BlendMode.kMultiply)
        beam = linear(
            (near, 10),
            (far, 90),
            ((255, 160, 40), 0.5),
            ((255, 130, 30), 0.08),
            ((120, 30, 0), 0.03),
            at=(0.0, 0.55, 1.0),
        )
        _wash(canvas, beam, skia.BlendMode.kScreen)
    elif light == "moonlight":
        _tint(canvas, (150, 168, 232), skia.BlendMode.kMultiply)
        _wash(
            canvas,
            radial((near, 0), 130, ((120, 170, 255), 0.34), ((40, 70, 170), 0.03)),
            skia.BlendMode.kScreen,
        )
    elif light == "neon":
        _tint(canvas, (206, 196, 216), skia.BlendMode.kMultiply)
        glow = linear(
            (near, 64),
            (far, 64),
            ((255, 20, 150), 0.66),
            ((255, 20, 150), 0.0),
            ((0, 220, 255), 0.0),
            ((0, 220, 255), 0.6),
            at=(0.0, 0.4, 0.6, 1.0),
        )
        _wash(canvas, glow, skia.BlendMode.kScreen)
