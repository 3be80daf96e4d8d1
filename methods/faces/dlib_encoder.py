"""dlib's detector and 128-d descriptor: real weights inside pip packages, for photographs, with no hub.

Its threshold is Euclidean: two descriptors of one person lie less than 0.6 apart. Their cosine hardly
separates (0.81-0.91 between strangers, 0.96-0.99 within one person) unless the vectors are centred first,
so `similarity` is 1 - distance: 1 for the same picture, above 0.4 for the same person, about 0.1-0.35 for
strangers.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from methods.errors import MissingDependencyError, MissingWeightsError
from methods.faces.registry import EncoderCard, EncoderSource
from methods.faces.types import Detection, Face

INSTALL = "Run `pip install dlib-bin 'face-recognition-models==0.3.0'` (the extra 'dlib')."

# Where dlib's five points (four eye corners, base of the nose) and insightface's five meet, in units of the
# distance between the eyes' centres: half the width of an eye, and how far towards the base of the nose
# its tip lies, or beyond it the mouth. Measured on eight faces; rebuilding dlib's points from ours moves
# a descriptor by at most 0.05.
_HALF_EYE = 0.2
_NOSE_TIP = 0.77
_MOUTH_DOWN = 1.3
_MOUTH_HALF = 0.45

# HOG finds faces from about 80 pixels; small pictures are enlarged to this longer side, large ones reduced.
_LONG_SIDE = 800
_LARGEST = 1600
_LEAST_SCORE = {"hog": 0.2, "mmod": 0.5}  # HOG's false hits on the pictures tried scored up to 0.13


class DlibEncoder:
    """A FaceEncoder for photographs; detector 'hog' (fast) or 'mmod' (a CNN: fewer misses, seconds)."""

    licence = "dlib: Boost; face-recognition-models: CC0 (their package metadata says MIT)"
    dim = 128
    provider = "CPU"
    domain: str | None = None
    threshold: float | None = 0.4

    def __init__(self, detector: Literal["hog", "mmod"] = "hog") -> None:
        dlib, folder = _dlib_and_models()
        self.name = "dlib" if detector == "hog" else "dlib:mmod"
        self.detector_sizes: tuple[int, ...] = (_LONG_SIDE,)
        self._least = _LEAST_SCORE[detector]
        self._dlib = dlib
        self._files = {part: folder / file for part, file in _files(detector).items()}
        for file in self._files.values():
            if not file.is_file():
                raise MissingWeightsError(f"{file}: missing from face-recognition-models.", hint=INSTALL)
        self._points = dlib.shape_predictor(str(self._files["points"]))
        self._network = dlib.face_recognition_model_v1(str(self._files["descriptor"]))
        if detector == "mmod":
            self._cnn = dlib.cnn_face_detection_model_v1(str(self._files["detector"]))
        else:
            self._cnn = None
            self._hog = dlib.get_frontal_face_detector()

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(
            f"dlib {self._dlib.__version__} {self.name} {_LONG_SIDE} {_LARGEST} {self._least}".encode()
        )
        for file in self._files.values():
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    def detect(self, rgb: NDArray[np.uint8], *, size: int | None = None) -> list[Detection]:
        import cv2

        longer = max(rgb.shape[:2])
        scale = min(max(longer, size or _LONG_SIDE), _LARGEST) / longer
        if min(rgb.shape[:2]) * scale < 1:  # shrunk, a side would have no pixel
            return []
        picture: Any = np.ascontiguousarray(rgb)
        if scale != 1:
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=how)
        found = []
        for rectangle, score in self._rectangles(picture):
            points = self._points(picture, rectangle).parts()
            corners = np.array([(p.x, p.y) for p in points], dtype=np.float64) / scale
            sides = (rectangle.left(), rectangle.top(), rectangle.right(), rectangle.bottom())
            box = (np.array(sides) / scale).astype(np.float32)
            found.append(Detection(box, _landmarks(corners), score))
        return sorted(found, key=lambda d: -d.score)

    def embed(self, rgb: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        points = [self._dlib.point(*np.rint(p).astype(int).tolist()) for p in _corners(landmarks)]
        rectangle = self._dlib.rectangle(0, 0, rgb.shape[1], rgb.shape[0])
        shape = self._dlib.full_object_detection(rectangle, points)
        descriptor = self._network.compute_face_descriptor(np.ascontiguousarray(rgb), shape)
        return np.asarray(descriptor, dtype=np.float32)

    def similarity(self, a: Face, b: Face) -> float:
        return 1.0 - float(np.linalg.norm(a.descriptor - b.descriptor))

    def _rectangles(self, picture: NDArray[np.uint8]) -> list[tuple[Any, float]]:
        if self._cnn is not None:
            found = [(hit.rect, float(hit.confidence)) for hit in self._cnn(picture, 0)]
        else:
            rectangles, scores, _ = self._hog.run(picture, 0, 0.0)
            found = [(r, float(s)) for r, s in zip(rectangles, scores, strict=True)]
        return [(rectangle, score) for rectangle, score in found if score >= self._least]


def load(argument: str | None, *, providers: Sequence[str] | None = None) -> DlibEncoder:
    """Factory for the registry: 'dlib' or 'dlib:mmod'. dlib's wheel runs on the CPU whatever is asked."""
    return DlibEncoder("mmod" if argument == "mmod" else "hog")


def card(argument: str | None) -> EncoderCard:
    """What `spid metrics` says of it, without importing dlib."""
    name = "dlib:mmod" if argument == "mmod" else "dlib"
    try:
        folder = _models()
    except MissingDependencyError as error:
        return EncoderCard(name, DlibEncoder.licence, missing=str(error))
    if importlib.util.find_spec("dlib") is None:
        return EncoderCard(name, DlibEncoder.licence, missing=f"The dlib encoder needs dlib. {INSTALL}")
    files = tuple(folder / file for file in _files("mmod" if argument == "mmod" else "hog").values())
    return EncoderCard(name, DlibEncoder.licence, files)


SOURCE = EncoderSource(load, card)


def _dlib_and_models() -> tuple[Any, Path]:
    folder = _models()
    try:
        import dlib
    except ImportError as error:
        raise MissingDependencyError(f"the dlib encoder needs dlib ({error}).", hint=INSTALL) from error
    return dlib, folder


def _models() -> Path:
    # The models' package cannot be imported: it needs pkg_resources, which setuptools no longer has.
    models = importlib.util.find_spec("face_recognition_models")
    if models is None or models.origin is None:
        raise MissingDependencyError("the dlib encoder needs face-recognition-models.", hint=INSTALL)
    return Path(models.origin).parent / "models"


def _files(detector: str) -> dict[str, str]:
    files = {
        "points": "shape_predictor_5_face_landmarks.dat",
        "descriptor": "dlib_face_recognition_resnet_model_v1.dat",
    }
    return {**files, "detector": "mmod_human_face_detector.dat"} if detector == "mmod" else files


def _landmarks(corners: NDArray[np.float64]) -> NDArray[np.float32]:
    """dlib's five points [5, 2] to insightface's five; the mouth corners are extrapolated."""
    right, left, base = corners[:2].mean(0), corners[2:4].mean(0), corners[4]
    middle, across = (left + right) / 2, right - left
    down = base - middle
    mouth = middle + _MOUTH_DOWN * down
    half = _MOUTH_HALF * across
    return np.stack([left, right, middle + _NOSE_TIP * down, mouth - half, mouth + half]).astype(np.float32)


def _corners(landmarks: NDArray[np.float32]) -> NDArray[np.float64]:
    """insightface's five points to dlib's: outer and inner corner of each eye, base of the nose."""
    left, right, nose = landmarks[:3].astype(np.float64)
    middle, half = (left + right) / 2, _HALF_EYE * (right - left)
    return np.stack(
        [right + half, right - half, left - half, left + half, middle + (nose - middle) / _NOSE_TIP]
    )
