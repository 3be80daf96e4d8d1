"""Faces: one detection per picture, one embedding per recogniser, all from the same landmarks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.metric import Failure
from benchmarks.metrics.models.base import Extractor
from methods.errors import FaceError

if TYPE_CHECKING:
    from PIL import Image

    from methods.faces import Detection, FaceEncoder
    from methods.faces.registry import EncoderCard

_REMEMBERED = 4096
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, eq=False)
class FaceFound:
    """box float32 [4] and landmarks float32 [5,2] in pixels of the picture; embedding float32 [D],
    L2-normalised, and the norm it had; count: faces seen; encoder: knows how alike two of its faces are;
    foreign: why its models may not judge the picture, unless that is known to be of their world."""

    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    embedding: NDArray[np.float32]
    count: int
    norm: float = 1.0
    encoder: Any = None
    foreign: str | None = None

    @property
    def descriptor(self) -> NDArray[np.float32]:
        """The embedding at its original length."""
        return self.embedding * np.float32(self.norm)

    def cosine(self, other: FaceFound) -> float:
        return float(self.embedding @ other.embedding)

    def similarity(self, other: FaceFound) -> float:
        """By the encoder: the cosine for insightface packs, 1 - Euclidean distance for dlib."""
        return self.cosine(other) if self.encoder is None else float(self.encoder.similarity(self, other))


class Pack:
    """A face encoder by the name that `methods.faces.load_encoder` knows, loaded on first use.

    What its card says is what the encoder says of itself; nothing is read off its name.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def card(self) -> EncoderCard:
        from methods.faces.registry import encoder_card

        return encoder_card(self.name)

    @property
    def tag(self) -> str:
        return self.card.tag

    @property
    def licence(self) -> str:
        return self.card.licence

    def missing(self) -> str | None:
        return self.card.missing

    def files(self) -> tuple[Path, ...]:
        """Those whose contents decide its results."""
        return self.card.files

    def digests(self) -> tuple[str, ...]:
        """What stands in for the contents of files, for an encoder that has none here."""
        return () if self.card.digest is None else (self.card.digest,)

    @cached_property
    def encoder(self) -> FaceEncoder:
        from methods.faces import load_encoder

        return load_encoder(self.name)


def foreign(packs: Sequence[Pack], picture: Image.Image, face: Detection | None) -> str | None:
    """Why one of these may not judge a picture with this face in it; None where all may."""
    from methods.faces import NOT_RENDERED, may_judge

    for pack in packs:
        if not may_judge(pack.encoder, picture, face):
            return f"{pack.name}: {NOT_RENDERED}"
    return None


def _remembered(known: OrderedDict[_Key, _Value], key: _Key, make: Callable[[], _Value]) -> _Value:
    """What is known under a key, made where it is not; beyond `_REMEMBERED` the oldest is forgotten."""
    if key not in known:
        known[key] = make()
        if len(known) > _REMEMBERED:
            known.popitem(last=False)
    return known[key]


class Detector:
    """Faces by the scoring pack's detector, remembered by key: every recogniser sees the same ones."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self._seen: OrderedDict[tuple[str, bool], list[Detection]] = OrderedDict()

    def find(self, key: str, picture: Image.Image, *, ladder: bool = True) -> list[Detection]:
        """Best score first. ladder: try again with a border and at smaller sizes when nothing is found."""
        from methods.faces import detect

        def look() -> list[Detection]:
            rgb, encoder = np.asarray(picture), self.pack.encoder
            return detect(rgb, encoder)[0] if ladder else encoder.detect(rgb)

        return _remembered(self._seen, (key, ladder), look)


class LargestFace(Extractor):
    """The FaceFound of the largest face, or Failure('no_face')."""

    preprocessing = (
        "detection ladder (as is, grey border, smaller detector sizes), largest face, aligned to 112 px by "
        "insightface's five-point template"
    )

    def __init__(self, detector: Detector, recogniser: Pack, bias: str | None = None) -> None:
        """bias: why this recogniser must not judge identity, None where nothing speaks against it."""
        self.detector, self.recogniser, self.bias = detector, recogniser, bias

    @property
    def tag(self) -> str:  # type: ignore[override]
        return self.recogniser.tag

    @property
    def licence(self) -> str:  # type: ignore[override]
        return self.recogniser.licence

    def missing(self) -> str | None:
        return self.detector.pack.missing() or self.recogniser.missing()

    def files(self) -> tuple[Path, ...]:
        return (*self.detector.pack.files(), *self.recogniser.files())

    def digests(self) -> tuple[str, ...]:
        return (*self.detector.pack.digests(), *self.recogniser.digests())

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        return [self._one(key, picture) for key, picture in items]

    def _one(self, key: str, picture: Image.Image) -> FaceFound | Failure:
        from methods.faces import MIN_FACE, select_face

        found = self.detector.find(key, picture)
        if not found:
            return Failure("no_face", "no face found", self._foreign(picture, None))
        chosen = found[select_face(found, "largest", picture.width, picture.height)]
        foreign = self._foreign(picture, chosen)
        width, height = chosen.box[2] - chosen.box[0], chosen.box[3] - chosen.box[1]
        if min(width, height) < MIN_FACE:
            return Failure(
                "no_face", f"the face is {width:.0f} x {height:.0f} pixels, {MIN_FACE} are the least", foreign
            )
        return _embedded(self.recogniser.encoder, picture, chosen, len(found), foreign)

    def _foreign(self, picture: Image.Image, face: Detection | None) -> str | None:
        return foreign((self.detector.pack, self.recogniser), picture, face)


class FirstFace(LargestFace):
    """IBench's choice: the detector's first face, found without a ladder, of any size."""

    preprocessing = "detector as is, first (best-scored) face, aligned to 112 px"

    def _one(self, key: str, picture: Image.Image) -> FaceFound | Failure:
        found = self.detector.find(key, picture, ladder=False)
        if not found:
            return Failure("no_face", "no face found", self._foreign(picture, None))
        foreign = self._foreign(picture, found[0])
        return _embedded(self.recogniser.encoder, picture, found[0], len(found), foreign)


def _embedded(
    encoder: FaceEncoder, picture: Image.Image, face: Detection, count: int, foreign: str | None
) -> FaceFound | Failure:
    try:
        descriptor = encoder.embed(np.asarray(picture), face.landmarks)
    except FaceError as error:
        return Failure("no_face", error.message, foreign)
    norm = float(np.linalg.norm(descriptor))
    if not np.isfinite(norm) or norm == 0.0:
        return Failure("error", "the recogniser returned no direction")
    embedding = (descriptor / norm).astype(np.float32)
    return FaceFound(face.box, face.landmarks, embedding, count, norm, encoder, foreign)


@dataclass(frozen=True, eq=False)
class Company:
    """similarity [P, F] of P people and F faces of a picture, by the encoder, the mean over the photographs
    of a person in which a face is found; foreign: as in FaceFound."""

    similarity: NDArray[np.float64]
    foreign: str | None = None


class FacesOfCompany(LargestFace):
    """The Company of (key of the picture, picture, photographs of everybody with theirs), or
    Failure('no_face') for somebody without a face."""

    preprocessing = (
        "every face of the picture of at least 24 px and the largest of each reference, by the detection "
        "ladder, aligned to 112 px by insightface's five-point template"
    )

    def __init__(self, detector: Detector, recogniser: Pack, bias: str | None = None) -> None:
        super().__init__(detector, recogniser, bias)
        self._known: OrderedDict[str, FaceFound | Failure] = OrderedDict()

    def _photograph(self, key: str, picture: Image.Image) -> FaceFound | Failure:
        """The face of a reference, which many pictures are compared with."""
        return _remembered(self._known, key, partial(super()._one, key, picture))

    def _one(self, key: str, item: Any) -> Any:
        from methods.faces import MIN_FACE

        key, picture, everybody = item if isinstance(item, tuple) else (key, item, ())
        people = []
        for number, photographs in enumerate(everybody, 1):
            found = [self._photograph(*one) for one in photographs]
            usable = [one for one in found if isinstance(one, FaceFound) and one.foreign is None]
            for one in found if not usable else ():
                if isinstance(one, Failure):
                    return Failure(one.status, f"reference {number}: {one.reason}", one.foreign)
                return Failure("unavailable", f"reference {number}: {one.foreign}")
            people.append(usable)
        seen = self.detector.find(key, picture)
        large = [one for one in seen if min(one.box[2] - one.box[0], one.box[3] - one.box[1]) >= MIN_FACE]
        embedded = [_embedded(self.recogniser.encoder, picture, one, len(seen), None) for one in large]
        faces = [face for face in embedded if isinstance(face, FaceFound)]
        # of several photographs the mean, as of all metrics that compare with a reference
        similarity = np.array(
            [[np.mean([one.similarity(face) for one in person]) for face in faces] for person in people]
        )
        foreign = self._foreign(picture, large[0] if large else None)
        return Company(similarity.reshape(len(people), len(faces)), foreign)
