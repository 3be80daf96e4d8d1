"""Suites from YAML: strictly, every mistake named with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path

from benchmarks.suites.nouns import name_person
from benchmarks.suites.types import Place, Suite, SuiteIdentity, SuitePrompt, SuiteSet
from methods.config import Count, Guidance, Seed, Share, Side, Steps, build, load_yaml, options
from methods.errors import UsageError, unknown_name
from methods.paths import user_path
from methods.photographs import photographs
from methods.prompts import expand, group_name, placeholders


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
    """regions, masks: placeholder -> box (x0, y0, x1, y1 as fractions) or picture file, white where this
    person may be. Several of them show several people in one picture."""

    text: str
    id: str | None = None
    category: str = ""
    kind: str = "short"
    truth: dict[str, str] = field(default_factory=dict)
    person: str | None = None
    regions: dict[str, tuple[Share, Share, Share, Share]] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)


@options
class SetEntry:
    """groups: names of those who share a picture, in the order of the prompts' placeholders; by default
    everybody with the next ones of the list."""

    identities: str
    prompts: str
    name: str | None = None
    groups: tuple[tuple[str, ...], ...] = ()


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
        name: _prompts(str(name), entries, path, f"{path}: prompts.{name}")
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


def _prompts(
    list_name: str, entries: Sequence[str | PromptEntry], path: Path, where: str
) -> tuple[SuitePrompt, ...]:
    prompts = []
    for place, entry in enumerate(entries):
        at = f"{where}[{place}]"
        one = PromptEntry(text=entry) if isinstance(entry, str) else entry
        several = bool(one.regions or one.masks) and len(placeholders(one.text)) > 1
        if several:
            text, noun = one.text, ""
            if one.person is not None:
                raise UsageError(f"{at}: `person` is for one person.", hint="Leave it out.")
        else:
            expand(one.text)  # before a noun becomes a placeholder
            text, noun = name_person(one.text, one.person)
        places = _places(one, text, path, at)
        expand(text, words=dict.fromkeys(places, "person"))
        _check_truth(one.truth, at)
        name = one.id if one.id is not None else f"{list_name}-{place:03d}"
        prompts.append(SuitePrompt(name, text, one.category, one.kind, one.truth, noun, places))
    if twice := _twice([prompt.id for prompt in prompts]):
        raise UsageError(
            f"{where}: the id {twice!r} is given twice.", hint="Give each prompt one of its own."
        )
    return tuple(prompts)


def _places(one: PromptEntry, text: str, path: Path, at: str) -> dict[str, Place]:
    """Where everybody whom a prompt names may be; {} where it says nothing of it."""
    if not one.regions and not one.masks:
        return {}
    called = placeholders(text)
    for name in {**one.regions, **one.masks}:
        if name not in called:
            raise unknown_name(f"placeholder with a region in {at}", name, called)
    for name in called:
        if (name in one.regions) == (name in one.masks):
            raise UsageError(
                f"{at}: {{{name}}} has {'a region and a mask' if name in one.masks else 'no region'}.",
                hint="Give everybody a region or a mask: `regions: {person: [0, 0, .5, 1]}`.",
            )
    for name, (x0, y0, x1, y1) in one.regions.items():
        if x0 >= x1 or y0 >= y1:
            raise UsageError(f"{at}: the region of {name} is empty.", hint="For example: [0, 0, .5, 1]")
    return {
        name: Place(box=one.regions[name])
        if name in one.regions
        else Place(mask=str(path.parent / user_path(one.masks[name])))
        for name in called
    }


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
        given = [SetEntry(who, what) for who in identities for what in prompts]
    sets = []
    for one in given:
        if one.identities not in identities:
            raise unknown_name("identity list", one.identities, identities)
        if one.prompts not in prompts:
            raise unknown_name("prompt list", one.prompts, prompts)
        name = one.name or f"{one.identities}_{one.prompts}"
        people, texts = identities[one.identities], prompts[one.prompts]
        where = f"{path}: the set {name!r}"
        made = SuiteSet(name, people, texts, _groups(one.groups, people, texts, where))
        _check_names(made, where)
        sets.append(made)
    if twice := _twice([one.name for one in sets]):
        raise UsageError(f"{path}: two sets are called {twice!r}.", hint="Give each a `name`.")
    return tuple(sets)


def _groups(
    given: Sequence[Sequence[str]],
    people: Sequence[SuiteIdentity],
    prompts: Sequence[SuitePrompt],
    where: str,
) -> tuple[tuple[int, ...], ...]:
    """Who is shown together, by their places in the list; () for everybody with the next ones."""
    names = [one.name for one in people]
    for prompt in prompts:
        shown = max(len(prompt.places), 1)
        if shown > len(people) > 0:
            raise UsageError(
                f"{where}: the prompt {prompt.id!r} shows {shown} people, and the list has {len(people)}.",
                hint="List more people, or use another list of prompts.",
            )
        if wrong := next((one for one in given if len(one) != shown), None):
            raise UsageError(
                f"{where}: the prompt {prompt.id!r} shows {shown}, and {group_name(wrong)} are {len(wrong)}.",
                hint="Make a set for each number of people.",
            )
    for group in given:
        for name in group:
            if name not in names:
                raise unknown_name(f"person in the groups of {where}", name, names)
        if (twice := _twice(list(group))) is not None:
            raise UsageError(f"{where}: a group has {twice!r} twice.", hint="Name different people.")
    return tuple(tuple(map(names.index, group)) for group in given)


def _check_names(one: SuiteSet, where: str) -> None:
    """Raise UsageError where a row could not say whom its picture shows."""
    largest = max(one.prompts, key=lambda prompt: len(prompt.places), default=None)
    if largest is None or len(largest.places) < 2:
        return
    names = [entry.name for entry in one.identities]
    groups = (one.cast(number, largest) for number in range(one.casts))
    if twice := _twice([group_name([names[who] for who in group]) for group in groups]):
        raise UsageError(f"{where}: two groups are called {twice!r}.", hint="Rename somebody.")


def _twice(names: list[str]) -> str | None:
    return next((name for name in names if names.count(name) > 1), None)
