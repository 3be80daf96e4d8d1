"""Where training pictures come from: a folder with metadata.jsonl, or the pocket world."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from methods.errors import PictureError, UsageError
from methods.faces import Face, FaceEncoder, align, analyse
from methods.images import load_picture, picture_hash
from methods.learning.task import Example
from methods.paths import user_path
from methods.photographs import SUFFIXES
from methods.textfile import parse_json, read_lines

if TYPE_CHECKING:
    from methods.pocket.world import Context

POCKET = "pocket:"
METADATA = "metadata.jsonl"
CAPTION = "a photo of a person"
"""Of a picture that nobody described."""
_FIELDS = ("file_name", "identity", "prompt")
_EXAMPLE_LINE = '{"file_name": "anna/1.jpg", "identity": "anna", "prompt": "a photo of a woman"}'


class Source(Protocol):
    """Pictures of people, by number 0 .. len - 1; which of them are usable shows when they are opened.

    encoder: the face encoder that analyses them
    size:    side of the training pictures in pixels, to be set before the first `content` or `example`
    """

    encoder: FaceEncoder
    size: int

    def __len__(self) -> int: ...

    def name(self, number: int) -> str:
        """What a person calls this picture."""
        ...

    def identity(self, number: int) -> str:
        """Who is in it."""
        ...

    def content(self, number: int) -> str:
        """Hexadecimal hash of everything the picture depends on. Raises SpidError if it cannot be read."""
        ...

    def example(self, number: int) -> Example:
        """Open and analyse it. Raises SpidError (PictureError, FaceError) for one that cannot serve."""
        ...

    def prompt(self, number: int, rng: np.random.Generator) -> str:
        """A sentence about it, perhaps another one at every visit."""
        ...

    def is_reference(self, number: int) -> bool:
        """Whether an identity may be taken from it."""
        ...

    def shown(self, count: int) -> list[int]:
        """Numbers of pictures of up to `count` different people for the sample sheet; may exceed len - 1."""
        ...


def open_source(name: str, encoder: FaceEncoder, *, people: int, pictures: int) -> Source:
    """`pocket:`, with so many people and pictures of each, or a folder. Raises UsageError for others."""
    if name == POCKET:
        return PocketSource(encoder, people=people, pictures=pictures)
    return FolderSource(user_path(name), encoder)


class FolderSource:
    """An imagefolder: pictures beside a metadata.jsonl of lines with file_name, identity and prompt.

    Or a folder of photographs for every person, with captions in text files beside them, as sd-scripts reads
    them.
    """

    def __init__(self, folder: Path, encoder: FaceEncoder, size: int = 0) -> None:
        self.folder, self.encoder, self.size = folder, encoder, size
        self.records = _read_metadata(folder)

    def __len__(self) -> int:
        return len(self.records)

    def name(self, number: int) -> str:
        return self.records[number]["file_name"]

    def identity(self, number: int) -> str:
        return self.records[number]["identity"]

    def content(self, number: int) -> str:
        return picture_hash(self._path(number))

    def example(self, number: int) -> Example:
        path = self._path(number)
        picture = load_picture(path)
        face = analyse(path, self.encoder)
        square, scaled = square_around(picture, face, self.size)
        mask = ellipse(scaled.box, self.size)
        return Example(square, self.identity(number), self.records[number]["prompt"], scaled, mask)

    def prompt(self, number: int, rng: np.random.Generator) -> str:
        return self.records[number]["prompt"]

    def is_reference(self, number: int) -> bool:
        return True

    def shown(self, count: int) -> list[int]:
        first: dict[str, int] = {}
        for number in range(len(self)):
            first.setdefault(self.identity(number), number)
        return list(first.values())[:count]

    def _path(self, number: int) -> Path:
        return self.folder / self.name(number)


class PocketSource:
    """People of the pocket world, rendered when they are asked for; landmarks, box and mask are true.

    Person p of 0 .. people - 1 is `sample_person(p)`, as in the training of the other pocket models, in
    `pictures` random contexts. Identities come from photos only: a sketch says little of a face.
    """

    def __init__(self, encoder: FaceEncoder, size: int = 0, *, people: int, pictures: int) -> None:
        from methods.pocket.world import HELD_OUT

        if people > HELD_OUT:
            raise UsageError(
                f"data.people is {people}; people from {HELD_OUT} on are held out.",
                hint="Choose fewer people.",
            )
        self.encoder, self.size, self.people, self.pictures = encoder, size, people, pictures
        self._held_out = HELD_OUT

    def __len__(self) -> int:
        return self.people * self.pictures

    def name(self, number: int) -> str:
        person, place = self._of(number)
        return f"{POCKET}{person}/{place}"

    def identity(self, number: int) -> str:
        return f"person {self._of(number)[0]}"

    def content(self, number: int) -> str:
        recipe = [self._world, *self._of(number), self._context(number).to_dict(), self.size]
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()

    def example(self, number: int) -> Example:
        from methods.pocket.world import render, sample_person

        portrait = render(sample_person(self._of(number)[0]), self._context(number), self.size)
        span = float(np.linalg.norm(portrait.landmarks[1] - portrait.landmarks[0]))
        rng = np.random.default_rng([7, *self._of(number)])
        slip = rng.normal(0.0, 0.01, portrait.landmarks.shape)  # a detector's error, as a share of the span
        landmarks = (portrait.landmarks + span * slip).astype(np.float32)
        descriptor = self.encoder.embed(portrait.pixels, landmarks)
        norm = float(np.linalg.norm(descriptor))
        face = Face(
            box=portrait.box,
            landmarks=landmarks,
            score=1.0,
            embedding=(descriptor / np.float32(norm)).astype(np.float32),
            norm=norm,
            crop=align(portrait.pixels, landmarks),
            rung="as-is",
            count=1,
            encoder=self.encoder.name,
        )
        prompt = self.prompt(number, np.random.default_rng([8, *self._of(number)]))
        picture = Image.fromarray(portrait.pixels)
        return Example(picture, self.identity(number), prompt, face, portrait.face_mask)

    def prompt(self, number: int, rng: np.random.Generator) -> str:
        from methods.pocket.world import caption, sample_person

        return caption(sample_person(self._of(number)[0]), self._context(number), rng=rng)

    def is_reference(self, number: int) -> bool:
        return self._context(number).style == "photo"

    def shown(self, count: int) -> list[int]:
        return [(self._held_out + person) * self.pictures for person in range(count)]

    @cached_property
    def _world(self) -> str:
        """Hash of the renderer's own code: another drawing, another content."""
        from methods.pocket import world
        from methods.weights import fingerprint_files

        assert world.__file__ is not None
        folder = Path(world.__file__).parent
        return fingerprint_files(folder.rglob("*.py"), folder)

    def _of(self, number: int) -> tuple[int, int]:
        """Person, and which of that person's pictures."""
        return divmod(number, self.pictures)

    def _context(self, number: int) -> Context:
        from methods.pocket.world import sample_context

        person, place = self._of(number)
        plain = {"style": "photo", "accessory": "none", "light": "daylight"} if person >= self.people else {}
        return sample_context(np.random.default_rng([9, person, place]), **plain)


def square_around(picture: Image.Image, face: Face, size: int) -> tuple[Image.Image, Face]:
    """The largest square that keeps the face as central as it can, at `size` pixels, with the face in it."""
    side = min(picture.size)
    middle = ((face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2)
    corner = np.array(
        [
            min(max(round(float(at) - side / 2), 0), length - side)
            for at, length in zip(middle, picture.size, strict=True)
        ],
        dtype=np.float32,
    )
    left, top = (int(value) for value in corner)
    square = picture.crop((left, top, left + side, top + side))
    scale = np.float32(size / side)
    scaled = replace(
        face,
        box=(face.box - np.tile(corner, 2)) * scale,
        landmarks=(face.landmarks - corner) * scale,
    )
    return square.resize((size, size), Image.Resampling.LANCZOS), scaled


def ellipse(box: NDArray[np.floating] | Sequence[float], size: int) -> NDArray[np.bool_]:
    """The ellipse inscribed in a box x1, y1, x2, y2: bool [size, size]."""
    x1, y1, x2, y2 = (float(value) for value in box)
    axis = np.arange(size) + 0.5
    x = (axis - (x1 + x2) / 2) / max((x2 - x1) / 2, 1e-6)
    y = (axis - (y1 + y2) / 2) / max((y2 - y1) / 2, 1e-6)
    return y[:, None] ** 2 + x[None, :] ** 2 <= 1.0


def _read_metadata(folder: Path) -> list[dict[str, str]]:
    path = folder / METADATA
    if not folder.is_dir():
        raise UsageError(f"No training folder at {folder}.", hint=f"Give a folder, or {POCKET} for renders.")
    if not path.exists():
        if records := _people(folder):
            return records
        raise UsageError(
            f"{folder} has no {METADATA}.",
            hint=f"Give each person a folder of photographs, or write one line a picture: {_EXAMPLE_LINE}",
        )
    lines = read_lines(path)
    records = [_record(path, at, line) for at, line in enumerate(lines, 1) if line.strip()]
    if not records:
        raise UsageError(f"{path} lists no pictures.", hint=f"Write one line a picture: {_EXAMPLE_LINE}")
    return records


def _people(folder: Path) -> list[dict[str, str]]:
    """Every picture of every subfolder, each named after its person; CAPTION where none is written."""
    records = []
    for own in sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")):
        for file in sorted(one for one in own.iterdir() if one.suffix.lower() in SUFFIXES and one.is_file()):
            said = file.with_suffix(".txt")
            words = " ".join(" ".join(read_lines(said)).split()) if said.is_file() else ""
            record = {
                "file_name": f"{own.name}/{file.name}",
                "identity": own.name,
                "prompt": words or CAPTION,
            }
            records.append(record)
    return records


def _record(path: Path, at: int, line: str) -> dict[str, str]:
    where = f"{path}, line {at}"
    record = parse_json(line, where, hint=f"Such as {_EXAMPLE_LINE}")
    wrong = [field for field in _FIELDS if not isinstance(record.get(field), str) or not record[field]]
    if wrong:
        raise UsageError(f"{where} has no {' and no '.join(wrong)}.", hint=f"Such as {_EXAMPLE_LINE}")
    name = Path(record["file_name"])
    if name.is_absolute() or ".." in name.parts:
        raise PictureError(f"{where} names a picture outside of the folder: {name}.", hint="Copy it there.")
    return {field: record[field] for field in _FIELDS}
