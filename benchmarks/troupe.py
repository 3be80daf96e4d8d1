"""The people of a run as methods take them: one, or several in one picture, each in a region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.made import Trouble
from benchmarks.plan import Person, Sample
from methods.hooks import Identity

if TYPE_CHECKING:
    from benchmarks.suites.types import Place
    from methods.regions import Region


class Troupe:
    """Who is shown by each sample.

    folder: of the run, where references and masks lie. people: what became of every reference, by its content
    """

    def __init__(self, folder: Path, people: Mapping[str, Identity | Trouble]) -> None:
        self._folder, self._people = folder, people
        # the same objects for the same people: methods and descriptions remember them
        self._members: dict[tuple[Any, ...], Identity] = {}
        self._groups: dict[tuple[int, ...], Identity] = {}

    def of(self, sample: Sample) -> Identity | Trouble | None:
        """Whom a sample shows, None for nobody in particular; of several the first trouble."""
        found = []
        for person, place in _placed_people(sample):
            who = self._people[person.content]
            if isinstance(who, Trouble):
                several = len(sample.people) > 1
                return replace(who, detail=f"{person.name}: {who.detail}") if several else who
            found.append(who if place is None else self._confined(person, who, place))
        if len(found) < 2:
            return next(iter(found), None)
        key = tuple(map(id, found))
        return self._groups.setdefault(key, Identity(sample.names, members=tuple(found)))

    def _confined(self, person: Person, who: Identity, place: Place) -> Identity:
        key = (person.name, person.content, str(place.key))
        if key not in self._members:
            self._members[key] = replace(who, name=person.name, region=self._region(place))
        return self._members[key]

    def _region(self, place: Place) -> Region:
        from methods.regions import Region

        if place.mask is not None:
            return Region.drawn(self._folder / place.mask)
        assert place.box is not None
        return Region(place.box)


def in_folder(job: Mapping[str, Any], sample: Sample) -> dict[str, Any]:
    """The description of a picture with the paths of its files in the run folder: no path of this machine in
    a file that others may get."""
    shown = _placed_people(sample)
    if len(shown) > 1:
        members = zip(job["people"], shown, strict=True)
        return {**job, "people": [_placed(one, person, place) for one, (person, place) in members]}
    return _placed(job, *shown[0]) if shown else dict(job)


def _placed_people(sample: Sample) -> list[tuple[Person, Place | None]]:
    """Whom a sample shows, and where, if anywhere in particular."""
    places: list[Place | None] = [*sample.prompt.places.values()] or [None] * len(sample.people)
    return list(zip(sample.people, places, strict=True)) if sample.people else []


def _placed(job: Mapping[str, Any], person: Person, place: Place | None) -> dict[str, Any]:
    placed = dict(job)
    if job["reference"] is not None:
        placed["reference"] = {**job["reference"], "path": person.reference}
        if "references" in job:
            paths = (person.reference, *person.more)
            placed["references"] = [
                {**one, "path": path} for one, path in zip(job["references"], paths, strict=True)
            ]
    if place is not None and place.mask is not None:
        placed["region"] = {**job["region"], "path": place.mask}
    return placed
