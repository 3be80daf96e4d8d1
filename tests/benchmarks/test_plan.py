"""Plans and fingerprints: what changes pixels changes an id, and nothing else does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.fingerprint import differences, pixels_of_method
from benchmarks.plan import MethodPlan, Person, Plan, make_plan, spread
from benchmarks.request import MethodSpec, Request, choose_methods, parse_method, split_methods
from benchmarks.store import Shard
from benchmarks.suites import Suite, SuiteIdentity, SuitePrompt, SuiteSet
from methods.errors import UsageError
from methods.registry import method_names

PEOPLE = tuple(SuiteIdentity(f"person {number}", "woman" if number % 2 else "man") for number in range(6))
PROMPTS = tuple(SuitePrompt(f"p{number}", f"a {{person}} number {number}") for number in range(7))
SUITE = Suite("s", "1", "", (SuiteSet("all", PEOPLE, PROMPTS),), seeds=(0, 1))
SETTINGS: dict[str, Any] = {
    "width": 64, "height": 64, "steps": 2, "guidance": 4.0, "negative_prompt": "", "scheduler": "ddim",
    "face_select": "largest", "face_encoder": "abc",
}  # fmt: skip
JOB = {"id_weight": 1.0, "id_start": 0.0, "id_end": 1.0}
NONE = MethodPlan("none", False, "n", {}, {})
WITH = MethodPlan("with", True, "w", JOB, {})


def people(**changes: str) -> list[Person]:
    return [Person(one, f"{one.name}.png", changes.get("content", "") + one.name) for one in PEOPLE]


def plan(suite: Suite = SUITE, methods: tuple[MethodPlan, ...] = (NONE, WITH), **options: Any) -> Plan:
    who = options.pop("people", None) or people()
    settings = options.pop("settings", SETTINGS)
    return make_plan(suite, {one.name: who for one in suite.sets}, methods, settings, **options)


def test_every_pair_has_a_picture_with_and_without() -> None:
    made = plan()
    by_method = Counter(sample.method.label for sample in made.samples.values())
    assert by_method == {"none": 2 * 7 * 2, "with": 6 * 7 * 2}  # woman and man, then everybody
    for sample in made.samples.values():
        if sample.method is WITH:
            assert sample.baseline is not None
            without = made.samples[sample.baseline]
            assert (without.method, without.text, without.seed) == (NONE, sample.text, sample.seed)
        else:
            assert sample.baseline is None and sample.person is None
    assert made.order == list(made.samples)
    assert plan().order == made.order


@pytest.mark.parametrize(
    "options",
    [
        {"settings": {**SETTINGS, "steps": 3}},
        {"settings": {**SETTINGS, "guidance": 4.5}},
        {"settings": {**SETTINGS, "width": 72}},
        {"settings": {**SETTINGS, "scheduler": "euler"}},
        {"settings": {**SETTINGS, "negative_prompt": "blurred"}},
        {"settings": {**SETTINGS, "face_encoder": "def"}},
        {"people": people(content="another picture of ")},
        {"methods": (NONE, replace(WITH, pixels="other weights"))},
        {"methods": (NONE, replace(WITH, job={**JOB, "id_weight": 0.5}))},
        {"methods": (NONE, replace(WITH, words={one.name: "sks" for one in PEOPLE}))},
        {"suite": replace(SUITE, seeds=(2, 3))},
    ],
)
def test_what_changes_pixels_changes_the_fingerprint(options: dict[str, Any]) -> None:
    changed = plan(**options)
    ours = {name for name, sample in plan().samples.items() if sample.method.label == "with"}
    theirs = {name for name, sample in changed.samples.items() if sample.method.label == "with"}
    assert len(ours) == len(theirs) and not ours & theirs


def test_what_does_not_change_pixels_does_not() -> None:
    ours = plan()
    renamed = replace(WITH, label="with[late=0.3]")
    assert plan(methods=(NONE, renamed)).order == ours.order
    assert plan(batch_size=8).order == ours.order
    weighted = plan(settings={**SETTINGS, "face_encoder": "def", "face_select": "center"})
    plain = [name for name, sample in ours.samples.items() if sample.method is NONE]
    assert [name for name, sample in weighted.samples.items() if sample.method is NONE] == plain


def test_a_learned_word_is_sampled_and_a_plain_one_scored() -> None:
    learned = replace(WITH, words={PEOPLE[0].name: "<anna>"})
    texts = {
        (sample.text, sample.prompt_text)
        for sample in plan(methods=(NONE, learned)).samples.values()
        if sample.person is not None and sample.person.entry == PEOPLE[0]
    }
    assert ("a man number 3", "a <anna> number 3") in texts and len(texts) == len(PROMPTS)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_shards_share_out_every_block_once(count: int) -> None:
    made = plan(batch_size=3)
    shares = [made.share(Shard(index, count)) for index in range(count)]
    assert sorted(block.number for share in shares for block in share) == list(range(len(made.blocks)))
    assert made.share(None) == made.blocks


@pytest.mark.parametrize("batch_size", [1, 3, 16, 40])
def test_batches_never_cross_a_block(batch_size: int) -> None:
    made = plan(batch_size=batch_size)
    for block in made.blocks:
        assert len({sample.method.label for sample in block.samples}) == 1
        batched = [sample for one in block.samples[::1] for sample in [made.batches[one.id]]]
        assert {sample.id for batch in batched for sample in batch} == {one.id for one in block.samples}
        assert max(len(batch) for batch in batched) <= batch_size


@pytest.mark.parametrize("limit", [1, 2, 6, 14, 15, 84, 1000])
def test_a_limit_meets_many_people_and_prompts(limit: int) -> None:
    chosen = [sample for sample in plan(limit=limit).samples.values() if sample.person is not None]
    assert len(chosen) == min(limit, 84)
    assert len({sample.person.name for sample in chosen if sample.person}) == min(limit, 6)
    assert len({(sample.prompt.id, sample.seed) for sample in chosen}) >= min(limit, 6)
    assert chosen == [one for one in chosen] and len({sample.id for sample in chosen}) == len(chosen)


def test_one_picture_in_two_sets_is_two_rows_of_it() -> None:
    twice = plan(replace(SUITE, sets=(SUITE.sets[0], replace(SUITE.sets[0], name="again"))))
    once = plan()
    assert len(twice.samples) == 2 * len(once.samples) and twice.pictures == once.pictures == len(
        once.samples
    )
    assert [name for name in twice.order if name in once.samples] == once.order
    for sample in twice.samples.values():
        assert twice.samples[sample.picture].prompt_text == sample.prompt_text
        if sample.baseline is not None:
            assert twice.samples[sample.baseline].set == sample.set


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 11, 29])
def test_a_limit_is_spread_over_people_and_categories(limit: int) -> None:
    people = list(range(10))
    prompts = [(SuitePrompt(f"p{i}", "a", category=f"c{i // 5}"), 0) for i in range(20)]
    chosen = spread(people, prompts, limit)
    assert len({(who, prompt.id) for who, prompt, _ in chosen}) == limit
    assert len({who for who, _, _ in chosen}) == min(limit, 10)
    assert len({prompt.category for _, prompt, _ in chosen}) == min(limit, 4)
    assert (
        limit > 9
        or max(who for who, _, _ in chosen) - min(who for who, _, _ in chosen) >= 10 * (limit - 1) // limit
    )


def test_names_change_no_pixels() -> None:
    backbone, method = (
        {"name": "a", "revision": "r", "fingerprint": "f"},
        {"name": "x", "method": "m", "job": {}},
    )
    assert pixels_of_method(backbone, method) == pixels_of_method(
        {**backbone, "name": "b"}, {**method, "name": "y", "job": {"id_weight": 2}}
    )
    assert pixels_of_method(backbone, method) != pixels_of_method({**backbone, "fingerprint": "g"}, method)


def test_differences_are_named() -> None:
    old = {"a": 1, "b": {"c": [1, 2], "d": "x" * 90}, "methods": [{"name": "m", "weights": "1"}]}
    new = {"a": 1, "b": {"c": [1, 3], "d": "x" * 90}, "methods": [{"name": "m", "weights": None}], "e": 0}
    assert differences(old, old) == []
    assert differences(old, new) == [
        "b.c: [1, 2] -> [1, 3]",
        "methods.m.weights: 1 -> nothing",
        "e: nothing -> 0",
    ]


def test_methods_of_a_comparison() -> None:
    assert split_methods("none, uniform[id_weight=0.5,lora_scale=1],spatialid") == [
        "none", "uniform[id_weight=0.5,lora_scale=1]", "spatialid",
    ]  # fmt: skip
    spec = parse_method("uniform[ id_weight=0.5, lora_scale=2 ]")
    assert spec == MethodSpec(
        "uniform[id_weight=0.5,lora_scale=2]", "uniform", {"lora_scale": 2}, {**JOB, "id_weight": 0.5}
    )
    assert [spec.label for spec in choose_methods(["uniform", "none", "uniform"], [])] == ["none", "uniform"]
    assert [spec.label for spec in choose_methods([], [])] == method_names()
    for wrong in (
        "unifrm",
        "uniform[",
        "uniform[x]",
        "uniform[id_weight=-1]",
        "uniform[id_start=0.9,id_end=0.1]",
    ):
        with pytest.raises(UsageError):
            parse_method(wrong)


def test_a_request_survives_its_file() -> None:
    request = Request("s", ("none",), seeds=(1, 2), size=(64, 64), models={"clip": "x"}, metrics=("a", "b"))
    assert Request.from_dict(request.as_dict()) == request
    with pytest.raises(UsageError, match="'later'"):
        Request.from_dict({**request.as_dict(), "later": 1})
