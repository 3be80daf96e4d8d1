"""Suites: the shipped ones, a user's own, and a checkout of the public benchmark."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from checkout import HOME, face, write_checkout, write_list

from benchmarks.metrics.metric import UNRELATED
from benchmarks.people import gather
from benchmarks.store import RunFolder
from benchmarks.suites import CATEGORIES, load_suite, read_checkout, read_suite, suite_names
from benchmarks.suites.ibench import template
from methods.errors import UsageError
from methods.pocket.references import VARIED, counterfactual
from methods.pocket.world import FACTORS
from methods.pocket.world.captions import ACCESSORIES, ACTIONS, CLOTHES, COLOURS, SCENES
from methods.prompts import expand

OWN = """
name: mine
description: mine
identities: {people: [{picture: anna.png, noun: woman}, {pocket: 7, context: {scene: beach}}]}
prompts: {few: ["a {person}", {text: "a {person} at night", category: Background}]}
"""


@pytest.mark.parametrize("name", suite_names())
def test_shipped_suites_are_sound(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name and suite.pairs > 0
    for one in suite.sets:
        assert all(person.person is not None and person.person >= 10_000_000 for person in one.identities)
        assert len({prompt.id for prompt in one.prompts}) == len(one.prompts)
        for prompt in one.prompts:
            text = expand(prompt.text, "woman").lower()
            for factor, phrases in (
                ("scene", SCENES), ("clothing", CLOTHES), ("clothing_color", COLOURS),
                ("accessory", ACCESSORIES), ("action", ACTIONS),
            ):  # fmt: skip
                if factor in prompt.truth:
                    assert any(words in text for words in phrases[prompt.truth[factor]]), (prompt.id, factor)


def test_the_short_prompts_have_the_published_taxonomy() -> None:
    short = next(one for one in load_suite("ibench").sets if one.name == "pocket12_short")
    counts = Counter(prompt.category for prompt in short.prompts)
    assert counts == dict(zip(CATEGORIES, (5, 5, 4, 2, 2, 1, 1, 1), strict=True))
    assert {prompt.kind for one in load_suite("ibench").sets for prompt in one.prompts} == {
        "short", "long", "action", "typemovie",
    }  # fmt: skip


def test_counterfactual_references_differ_in_everything_but_the_person() -> None:
    first, second, _ = load_suite("pocket").sets
    for one, other in zip(first.identities, second.identities, strict=True):
        assert one.person == other.person and one.name == other.name
        assert {factor for factor in FACTORS if one.truth[factor] != other.truth[factor]} == set(VARIED)
    assert counterfactual(3, 0) == counterfactual(3, 0) != counterfactual(4, 0)


def test_prompts_about_nobody_name_nobody() -> None:
    (unrelated,) = load_suite("pocket", sets=["unrelated"]).sets
    assert {prompt.category.lower() for prompt in unrelated.prompts} == {UNRELATED}
    assert all(expand(prompt.text, "woman") == expand(prompt.text, "man") for prompt in unrelated.prompts)


def test_a_users_suite_is_read_beside_its_pictures(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    suite = load_suite(str(tmp_path / "own.yaml"))
    (only,) = suite.sets
    anna, seven = only.identities
    assert (anna.name, anna.picture, anna.noun) == ("anna.png", str(tmp_path / "anna.png"), "woman")
    assert (seven.person, seven.truth["scene"]) == (7, "beach")
    assert [prompt.id for prompt in only.prompts] == ["few-000", "few-001"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("description:", "descripton:", "Did you mean 'description'?"),
        ("scene: beach", "scene: beech", "beech"),
        ("noun: woman", "noun: woman, pocket: 3", "either"),
        ("picture: anna.png, noun: woman", "noun: woman", "either"),
        ('"a {person}"', '"a {persn}"', "persn"),
        ("pocket: 7", "pocket: -7", "-7"),
        ("few: [", "few: [{text: x, truth: {scen: beach}},", "Did you mean 'scene'?"),
        ("few: [", "few: [{text: x, id: few-001},", "few-001"),
        ("name: mine", "name: mine\nsets: [{identities: people, prompts: fw}]", "Did you mean 'few'?"),
        ("name: mine", "name: mine\nseeds: []", "nothing to sample"),
        ("name: mine", "name: mine\nname: yours", "'name' is given twice"),
        ("name: mine", "name: mine\nlimit: 0", "limit is 0; it must be at least 1"),
        ("name: mine", "name: mine\nlimit: -2", "limit is -2"),
        ("name: mine", "name: mine\nsteps: 0", "steps is 0"),
        ("name: mine", "name: mine\nsteps: 1000000", "steps is 1000000; it must be at most 1000"),
        ("name: mine", "name: mine\nsize: [7, 7]", "size[0] is 7; it must be at least 8"),
        ("name: mine", "name: mine\nsize: [1000000, 8]", "size[0] is 1000000; it must be at most 8192"),
        ("name: mine", "name: mine\nseeds: [-1]", "seeds[0] is -1"),
        ("name: mine", "name: mine\nguidance: .nan", "a finite number"),
        ("name: mine", "name: mine\nguidance: .inf", "a finite number"),
        ("scene: beach", "scene: 2020-99-99", "2020-99-99"),
    ],
)
def test_mistakes_in_a_suite_are_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(OWN.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        read_suite(file)
    assert said in str(caught.value)


def test_unknown_suites_and_sets() -> None:
    with pytest.raises(UsageError, match="Did you mean 'ibench'"):
        load_suite("ibnch")
    with pytest.raises(UsageError, match="pocket12_shrt"):
        load_suite("ibench", sets=["pocket12_shrt"])
    with pytest.raises(UsageError, match="no --data"):
        load_suite("smoke", data="somewhere")
    with pytest.raises(UsageError):
        load_suite("../suites/smoke")


@pytest.mark.parametrize(
    ("published", "ours"),
    [
        ("[portrait,] a {person} wearing a hat", "a {person} wearing a hat"),
        ("[portrait,]3D, cute", "3D, cute"),
        ("portrait of {x} and {person}", "portrait of {{x}} and {person}"),
        ("  a  {person}\n[one][two] ", "a {person}"),
    ],
)
def test_published_templates(published: str, ours: str) -> None:
    assert template(published) == ours
    assert "{person}" not in expand(template(published), "woman")


def test_a_checkout_is_read_as_it_is(tmp_path: Path) -> None:
    root = write_checkout(tmp_path / "IBench")
    suite = load_suite("ibench", data=root)
    assert [one.name for one in suite.sets] == ["unsplash50_short", "chineseid_longer"]
    short, longer = suite.sets
    assert [prompt.text for prompt in short.prompts] == [
        "a {person} wearing a hat",
        "with a {{sunset}} behind",
    ]
    assert [prompt.category for prompt in short.prompts] == ["Accessory", "Background"]
    assert [prompt.kind for prompt in longer.prompts] == ["long"]
    (anna,) = short.identities
    assert anna.picture is not None and Path(anna.picture).read_bytes() == face(10_000_404)
    first, second, gone, broken, outside = longer.identities
    assert [person.noun for person in longer.identities] == ["man", "woman", "woman", "person", "woman"]
    assert second.picture is not None and Path(second.picture).read_bytes() == face(10_000_402)
    assert first.picture and broken.picture and not first.problem and not broken.problem
    assert gone.picture is None and "gone.jpg" in gone.problem
    assert outside.picture is None and outside.problem
    assert HOME not in str(first.picture)


def test_paths_of_another_system_name_the_same_file(tmp_path: Path) -> None:
    root = write_checkout(tmp_path / "IBench")
    listed = "C:\\Users\\x\\IBench\\data\\images\\unsplash50\\anna.png"
    write_list(root / "data" / "images" / "unsplash50_images.json", [{"num": 0, "id": listed}])
    (anna,) = load_suite("ibench", data=root, sets=["unsplash50_short"]).sets[0].identities
    assert anna.name == "unsplash50/anna.png"
    assert anna.picture is not None and Path(anna.picture).read_bytes() == face(10_000_404)


def test_a_limit_reads_the_pictures_of_those_who_are_chosen(tmp_path: Path) -> None:
    suite = load_suite("ibench", data=write_checkout(tmp_path / "IBench"))
    folder = RunFolder(tmp_path / "run")
    people = gather(suite, folder, 1)
    read = [one for group in people.values() for one in group if one is not None and one.reference]
    assert len(read) == len(list((folder.path / "references").iterdir())) <= len(suite.sets)


def test_other_sets_of_a_checkout(tmp_path: Path) -> None:
    root = write_checkout(tmp_path / "IBench")
    base = load_suite("ibench")
    (one,) = read_checkout(root, base, ["chineseid:unsplash50"]).sets
    assert (one.name, len(one.identities), len(one.prompts)) == ("chineseid_unsplash50", 5, 2)
    with pytest.raises(UsageError, match="generateid_typemovie"):
        read_checkout(root, base, ["generateid_typemovie"])
    with pytest.raises(UsageError, match="no checkout"):
        read_checkout(tmp_path, base)
    (root / "data" / "prompts" / "unsplash50_template.json").write_text("{}")
    with pytest.raises(UsageError, match="has no 'datas'"):
        read_checkout(root, base)
