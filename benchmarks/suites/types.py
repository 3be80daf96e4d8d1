"""What a suite consists of: identities, prompts, and which of them meet. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

CATEGORIES = (
    "Style", "Complex", "Accessory", "Action", "Attribute", "Clothing", "View", "Background",
)  # fmt: skip
"""IBench's taxonomy of prompts (its `prompt_style`), in its spelling."""


@dataclass(frozen=True)
class SuiteIdentity:
    """One person of a suite: a picture file, or a rendered pocket person.

    name:    any text; never part of a path
    noun:    what `{person}` becomes: woman, man or person
    picture: file of the reference; None for a pocket person, or when `problem` says why there is none
    more:    files of further photographs of the same person
    person:  number of a pocket person; context: the factors it is rendered in
    truth:   factor -> value that the reference shows; only rendered people have one
    """

    name: str
    noun: str = "person"
    picture: str | None = None
    person: int | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    nuisance: int = 0
    problem: str = ""
    more: tuple[str, ...] = ()

    @property
    def truth(self) -> Mapping[str, str]:
        return self.context


@dataclass(frozen=True)
class Place:
    """Where in a picture somebody may be: a box, or a picture file that is white there.

    box: x0, y0, x1, y1 as fractions of width and height
    """

    box: tuple[float, float, float, float] | None = None
    mask: str | None = None

    @property
    def key(self) -> str | list[float]:
        """What decides it; the name of a mask in a run folder is its content."""
        return PurePath(str(self.mask)).stem if self.box is None else list(self.box)


@dataclass(frozen=True)
class SuitePrompt:
    """One prompt: `{person}` or `{id}` stands for the person; braces otherwise are doubled.

    kind:  short, long, action or typemovie (IBench's `prompt_attr`)
    noun:  what `{person}` becomes whoever is shown, where the prompt itself says so ("a man in a dark coat");
           "" for the person's own noun
    truth: factor -> value that the prompt asks for
    places: placeholder -> where that person may be, in the order in which the prompt names them; {} for
            everywhere. Several show as many people in one picture.
    """

    id: str
    text: str
    category: str = ""
    kind: str = "short"
    truth: Mapping[str, str] = field(default_factory=dict)
    noun: str = ""
    places: Mapping[str, Place] = field(default_factory=dict)


@dataclass(frozen=True)
class SuiteSet:
    """Every identity meets every prompt. A prompt that shows several people shows each identity with those
    that follow it in the list, the first one again behind the last.

    groups: who is shown together instead, by their places among the identities; every prompt shows as many
    """

    name: str
    identities: tuple[SuiteIdentity, ...]
    prompts: tuple[SuitePrompt, ...]
    groups: tuple[tuple[int, ...], ...] = ()

    @property
    def casts(self) -> int:
        """How often every prompt is cast: once for each identity, or for each group."""
        return len(self.groups or self.identities)

    def cast(self, number: int, prompt: SuitePrompt) -> tuple[int, ...]:
        """Whom a prompt shows, by their places among the identities, in its order."""
        if self.groups:
            return self.groups[number]
        count = len(self.identities)
        return tuple((number + place) % count for place in range(max(len(prompt.places), 1)))


@dataclass(frozen=True)
class Suite:
    """A suite, ready to be planned.

    methods, metrics, steps, size ((width, height)) and limit are defaults that a command may replace; None
    or empty leaves them to the backbone and the caller. seeds: every pair is sampled with each of them.
    """

    name: str
    version: str
    description: str
    sets: tuple[SuiteSet, ...]
    seeds: tuple[int, ...] = (0,)
    methods: tuple[str, ...] = ()
    metrics: str | tuple[str, ...] = "default"
    steps: int | None = None
    guidance: float | None = None
    size: tuple[int, int] | None = None
    limit: int | None = None
    negative_prompt: str = ""

    @property
    def pairs(self) -> int:
        """Pictures per method: identity x prompt x seed."""
        return sum(one.casts * len(one.prompts) for one in self.sets) * len(self.seeds)
