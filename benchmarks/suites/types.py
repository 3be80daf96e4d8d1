"""What a suite consists of: identities, prompts, and which of them meet. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
class SuitePrompt:
    """One prompt: `{person}` or `{id}` stands for the person; braces otherwise are doubled.

    kind:  short, long, action or typemovie (IBench's `prompt_attr`)
    noun:  what `{person}` becomes whoever is shown, where the prompt itself says so ("a man in a dark coat");
           "" for the person's own noun
    truth: factor -> value that the prompt asks for
    """

    id: str
    text: str
    category: str = ""
    kind: str = "short"
    truth: Mapping[str, str] = field(default_factory=dict)
    noun: str = ""


@dataclass(frozen=True)
class SuiteSet:
    """Every identity meets every prompt."""

    name: str
    identities: tuple[SuiteIdentity, ...]
    prompts: tuple[SuitePrompt, ...]


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
        return sum(len(one.identities) * len(one.prompts) for one in self.sets) * len(self.seeds)
