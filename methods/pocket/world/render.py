"""One portrait: pixels with their ground truth, the same bytes for the same person, context and size."""

from __future__ import annotations

from dataclasses import dataclass
from math import radians

import numpy as np
import skia
from numpy.typing import NDArray

from methods.pocket.world.context import Context
from methods.pocket.world.draw.accessories import draw_accessory
from methods.pocket.world.draw.actions import draw_action
from methods.pocket.world.draw.beard import draw_beard
from methods.pocket.world.draw.clothing import CLOTHING_COLOURS, draw_body, draw_hood
from methods.pocket.world.draw.face import draw_ears, draw_eyes, draw_mouth, draw_nose, draw_skin
from methods.pocket.world.draw.hair import draw_back_hair, draw_front_hair
from methods.pocket.world.draw.head import Head
from methods.pocket.world.draw.light import draw_light
from methods.pocket.world.draw.scene import draw_scene
from methods.pocket.world.draw.style import apply_style
from methods.pocket.world.person import Person

# face scale and height of the eye line, in pixels of a 128 px picture
_FRAMING = {"close-up": (1.14, 56.0), "portrait": (0.98, 52.0), "wide": (0.79, 47.0)}
_OCCLUDING = ("sunglasses", "hat", "crown", "headphones", "scarf")


@dataclass(frozen=True)
class Portrait:
    """A rendered picture and what is true of it, in pixel coordinates of `pixels`.

    pixels: uint8 [S, S, 3] RGB. box: float32 [4] x1, y1, x2, y2 of the face, chin to hairline and cheek to
    cheek. landmarks: float32 [5, 2] in insightface order: image-left eye, image-right eye, nose tip,
    image-left and image-right mouth corner. face_mask: bool [S, S], visible facial skin including eyes, mouth
    and beard, without hair, headgear, sunglasses and hands.
    """

    pixels: NDArray[np.uint8]
    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    face_mask: NDArray[np.bool_]
    person: Person
    context: Context


def _surface(size: int) -> tuple[NDArray[np.uint8], skia.Surface]:
    pixels = np.zeros((size, size, 4), dtype=np.uint8)
    info = skia.ImageInfo.Make(size, size, skia.kRGBA_8888_ColorType, skia.kOpaque_AlphaType)
    return pixels, skia.Surface.MakeRasterDirect(info, pixels, size * 4)


def _draw_scene_soft(canvas: skia.Canvas, context: Context, rng: np.random.Generator, size: int) -> None:
    """The scene, slightly out of focus in a photo: drawn small and enlarged smoothly."""
    if context.style != "photo":
        draw_scene(canvas, context.scene, rng)
        return
    small = 88 * max(1, round(size / 128))
    pixels, surface = _surface(small)
    surface.getCanvas().scale(small / 128.0, small / 128.0)
    draw_scene(surface.getCanvas(), context.scene, rng)
    surface.flushAndSubmit()
    image = skia.Image.fromarray(pixels, colorType=skia.kRGBA_8888_ColorType)
    sampling = skia.SamplingOptions(skia.CubicResampler.Mitchell())
    canvas.drawImageRect(image, skia.Rect.MakeWH(128, 128), sampling)


def _below_hat(canvas: skia.Canvas, head: Head) -> None:
    canvas.clipRect(skia.Rect.MakeLTRB(-200, head.hairline_y - 1.0, 200, 300))


def render(person: Person, context: Context, size: int = 128) -> Portrait:
    """Draw `person` in `context` as `size` x `size` pixels; the geometry is the same at every size."""
    if size < 16:
        raise ValueError(f"size {size} is below 16 pixels")
    rng = np.random.default_rng(context.nuisance)
    jitter = rng.uniform(-1.0, 1.0, 8).tolist()
    scale, eye_y = _FRAMING[context.framing]
    scale *= 1.0 + 0.035 * jitter[0]
    yaw = {"front": 3.0 * jitter[1], "left": -20.0 - 3.0 * jitter[1], "right": 20.0 + 3.0 * jitter[1]}[
        context.pose
    ]
    side = -1 if jitter[6] < 0 else 1
    head = Head(person, context.expression, radians(yaw))
    colour = CLOTHING_COLOURS[context.clothing_color]
    frame = skia.Matrix.Translate(64.0 + 4.5 * jitter[2], eye_y + 2.5 * jitter[3])
    frame.preScale(scale, scale)
    tilted = skia.Matrix.Concat(frame, skia.Matrix.RotateDeg(5.0 * jitter[4], skia.Point(0.0, head.chin_y)))
    gaze = (0.9 * jitter[5] + 0.05 * yaw, 0.35 * jitter[7])
    hatted = context.accessory == "hat"

    raw, surface = _surface(size)
    canvas = surface.getCanvas()
    canvas.scale(size / 128.0, size / 128.0)
    _draw_scene_soft(canvas, context, rng, size)

    canvas.save()
    canvas.concat(frame)
    if context.clothing == "hoodie":
        draw_hood(canvas, head, colour)
    canvas.restore()
    canvas.save()
    canvas.concat(tilted)
    if hatted:
        _below_hat(canvas, head)
    draw_back_hair(canvas, head)
    canvas.restore()
    canvas.save()
    canvas.concat(frame)
    draw_body(canvas, head, context.clothing, colour)
    canvas.restore()
    canvas.save()
    canvas.concat(tilted)
    draw_ears(canvas, head)
    draw_skin(canvas, head)
    draw_nose(canvas, head)
    draw_eyes(canvas, head, gaze)
    draw_beard(canvas, head)
    draw_mouth(canvas, head)
    if context.accessory in ("glasses", "sunglasses"):
        draw_accessory(canvas, head, context.accessory)
    canvas.save()
    if hatted:
        _below_hat(canvas, head)
    draw_front_hair(canvas, head)
    canvas.restore()
    if context.accessory not in ("glasses", "sunglasses"):
        draw_accessory(canvas, head, context.accessory)
    canvas.restore()
    draw_action(canvas, context.action, head.skin, colour, side)
    draw_light(canvas, context.light, -side)
    surface.flushAndSubmit()
    pixels = apply_style(np.ascontiguousarray(raw[..., :3]), context.style, context.nuisance)

    to_pixels = skia.Matrix.Concat(skia.Matrix.Scale(size / 128.0, size / 128.0), tilted)
    mask = _face_mask(head, context, tilted, hatted, size, side, colour)
    points = to_pixels.mapPoints([skia.Point(*p) for p in head.landmarks()])
    landmarks = np.asarray([(p.x(), p.y()) for p in points], dtype=np.float32)
    contour = head.outline()
    contour.transform(to_pixels)
    bounds = contour.getBounds()
    top = to_pixels.mapXY(*head.at(0.0, head.hairline_y)).y()
    face_box = np.asarray([bounds.left(), top, bounds.right(), bounds.bottom()], dtype=np.float32)
    return Portrait(pixels, face_box, landmarks, mask, person, context)


def _face_mask(
    head: Head,
    context: Context,
    tilted: skia.Matrix,
    hatted: bool,
    size: int,
    side: int,
    colour: tuple[float, float, float],
) -> NDArray[np.bool_]:
    """The face drawn white, then everything in front of it drawn again in black."""
    raw, surface = _surface(size)
    canvas = surface.getCanvas()
    canvas.scale(size / 128.0, size / 128.0)
    canvas.concat(tilted)
    canvas.drawPath(head.outline(), skia.Paint(AntiAlias=True, Color=skia.ColorWHITE))
    blacken = skia.ColorFilters.Blend(skia.ColorBLACK, skia.BlendMode.kSrcIn)
    canvas.saveLayer(None, skia.Paint(ColorFilter=blacken))
    canvas.save()
    if hatted:
        _below_hat(canvas, head)
    draw_front_hair(canvas, head)
    canvas.restore()
    if context.accessory in _OCCLUDING:
        draw_accessory(canvas, head, context.accessory)
    canvas.resetMatrix()
    canvas.scale(size / 128.0, size / 128.0)
    draw_action(canvas, context.action, head.skin, colour, side)
    canvas.restore()
    surface.flushAndSubmit()
    return raw[..., 0] > 127
