"""Look-alikes of a person: the nearest faces of a gallery, by the scoring recogniser."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.metric import Failure
from benchmarks.metrics.models.base import Extractor
from benchmarks.metrics.models.faces import FaceFound, LargestFace
from methods.errors import FaceError, PictureError, WeightsError
from methods.paths import user_path

if TYPE_CHECKING:
    from methods.faces import FaceEncoder

LOOK_ALIKES = 100
RENDERED = 500
FIRST = 30_000_000
"""Number of the first rendered person of the gallery: nobody whom a suite names or a model has seen."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_SAME = 0.999
"""From here on a picture of the gallery is the reference's own face, and no look-alike."""


class LookAlikes(Extractor):
    """list of the 100 FaceFound of a gallery that are most like the largest face, or Failure('no_face').

    spec: `pocket` for 500 rendered people, embedded once per recogniser and kept in the cache; or a folder of
    pictures of people who are not in the suite, one person each.
    """

    def __init__(self, spec: str, faces: LargestFace) -> None:
        self.faces = faces
        self.folder = None if spec == "pocket" else user_path(spec)
        self.given = spec != "none"
        self.preprocessing = faces.preprocessing

    @property
    def tag(self) -> str:  # type: ignore[override]
        people = f"{RENDERED} rendered people" if self.folder is None else f"people of {self.folder.name}"
        return f"{self.faces.tag}, {people}"

    @property
    def licence(self) -> str:  # type: ignore[override]
        return self.faces.licence

    def missing(self) -> str | None:
        if not self.given:
            return (
                "There is no gallery of look-alikes. Give gallery=FOLDER, pictures of at least "
                f"{LOOK_ALIKES} other people."
            )
        if self.folder is not None and len(self.files()) < LOOK_ALIKES:
            return f"{self.folder} holds fewer than {LOOK_ALIKES} pictures of people. Give gallery=FOLDER."
        return self.faces.missing()

    def files(self) -> tuple[Path, ...]:
        if self.folder is None or not self.folder.is_dir():
            return self.faces.files() if self.folder is None else ()
        return tuple(path for path in sorted(self.folder.iterdir()) if path.suffix.lower() in _SUFFIXES)

    def digests(self) -> tuple[str, ...]:
        """Of the recogniser: its files stand among the gallery's pictures already where there are any."""
        return self.faces.digests()

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        return [self._of(face) for face in self.faces.compute(items)]

    def _of(self, face: FaceFound | Failure) -> list[FaceFound] | Failure:
        if isinstance(face, Failure):
            return face
        if face.foreign:
            return Failure("unavailable", face.foreign)
        alike = np.array([face.similarity(other) for other in self.gallery])
        order = [place for place in np.argsort(-alike, kind="stable") if alike[place] < _SAME]
        if len(order) < LOOK_ALIKES:
            return Failure("unavailable", f"the gallery has {len(order)} other people, not {LOOK_ALIKES}")
        return [self.gallery[place] for place in order[:LOOK_ALIKES]]

    @cached_property
    def gallery(self) -> list[FaceFound]:
        """Every face of the gallery."""
        encoder = self.faces.recogniser.encoder
        if self.folder is None:
            descriptors = _rendered(encoder, self.note)
        else:
            files = self.files()
            self.note(f"{encoder.name} looks for look-alikes in {len(files)} pictures of {self.folder}")
            descriptors = _photographed(files, encoder)
        if len(descriptors) < LOOK_ALIKES:
            raise WeightsError(
                f"{self.folder}: {encoder.name} finds a face in {len(descriptors)} pictures only.",
                hint=f"Give gallery=FOLDER with pictures of at least {LOOK_ALIKES} people.",
            )
        norms = np.linalg.norm(descriptors, axis=1, keepdims=True)
        nowhere = np.zeros(4, np.float32), np.zeros((5, 2), np.float32)
        return [
            FaceFound(*nowhere, embedding.astype(np.float32), 1, float(norm), encoder)
            for embedding, norm in zip(descriptors / norms, norms[:, 0], strict=True)
        ]


def _photographed(files: Sequence[Path], encoder: FaceEncoder) -> NDArray[np.float32]:
    """Descriptors float32 [n, D] of the pictures in which a face is found; analyses are kept in the cache."""
    from methods.faces import analyse

    found = []
    for file in files:
        try:
            found.append(analyse(file, encoder).descriptor)
        except (FaceError, PictureError):
            continue
    return np.stack(found) if found else np.zeros((0, encoder.dim), np.float32)


def _rendered(encoder: FaceEncoder, note: Callable[[str], object]) -> NDArray[np.float32]:
    """Descriptors float32 [RENDERED, D] of rendered people in the plain context, at their true landmarks.

    Kept in the cache by encoder and by the pixels of the first and the last of them: another world or another
    recogniser has another gallery.
    """
    import safetensors.numpy

    from methods.files import write_bytes
    from methods.paths import cache_dir
    from methods.pocket.references import PLAIN
    from methods.pocket.world import Context, Portrait, render, sample_person

    def portrait(place: int) -> Portrait:
        return render(sample_person(FIRST + place), Context.from_dict({**PLAIN, "nuisance": place}))

    ends = b"".join(portrait(place).pixels.tobytes() for place in (0, RENDERED - 1))
    key = hashlib.sha256(f"{encoder.fingerprint} {RENDERED}\n".encode() + ends).hexdigest()[:24]
    file = cache_dir() / "galleries" / f"{key}.safetensors"
    try:
        kept = safetensors.numpy.load(file.read_bytes())["descriptors"]
        if kept.shape == (RENDERED, encoder.dim):
            return kept
    except (OSError, KeyError, safetensors.SafetensorError):
        pass  # not there yet, or torn: made again
    note(f"{encoder.name} embeds a gallery of {RENDERED} rendered people: once, then it is in the cache")
    shown = (portrait(place) for place in range(RENDERED))
    descriptors = np.stack([encoder.embed(one.pixels, one.landmarks) for one in shown]).astype(np.float32)
    write_bytes(file, safetensors.numpy.save({"descriptors": descriptors}))
    return descriptors
