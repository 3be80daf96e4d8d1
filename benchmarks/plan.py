"""What a run consists of, before anything is sampled: samples with their fingerprints, cut into blocks.

The plan depends on the request alone, never on what is finished or on which process asks. Its order is that
of samples.jsonl: the plain backbone first, then method by method, set by set, identity by identity. A block
is what is scored and recorded at once, and a batch never crosses one, so that a run that was interrupted
samples and scores in the same company as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any, TypeVar

from benchmarks.schema import Row
from benchmarks.store import Shard
from benchmarks.suites.types import Suite, SuiteIdentity, SuitePrompt, SuiteSet
from methods.prompts import expand, group_name
from methods.words import in_unicode

_One = TypeVar("_One")

BLOCK = 4
"""Samples per block, or the batch size where that is larger: few, so that uneven machines end together."""


@dataclass(frozen=True, eq=False)
class Person:
    """An identity of the suite with its reference in the run folder.

    reference: path relative to the run folder, None when `problem` says why there is none
    content:   SHA-256 of the reference file, or over those of several; of the name where there is no file
    more:      paths of further photographs of the same person
    """

    entry: SuiteIdentity
    reference: str | None
    content: str
    problem: str = ""
    more: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.entry.name


@dataclass(frozen=True, eq=False)
class MethodPlan:
    """What the plan must know of a method.

    label:    its name in this run
    identity: whether it needs somebody; those that do not are sampled once per text and seed
    pixels:   digest of all that its samples share (`fingerprint.pixels_of_method`)
    job:      id_weight, id_start, id_end
    word:     what `{person}` becomes for a person, None for the person's noun
    """

    label: str
    identity: bool
    pixels: str
    job: Mapping[str, float]
    words: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Sample:
    """One row of the plan. `prompt_text` is what is sampled, `text` what metrics read.

    people:  whom the picture shows, in the prompt's order; () for nobody in particular
    picture: id of the sample whose picture it shares; its own unless another one has the very same pixels
    """

    id: str
    method: MethodPlan
    people: tuple[Person, ...]
    prompt: SuitePrompt
    set: str
    seed: int
    text: str
    prompt_text: str
    baseline: str | None
    picture: str

    @property
    def person(self) -> Person | None:
        """The only one who is shown, if there is one."""
        return self.people[0] if len(self.people) == 1 else None

    @property
    def names(self) -> str:
        """Of those who are shown."""
        return group_name([one.name for one in self.people])

    @property
    def twin(self) -> bool:
        """Whether its picture is made for another sample: another name, set or label of the same."""
        return self.picture != self.id

    def row(self, **changes: Any) -> Row:
        """The sample's row; `changes` say what became of it."""
        return Row(id=self.id, **self._planned(), **changes)

    def describes(self, row: Row) -> bool:
        """Whether a row that was read says of this sample what the plan says."""
        return all(getattr(row, name) == value for name, value in self._planned().items())

    def _planned(self) -> dict[str, Any]:
        """Entries of a row that do not depend on what became of the sample."""
        person = self.person
        return {
            "method": self.method.label,
            "identity": in_unicode(self.names) if self.people else None,
            "prompt_id": in_unicode(self.prompt.id),
            "prompt": in_unicode(self.text),
            "category": self.prompt.category or self.prompt.kind,
            "set": self.set,
            "seed": self.seed,
            "reference": None if person is None else person.reference,
            "baseline": self.baseline,
            "truth": dict(self.prompt.truth),
            "reference_truth": {} if person is None else dict(person.entry.truth),
            "people": {}
            if len(self.people) < 2
            else {in_unicode(one.name): one.reference for one in self.people},
        }


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive samples of one method: what a process takes, and records, at once."""

    number: int
    samples: tuple[Sample, ...]

    @property
    def key(self) -> str:
        """Its name among the leases of a run."""
        return f"block-{self.number:06d}-{self.samples[0].id[:16]}"

    @property
    def method(self) -> str:
        return self.samples[0].method.label


class Plan:
    """All samples of a run by id, in order, and their blocks."""

    def __init__(self, samples: Sequence[Sample], batch_size: int) -> None:
        self.samples = {sample.id: sample for sample in samples}
        self.batch_size = batch_size
        size = max(BLOCK, batch_size)
        by_method: dict[str, list[Sample]] = {}
        for sample in self.samples.values():
            by_method.setdefault(sample.method.label, []).append(sample)
        cuts = [
            members[start : start + size]
            for members in by_method.values()
            for start in range(0, len(members), size)
        ]
        self.blocks = [Block(number, tuple(members)) for number, members in enumerate(cuts)]

    @cached_property
    def order(self) -> list[str]:
        """Ids in the order of samples.jsonl."""
        return [sample.id for block in self.blocks for sample in block.samples]

    @cached_property
    def batches(self) -> dict[str, tuple[Sample, ...]]:
        """The batch of every sample with a picture of its own: consecutive ones of its block."""
        return {
            sample.id: batch
            for block in self.blocks
            for own in [tuple(sample for sample in block.samples if not sample.twin)]
            for start in range(0, len(own), self.batch_size)
            for batch in [own[start : start + self.batch_size]]
            for sample in batch
        }

    @cached_property
    def pictures(self) -> int:
        """Distinct pictures: twins share one."""
        return len({sample.picture for sample in self.samples.values()})

    def share(self, shard: Shard | None) -> list[Block]:
        """The blocks of a shard, every block in exactly one; all of them without sharding."""
        if shard is None:
            return self.blocks
        return [block for block in self.blocks if block.number % shard.count == shard.index]


def make_plan(
    suite: Suite,
    people: Mapping[str, Sequence[Person]],
    methods: Sequence[MethodPlan],
    settings: Mapping[str, Any],
    *,
    limit: int | None = None,
    batch_size: int = 1,
) -> Plan:
    """Every method's samples of a suite; the plain backbone (it needs nobody) gives the baselines.

    people:   by name of the set, in the order of its identities; masks lie in the run folder, by content
    settings: width, height, steps, guidance, negative_prompt, scheduler, face encoder and selection
    limit:    at most so many pairs (identity, prompt, seed) per set, as `choose` spreads them

    Every pair has its row in its set for every method. Rows of one picture (two names for a person, two ids
    for a text, two spellings of a method) share it.
    """
    pairs = [
        (one.name, tuple(people[one.name][who] for who in one.cast(number, prompt)), prompt, seed)
        for one in suite.sets
        for number, prompt, seed in choose(one, suite.seeds, limit)
    ]
    shared = {method.label: _start(method, settings) for method in methods}
    baseline = next((method for method in methods if not method.identity), None)
    samples: dict[str, Sample] = {}
    pictures: dict[str, str] = {}
    rows: dict[tuple[Any, ...], str] = {}
    for method in methods:
        for set_name, shown, prompt, seed in pairs:
            text = _said(prompt, [prompt.noun or one.entry.noun for one in shown])
            who = shown if method.identity else ()
            spoken = text
            if any(one.content in method.words for one in who):
                nouns = (method.words.get(one.content, one.entry.noun) for one in who)
                spoken = _said(prompt, list(nouns))
            cell = (set_name, prompt.id, text, seed)
            name = tuple(one.name for one in who)
            row = (method.label, name if len(name) > 1 else next(iter(name), None), *cell)
            if row in rows:
                continue  # the plain backbone's picture of another person, or a line that is there twice
            pixels = _identifier(shared[method.label], who, prompt, spoken, seed)
            identifier = pixels if pixels not in pictures else _row_identifier(pixels, row)
            rows[row] = identifier
            without = None
            if baseline is not None and method is not baseline:
                without = rows[baseline.label, None, *cell]
            samples[identifier] = Sample(
                identifier,
                method,
                who,
                prompt,
                set_name,
                seed,
                text,
                spoken,
                without,
                pictures.setdefault(pixels, identifier),
            )
    return Plan(list(samples.values()), batch_size)


def _said(prompt: SuitePrompt, nouns: Sequence[str]) -> str:
    """A prompt with a noun for each of those whom it shows."""
    if len(nouns) == 1:
        return expand(prompt.text, nouns[0])
    return expand(prompt.text, words=dict(zip(prompt.places, nouns, strict=True)))


def _start(method: MethodPlan, settings: Mapping[str, Any]) -> Any:
    """A hash begun with everything that all samples of a method share."""
    # a method without identity ignores how strongly and when it acts
    job = dict(method.job) if method.identity else {}
    kept = {key: value for key, value in settings.items() if method.identity or not key.startswith("face")}
    text = json.dumps([method.pixels, job, kept], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode())


def _identifier(start: Any, people: Sequence[Person], prompt: SuitePrompt, text: str, seed: int) -> str:
    shown: Any = [one.content for one in people]
    if people and prompt.places:
        shown = [[who, place.key] for who, place in zip(shown, prompt.places.values(), strict=True)]
    else:  # nobody, or one person anywhere
        shown = next(iter(shown), None)
    one = start.copy()
    one.update(json.dumps([shown, text, seed]).encode())
    return one.hexdigest()


def _row_identifier(pixels: str, row: tuple[Any, ...]) -> str:
    """The id of a row whose picture another row has, too."""
    return hashlib.sha256(json.dumps([pixels, *row]).encode()).hexdigest()


def choose(one: SuiteSet, seeds: Sequence[int], limit: int | None) -> list[tuple[int, SuitePrompt, int]]:
    """The pairs of a set: cast by number, prompt and seed; all, or `limit` as `spread` takes them."""
    return spread(range(one.casts), [(prompt, seed) for prompt in one.prompts for seed in seeds], limit)


def spread(
    people: Sequence[_One], prompts: Sequence[tuple[SuitePrompt, int]], limit: int | None
) -> list[tuple[_One, SuitePrompt, int]]:
    """Every person with every prompt, or `limit` of the pairs, in the order of people, then prompts.

    However few they are, they meet as many people and as many categories as there can be: people evenly out
    of the list, categories in turn, one after the other along the diagonals of people x prompts.
    """
    count, size = len(people), len(prompts)
    if limit is None or limit >= count * size:
        chosen = [(who, what) for who in range(count) for what in range(size)]
    else:
        some = [k * count // limit for k in range(limit)] if limit < count else list(range(count))
        turn = _in_turn(prompts)
        once = math.lcm(len(some), size)  # after so many pairs the diagonal meets itself: step aside
        chosen = sorted((some[k % len(some)], turn[(k + k // once) % size]) for k in range(limit))
    return [(people[who], *prompts[what]) for who, what in chosen]


def _in_turn(prompts: Sequence[tuple[SuitePrompt, int]]) -> list[int]:
    """Places of prompts, category after category in turn, every prompt once before any by its second seed."""
    seen: Counter[str] = Counter()
    again = []
    for prompt, _ in prompts:
        again.append(seen[prompt.id])
        seen[prompt.id] += 1
    categories: dict[str, list[int]] = {}
    for place in sorted(range(len(prompts)), key=lambda place: (again[place], place)):
        categories.setdefault(prompts[place][0].category, []).append(place)
    return [place for turn in zip_longest(*categories.values()) for place in turn if place is not None]
