"""The identities of a suite: their reference pictures in the run folder, and what a face encoder says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.plan import Person, choose
from benchmarks.store import RunFolder
from benchmarks.suites import Suite, SuiteIdentity
from methods.errors import FaceError, PictureError, SeveralFacesError

if TYPE_CHECKING:
    from benchmarks.made import Trouble
    from methods.backbone.backbone import Backbone
    from methods.contract import Method
    from methods.faces import FaceEncoder
    from methods.hooks import Identity

_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}


def gather(suite: Suite, folder: RunFolder, limit: int | None = None) -> dict[str, list[Person]]:
    """The people of every set; references of those that are planned lie in the folder, byte for byte.

    limit: as `make_plan` takes it; whom no pair shows is neither read nor copied. A picture that is missing
    or cannot be read is a `problem` of that person.
    """
    known: dict[SuiteIdentityKey, Person] = {}
    found: dict[str, list[Person]] = {}
    for one in suite.sets:
        planned = {who for who, _, _ in choose(one, suite.seeds, limit)}
        for place, entry in enumerate(one.identities):
            if place not in planned:
                found.setdefault(one.name, []).append(Person(entry, None, "", "nobody asked for"))
                continue
            key = _key(entry)
            if key not in known:
                known[key] = _person(entry, folder)
            found.setdefault(one.name, []).append(known[key])
    return found


SuiteIdentityKey = tuple[Any, ...]


def _key(entry: SuiteIdentity) -> SuiteIdentityKey:
    return (
        entry.name,
        entry.noun,
        entry.picture,
        entry.person,
        tuple(entry.context.items()),
        entry.nuisance,
        entry.more,
    )


def _person(entry: SuiteIdentity, folder: RunFolder) -> Person:
    problem = entry.problem
    if not problem:
        try:
            data, suffix = _reference(entry)
            further = [_photograph(Path(path)) for path in entry.more]
            digest = hashlib.sha256(data)
            for more, _ in further:
                digest.update(hashlib.sha256(more).digest())
            return Person(
                entry,
                folder.keep_reference(data, suffix),
                digest.hexdigest(),
                more=tuple(folder.keep_reference(*one) for one in further),
            )
        except PictureError as error:
            problem = str(error)
    content = hashlib.sha256(f"no picture\0{entry.name}".encode("utf-8", "surrogatepass")).hexdigest()
    return Person(entry, None, content, problem)


def _reference(entry: SuiteIdentity) -> tuple[bytes, str]:
    """Bytes and suffix of a reference picture; pocket people are rendered."""
    if entry.person is not None:
        from methods.pocket.references import reference_png

        return reference_png(entry.person, entry.context, entry.nuisance), ".png"
    assert entry.picture is not None
    return _photograph(Path(entry.picture))


def _photograph(path: Path) -> tuple[bytes, str]:
    """Bytes and suffix of a picture file. Raises PictureError."""
    from methods.images import load_picture, read_metadata

    load_picture(path)  # all of it: half a picture is no reference
    return path.read_bytes(), _SUFFIXES[read_metadata(path)["format"]]


def face_encoder_of(
    backbone: Backbone, name: str | None, methods: Iterable[Method] = ()
) -> FaceEncoder | None:
    """The face encoder that conditions: by name, or the backbone's own; None where no method asks for people.

    Raises UsageError when there is none, or a method's weights do not fit its embeddings.
    """
    from methods.adapters import check_encoder
    from methods.backbone.source import own_face_encoder
    from methods.faces import load_encoder

    asking = [method for method in methods if method.info.identity]
    if not asking:
        return None
    encoder = load_encoder(name or own_face_encoder(backbone))
    for method in asking:
        check_encoder(method, encoder)
    return encoder


def identify_all(
    people: Mapping[str, Sequence[Person]], folder: RunFolder, encoder: FaceEncoder | None, select: str
) -> dict[str, Identity | Trouble]:
    """Every reference analysed once, before anything is sampled: identity or trouble, by content."""
    from benchmarks.made import Trouble
    from methods.hooks import Identity

    found: dict[str, Identity | Trouble] = {}
    for person in (person for members in people.values() for person in members):
        if person.content in found or not person.content:
            continue
        if person.reference is None:
            found[person.content] = Trouble("error", person.problem)
        elif encoder is None:
            found[person.content] = Identity(person.name)
        else:
            found[person.content] = _identify(person, folder, encoder, select)
    return found


def _identify(person: Person, folder: RunFolder, encoder: FaceEncoder, select: str) -> Identity | Trouble:
    from benchmarks.made import Trouble
    from methods.identify import identify

    assert person.reference is not None
    try:
        files = [folder.path / file for file in (person.reference, *person.more)]
        return identify(person.name, files, encoder, select)
    except SeveralFacesError as error:
        return Trouble("multi_face", _without_folder(error.message, person, folder))
    except FaceError as error:
        return Trouble("no_face_ref", _without_folder(error.message, person, folder))


def _without_folder(message: str, person: Person, folder: RunFolder) -> str:
    """A message that names no path of this machine; of several photographs it names the file."""
    message = message.removeprefix(f"{folder.path / str(person.reference)}: ")
    return message.replace(f"{folder.path}{os.sep}", "")
