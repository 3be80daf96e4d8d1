"""What a run consists of, before anything is sampled: samples with their fingerprints, cut into blocks.

The plan depends on the request alone, never on what is finished or on which process asks. Its order is that
of samples.jsonl: the plain backbone first, then method by method, set by set, identity by identity. A block
is what is scored and recorded at once, and a batch never crosses one, so that a run that was interrupted
samples and scores in the same company as one that was not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from benchmarks.schema import Row
from benchmarks.store import Shard
from benchmarks.suites.types import Suite, SuiteIdentity, SuitePrompt
from methods.prompts import expand

BLOCK = 16
"""Samples per block, or the batch size where that is larger."""


@dataclass(frozen=True, eq=False)
class Person:
    """An identity of the suite with its reference in the run folder.

    reference: path relative to the run folder, None when `problem` says why there is none
    content:   SHA-256 of the reference file; of the name where there is no file
    """

    entry: SuiteIdentity
    reference: str | None
    content: str
    problem: str = ""

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
    """One picture of the plan. `prompt_text` is what is sampled, `text` what metrics read."""

    id: str
    method: MethodPlan
    person: Person | None
    prompt: SuitePrompt
    set: str
    seed: int
    text: str
    prompt_text: str
    baseline: str | None

    def row(self, **changes: Any) -> Row:
        """The sample's row; `changes` say what became of it."""
        person = self.person
        return Row(
            id=self.id,
            method=self.method.label,
            identity=None if person is None else person.name,
            prompt_id=self.prompt.id,
            prompt=self.text,
            category=self.prompt.category or self.prompt.kind,
            set=self.set,
            seed=self.seed,
            reference=None if person is None else person.reference,
            baseline=self.baseline,
            truth=dict(self.prompt.truth),
            reference_truth={} if person is None else dict(person.entry.truth),
            **changes,
        )


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive samples of one method."""

    number: int
    samples: tuple[Sample, ...]

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
        """The batch of every sample: consecutive samples of its block."""
        return {
            sample.id: batch
            for block in self.blocks
            for start in range(0, len(block.samples), self.batch_size)
            for batch in [block.samples[start : start + self.batch_size]]
            for sample in batch
        }

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

    people:   by name of the set, in the order of its identities
    settings: width, height, steps, guidance, negative_prompt, scheduler, face encoder and selection
    limit:    at most so many pairs (identity, prompt, seed) per set, spread over identities and prompts
    """
    pairs = [
        (one.name, person, prompt, seed)
        for one in suite.sets
        for person, prompt, seed in spread(
            people[one.name], [(prompt, seed) for prompt in one.prompts for seed in suite.seeds], limit
        )
    ]
    shared = {method.label: _start(method, settings) for method in methods}
    baseline = next((method for method in methods if not method.identity), None)
    samples: dict[str, Sample] = {}
    for method in methods:
        for set_name, person, prompt, seed in pairs:
            text = expand(prompt.text, person.entry.noun)
            who = person if method.identity else None
            spoken = text
            if who is not None and (word := method.words.get(person.content)) is not None:
                spoken = expand(prompt.text, word)
            identifier = _identifier(shared[method.label], who, spoken, seed)
            if identifier in samples:
                continue  # the same picture: another set's, or the plain backbone's for another person
            without = None
            if baseline is not None and method is not baseline:
                without = _identifier(shared[baseline.label], None, text, seed)
            samples[identifier] = Sample(
                identifier, method, who, prompt, set_name, seed, text, spoken, without
            )
    return Plan(list(samples.values()), batch_size)


def _start(method: MethodPlan, settings: Mapping[str, Any]) -> Any:
    """A hash begun with everything that all samples of a method share."""
    # a method without identity ignores how strongly and when it acts
    job = dict(method.job) if method.identity else {}
    kept = {key: value for key, value in settings.items() if method.identity or not key.startswith("face")}
    text = json.dumps([method.pixels, job, kept], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode())


def _identifier(start: Any, person: Person | None, text: str, seed: int) -> str:
    one = start.copy()
    one.update(json.dumps([None if person is None else person.content, text, seed]).encode())
    return one.hexdigest()


def spread(
    people: Sequence[Person], prompts: Sequence[tuple[SuitePrompt, int]], limit: int | None
) -> list[tuple[Person, SuitePrompt, int]]:
    """Every person with every prompt, or `limit` of the pairs: along diagonals, so that few pairs already
    meet many people and many prompts. In the order of people, then prompts."""
    every = [(who, what) for who in range(len(people)) for what in range(len(prompts))]
    if limit is not None and limit < len(every):
        first = [who * len(prompts) // len(people) for who in range(len(people))]
        diagonals = [
            (who, (first[who] + step) % len(prompts))
            for step in range(len(prompts))
            for who in range(len(people))
        ]
        every = sorted(diagonals[:limit])
    return [(people[who], *prompts[what]) for who, what in every]
