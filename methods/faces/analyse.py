"""One face from one picture: domain, detection ladder, selection, alignment, embedding."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from methods.errors import FaceError, NoFaceError, NotRenderedError, TinyFaceError
from methods.faces import cache as store
from methods.faces.domain import is_rendered
from methods.faces.geometry import align, check_policy, select_face
from methods.faces.types import Detection, Face, FaceEncoder, Rung
from methods.images import load_picture, picture_hash, pixels_hash

MIN_FACE = 24
"""Faces whose box is narrower or lower than this many pixels are refused: there is nothing to embed."""

PADDED_SIDE = 2048
"""Longer side of the picture that gets a border; detectors look at 640 pixels."""

POCKET_DOMAIN = "pocket-render"
NOT_RENDERED = "this looks like a photograph, and the pocket models know rendered people only."
TWO_WAYS_ON = (
    "Make a person with `spid render`, or use models for photographs throughout: --backbone, --face-encoder "
    "and --adapter."
)


def analyse(
    picture: Image.Image | str | os.PathLike[str],
    encoder: FaceEncoder,
    *,
    select: str = "largest",
    cache: bool = True,
    check_domain: bool = True,
) -> Face:
    """Detect, select, align and embed one face.

    picture: a file (read by `load_picture`) or a picture. select: 'largest', 'center', 'index:<n>' (from the
    left) or 'error' (several faces are an error). The detection ladder tries the picture as it is, then with
    a grey border (for close-ups), then at smaller detector sizes; `Face.rung` says which step succeeded.
    Results and failures are cached on disk by picture, encoder and settings. check_domain: refuse
    photographs for encoders that know rendered people only; False for pictures known to be generated.

    Raises NoFaceError, SeveralFacesError, TinyFaceError or NotRenderedError (all FaceError), each naming the
    picture, and PictureError for an unreadable file.
    """
    check_policy(select)
    name = "picture" if isinstance(picture, Image.Image) else str(Path(picture))
    entry = None
    if cache:
        key = pixels_hash(picture) if isinstance(picture, Image.Image) else picture_hash(picture)
        entry = store.entry(key, encoder.fingerprint, select, check_domain)
        if (found := store.read(entry)) is not None:
            return _deliver(found, name)
    rgb = picture.convert("RGB") if isinstance(picture, Image.Image) else load_picture(picture)
    result: Face | FaceError
    try:
        result = _analyse(rgb, encoder, select, check_domain)
    except FaceError as error:
        result = error
    if entry is not None:
        store.write(entry, result)
    return _deliver(result, name)


def _deliver(result: Face | FaceError, name: str) -> Face:
    if isinstance(result, Face):
        return result
    raise type(result)(f"{name}: {result.message}", hint=result.hint)


def _analyse(picture: Image.Image, encoder: FaceEncoder, select: str, check_domain: bool) -> Face:
    rendered_only = encoder.domain == POCKET_DOMAIN
    if min(picture.size) < MIN_FACE:
        raise TinyFaceError(
            f"the picture is {picture.width} x {picture.height} pixels: no face fits into it.",
            hint=f"Give a larger picture; {MIN_FACE} pixels are the least, 112 are good.",
        )
    rgb = np.asarray(picture)
    detections, rung = detect(rgb, encoder)
    if not detections:
        if check_domain and not may_judge(encoder, picture):
            raise NotRenderedError(NOT_RENDERED, hint=TWO_WAYS_ON)
        knows = f"{encoder.name}, which knows rendered people only" if rendered_only else encoder.name
        raise NoFaceError(
            f"no face found by {knows}.",
            hint=TWO_WAYS_ON if rendered_only else "Use a picture that shows one face, upright and sharp.",
        )
    largest = detections[select_face(detections, "largest", picture.width, picture.height)]
    if check_domain and not may_judge(encoder, picture, largest):
        raise NotRenderedError(NOT_RENDERED, hint=TWO_WAYS_ON)
    chosen = detections[select_face(detections, select, picture.width, picture.height)]
    x1, y1, x2, y2 = chosen.box
    if min(x2 - x1, y2 - y1) < MIN_FACE:
        raise TinyFaceError(
            f"the face is {x2 - x1:.0f} x {y2 - y1:.0f} pixels, too small to recognise.",
            hint=f"Give a larger picture or a crop; {MIN_FACE} pixels are the least, 112 are good.",
        )
    descriptor = encoder.embed(rgb, chosen.landmarks)
    norm = float(np.linalg.norm(descriptor))
    return Face(
        box=chosen.box,
        landmarks=chosen.landmarks,
        score=chosen.score,
        embedding=(descriptor / np.float32(norm)).astype(np.float32),
        norm=norm,
        crop=align(rgb, chosen.landmarks),
        rung=rung,
        count=len(detections),
        encoder=encoder.name,
    )


def may_judge(encoder: FaceEncoder, picture: Image.Image, largest: Detection | None = None) -> bool:
    """Whether an encoder knows people such as this RGB picture's; conditioning and scoring ask alike.

    largest: the largest face found in it, None where there is none. False for photographs, where the
    encoder knows rendered people only.
    """
    return encoder.domain != POCKET_DOMAIN or is_rendered(picture, largest)


def detect(rgb: NDArray[np.uint8], encoder: FaceEncoder) -> tuple[list[Detection], Rung]:
    """Run the detection ladder on uint8 [H, W, 3]; the faces of the first step that finds any."""
    if found := encoder.detect(rgb):
        return found, "as-is"
    # A border makes a face that fills the picture look like one in a scene; grey is the detector's zero.
    small, scale = _reduced(rgb)
    border = max(small.shape[:2]) // 2
    padded = np.pad(small, ((border, border), (border, border), (0, 0)), constant_values=127)
    if found := encoder.detect(padded):
        return [_shifted(d, -border, scale) for d in found], "padded"
    for size in encoder.detector_sizes[1:]:
        if found := encoder.detect(rgb, size=size):
            return found, "small-detector"
    return [], "as-is"


def _reduced(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """A picture whose longer side is at most PADDED_SIDE, and how much larger the given one is.

    The border makes a square of twice the longer side, whatever the shorter one is: 1000 x 30000 pixels would
    take gigabytes.
    """
    longest = max(rgb.shape[:2])
    if longest <= PADDED_SIDE:
        return rgb, 1.0
    size = tuple(max(1, round(side * PADDED_SIDE / longest)) for side in rgb.shape[1::-1])
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BOX)), longest / PADDED_SIDE


def _shifted(detection: Detection, by: int, scale: float) -> Detection:
    box, landmarks = detection.box + np.float32(by), detection.landmarks + np.float32(by)
    return Detection(box * np.float32(scale), landmarks * np.float32(scale), detection.score)
