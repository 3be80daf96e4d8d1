"""Suites from YAML: strictly, every mistake named with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path

from benchmarks.suites.nouns import name_person
from benchmarks.suites.types import Suite, SuiteIdentity, SuitePrompt, SuiteSet
from methods.config import Count, Guidance, Seed, Side, Steps, build, load_yaml, options
from methods.errors import UsageError, unknown_name
from methods.paths import user_path
from methods.photographs import photographs
from methods.prompts import expand


@options
class IdentityEntry:
    """An entry of an identity list: a picture file, a folder or a list of them, all of one person; or pocket
    people by number with one context."""

    name: str | None = None
    noun: str | None = None
    picture: str | tuple[str, ...] | None = None
    pocket: Seed | tuple[Seed, ...] | None = None
    context: str | dict[str, str] = "plain"


@options
class PromptEntry:
    text: str
    id: str | None = None
    category: str = ""
    kind: str = "short"
    truth: dict[str, str] = field(default_factory=dict)
    person: str | None = None


@options
class SetEntry:
    identities: str
    prompts: str
    name: str | None = None


@options
class SuiteFile:
    """A suite as its YAML file writes it; `benchmarks/schemas/suite.schema.json` is made from it."""

    name: str
    description: str
    identities: dict[str, tuple[IdentityEntry, ...]]
    prompts: dict[str, tuple[str | PromptEntry, ...]]
    sets: tuple[SetEntry, ...] | None = None
    version: str = "1"
    seeds: tuple[Seed, ...] = (0,)
    methods: tuple[str, ...] = ()
    metrics: str | tuple[str, ...] = "default"
    steps: Steps | None = None
    guidance: Guidance | None = None
    size: tuple[Side, Side] | None = None
    limit: Count | None = None
    negative_prompt: str = ""


def read_suite(path: str | Path) -> Suite:
    """The suite of a YAML file; picture files are relative to it.

    Raises UsageError, naming file and entry.
    """
    path = Path(path)
    content = load_yaml(path)
    if isinstance(content.get("version"), int | float):
        content["version"] = str(content["version"])
    file = build(SuiteFile, content, where=str(path))
    identities = {
        name: _identities(entries, path, f"{path}: identities.{name}")
        for name, entries in file.identities.items()
    }
    prompts = {
        name: _prompts(str(name), entries, f"{path}: prompts.{name}")
        for name, entries in file.prompts.items()
    }
    sets = _sets(file.sets, identities, prompts, path)
    for one in sets:
        if not one.identities or not one.prompts:
            raise UsageError(f"{path}: the set {one.name!r} is empty.", hint="List people and prompts.")
    if not file.seeds or not sets:
        raise UsageError(f"{path}: there is nothing to sample.", hint="List sets and seeds.")
    return Suite(
        name=file.name,
        version=file.version,
        description=" ".join(file.description.split()),
        sets=sets,
        seeds=tuple(dict.fromkeys(file.seeds)),
        methods=file.methods,
        metrics=file.metrics,
        steps=file.steps,
        guidance=file.guidance,
        size=file.size,
        limit=file.limit,
        negative_prompt=file.negative_prompt,
    )


def _identities(entries: Sequence[IdentityEntry], path: Path, where: str) -> tuple[SuiteIdentity, ...]:
    people: list[SuiteIdentity] = []
    for place, one in enumerate(entries):
        at = f"{where}[{place}]"
        if (one.picture is None) == (one.pocket is None):
            raise UsageError(f"{at}: give either `picture` or `pocket`.", hint="One of the two, not both.")
        if one.picture is not None:
            given = (one.picture,) if isinstance(one.picture, str) else one.picture
            files = photographs([path.parent / user_path(file) for file in given])
            name = one.name or (path.parent / given[0]).name
            people.append(SuiteIdentity(name, one.noun or "person", files[0], more=files[1:]))
            continue
        numbers = one.pocket if isinstance(one.pocket, tuple) else (one.pocket,)
        for number in numbers:
            people.append(_pocket_person(number, one, at))
    if twice := _twice([person.name for person in people]):
        raise UsageError(f"{where}: {twice!r} is listed twice.", hint="Give each person a name of its own.")
    return tuple(people)


def _pocket_person(number: int | None, one: IdentityEntry, at: str) -> SuiteIdentity:
    from methods.pocket.references import PLAIN, counterfactual, counterfactual_nuisance, noun
    from methods.pocket.world import Context

    assert number is not None
    drawn = ("counterfactual-a", "counterfactual-b")
    if isinstance(one.context, dict):
        context = {**PLAIN, **one.context}
    elif one.context == "plain":
        context = dict(PLAIN)
    elif one.context in drawn:
        context = counterfactual(number, drawn.index(one.context))
    else:
        raise unknown_name(f"context of {at}", one.context, ["plain", *drawn])
    try:
        Context.from_dict({**context, "nuisance": 0})
    except ValueError as error:
        raise UsageError(f"{at}: {error}.", hint="spid render --list prints all values.") from error
    name = one.name if one.name and not isinstance(one.pocket, tuple) else f"person-{number}"
    nuisance = counterfactual_nuisance(number, int(one.context == "counterfactual-b"))
    return SuiteIdentity(name, one.noun or noun(number), None, number, context, nuisance)


def _prompts(list_name: str, entries: Sequence[str | PromptEntry], where: str) -> tuple[SuitePrompt, ...]:
    prompts = []
    for place, entry in enumerate(entries):
        at = f"{where}[{place}]"
        one = PromptEntry(text=entry) if isinstance(entry, str) else entry
        expand(one.text)
        text, noun = name_person(one.text, one.person)
        _check_truth(one.truth, at)
        name = one.id if one.id is not None else f"{list_name}-{place:03d}"
        prompts.append(SuitePrompt(name, text, one.category, one.kind, one.truth, noun))
    if twice := _twice([prompt.id for prompt in prompts]):
        raise UsageError(
            f"{where}: the id {twice!r} is given twice.", hint="Give each prompt one of its own."
        )
    return tuple(prompts)


def _check_truth(truth: Mapping[str, str], at: str) -> None:
    if not truth:
        return
    from methods.pocket.world import FACTORS

    for factor, value in truth.items():
        if factor not in FACTORS:
            raise unknown_name(f"factor in {at}", factor, FACTORS)
        if value not in FACTORS[factor]:
            raise unknown_name(f"{factor} in {at}", value, FACTORS[factor])


def _sets(
    given: Sequence[SetEntry] | None,
    identities: Mapping[str, tuple[SuiteIdentity, ...]],
    prompts: Mapping[str, tuple[SuitePrompt, ...]],
    path: Path,
) -> tuple[SuiteSet, ...]:
    """The sets a file names, or every identity list with every prompt list."""
    if given is None:
        pairs = [(f"{who}_{what}", who, what) for who in identities for what in prompts]
    else:
        pairs = []
        for one in given:
            if one.identities not in identities:
                raise unknown_name("identity list", one.identities, identities)
            if one.prompts not in prompts:
                raise unknown_name("prompt list", one.prompts, prompts)
            pairs.append((one.name or f"{one.identities}_{one.prompts}", one.identities, one.prompts))
    if twice := _twice([name for name, _, _ in pairs]):
        raise UsageError(f"{path}: two sets are called {twice!r}.", hint="Give each a `name`.")
    return tuple(SuiteSet(name, identities[who], prompts[what]) for name, who, what in pairs)


def _twice(names: list[str]) -> str | None:
    return next((name for name in names if names.count(name) > 1), None)
