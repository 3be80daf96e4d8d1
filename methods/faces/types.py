"""What a face is here, and what a face encoder must offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Rung = Literal["as-is", "padded", "small-detector"]


@dataclass(frozen=True, eq=False)
class Detection:
    """One detected face, in pixels of the picture it was found in.

    box float32 [4]: x1, y1, x2, y2; may reach beyond the picture.
    landmarks float32 [5, 2] in insightface's order: the eye, then the mouth corner, that is further left in
    the picture comes first: left eye, right eye, nose tip, left and right mouth corner.
    score: the detector's own confidence.
    """

    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    score: float


@dataclass(frozen=True, eq=False)
class Face:
    """One analysed face; box and landmarks as in Detection.

    embedding float32 [D], L2-normalised; norm is the length it had before (PuLID, and dlib's distance, need
    it). crop uint8 [112, 112, 3] RGB, aligned by insightface's template. rung: the step of the detection
    ladder that found it. count: how many faces that step saw. encoder: the encoder's name.
    """

    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    score: float
    embedding: NDArray[np.float32]
    norm: float
    crop: NDArray[np.uint8]
    rung: Rung
    count: int
    encoder: str

    @property
    def descriptor(self) -> NDArray[np.float32]:
        """The embedding at its original length, float32 [D]."""
        return self.embedding * np.float32(self.norm)


@runtime_checkable
class FaceEncoder(Protocol):
    """A detector with five landmarks and a recogniser.

    name: what `--face-encoder` calls it. licence: of the models, in words. dim: D. provider: where it runs
    ('CPUExecutionProvider', ...). fingerprint: hexadecimal, changes when any result may change. domain: None,
    or 'pocket-render' for models that know rendered people only. detector_sizes: working sizes in pixels,
    the regular one first, then the smaller ones that the detection ladder may fall back to. threshold:
    similarity above which the encoder's authors call two faces the same person, None when unstated.
    """

    name: str
    licence: str
    dim: int
    provider: str
    domain: str | None
    detector_sizes: tuple[int, ...]
    threshold: float | None

    @property
    def fingerprint(self) -> str: ...

    def detect(self, rgb: NDArray[np.uint8], *, size: int | None = None) -> list[Detection]:
        """Faces of an RGB picture uint8 [H, W, 3], best score first; size: one of `detector_sizes`."""
        ...

    def embed(self, rgb: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Descriptor float32 [D] of the face with these landmarks [5, 2]; *not* normalised."""
        ...

    def similarity(self, a: Face, b: Face) -> float:
        """How alike two faces of this encoder are, at most 1, higher is more alike; range per encoder."""
        ...
