"""The identities of a suite: their reference pictures in the run folder, and what a face encoder says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.plan import Person, choose
from benchmarks.store import RunFolder
from benchmarks.suites import Suite, SuiteIdentity, SuitePrompt
from benchmarks.suites.types import Place
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
        cast = (one.cast(number, prompt) for number, prompt, _ in choose(one, suite.seeds, limit))
        planned = {who for people in cast for who in people}
        for place, entry in enumerate(one.identities):
            if place not in planned:
                found.setdefault(one.name, []).append(Person(entry, None, "", "nobody asked for"))
                continue
            key = _key(entry)
            if key not in known:
                known[key] = _person(entry, folder)
            found.setdefault(one.name, []).append(known[key])
    return found


def check_masks(suite: Suite) -> None:
    """Raise PictureError for a mask that cannot be read, UsageError for one that is black all over."""
    from methods.regions import Region

    prompts = (prompt for one in suite.sets for prompt in one.prompts)
    places = (place for prompt in prompts for place in prompt.places.values())
    for mask in dict.fromkeys(place.mask for place in places if place.mask is not None):
        Region.drawn(mask)


def keep_masks(suite: Suite, folder: RunFolder) -> Suite:
    """The suite with the masks of its prompts in the run folder, byte for byte."""
    kept: dict[str, str] = {}

    def placed(place: Place) -> Place:
        if place.mask is None:
            return place
        if place.mask not in kept:
            kept[place.mask] = folder.keep_reference(*_photograph(Path(place.mask)))
        return replace(place, mask=kept[place.mask])

    def with_masks(prompt: SuitePrompt) -> SuitePrompt:
        return replace(prompt, places={name: placed(place) for name, place in prompt.places.items()})

    sets = (replace(one, prompts=tuple(map(with_masks, one.prompts))) for one in suite.sets)
    return replace(suite, sets=tuple(sets))


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
