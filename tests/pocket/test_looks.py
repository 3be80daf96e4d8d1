"""What captions say about people is true, varied and said in words that the new tokenizer knows."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from methods.pocket.world import (
    CELEBRITIES,
    VOCABULARY,
    Context,
    Person,
    caption,
    person_distance,
    sample_context,
    sample_person,
)
from methods.pocket.world.looks import (
    ATTRIBUTES,
    HAIR_CUTS,
    HAIR_LENGTHS,
    described_caption,
    description,
    look,
    words,
)
from methods.pocket.world.names import FIRST_NAMES, LAST_NAMES, NAMED
from methods.pocket.world.person import BEARDS, HAIR_COLOURS, HAIR_STYLES, IRIS_COLOURS, MARKS

PLAIN = Context(
    "studio", "t-shirt", "blue", "neutral", "none", "none", "front", "daylight", "portrait", "photo"
)


def somebody(**changes: object) -> Person:
    known = {
        "gender": "man", "hair_style": "short", "hair_colour": "ginger", "beard": "full", "iris": "green",
        "eye_size": 0.5, "mark": "freckles", "age": 0.1, "lip_colour": "natural", "lip_fullness": 0.5,
        "brow_thickness": 0.5, "face_width": 0.5, "face_length": 0.5, "jaw": 0.5, "makeup": "none",
        "nose_shape": "hooked", "skin": 0.0,
    }  # fmt: skip
    return replace(sample_person(1), **(known | changes))  # type: ignore[arg-type]


def test_a_description_says_what_is_there() -> None:
    assert description(somebody()) == (
        "a young man with short red hair, a full red beard, green eyes, very fair skin, "
        "freckles and a hooked nose"
    )
    assert description(somebody(age=0.9, beard="none"), 2) == "an old man with short red hair and green eyes"
    assert look(somebody(hair_style="bald"), "hair") == "a bald head"
    assert look(somebody(hair_style="afro", hair_colour="auburn"), "hair") == "an auburn afro"
    assert look(somebody(eye_size=0.9), "eyes") == "big green eyes"
    assert look(somebody(skin=1.0), "skin") == "dark brown skin"
    assert [look(somebody(beard="none", mark="none"), a) for a in ("beard", "mark", "brows", "face")] == [
        ""
    ] * 4


@pytest.mark.parametrize(
    ("field", "attribute", "values"),
    [
        ("hair_style", "hair", HAIR_STYLES), ("hair_colour", "hair", HAIR_COLOURS),
        ("beard", "beard", BEARDS), ("iris", "eyes", IRIS_COLOURS), ("mark", "mark", MARKS),
    ],
)  # fmt: skip
def test_different_people_are_described_differently(
    field: str, attribute: str, values: tuple[str, ...]
) -> None:
    said = [look(somebody(**{field: value}), attribute) for value in values]
    assert len(set(said)) == len(values)


def test_every_cut_has_a_length() -> None:
    assert list(HAIR_LENGTHS) == list(HAIR_CUTS) == list(HAIR_STYLES)


def test_captions_describe_people_in_half_of_the_cases_a_few_things_at_a_time() -> None:
    rng, known = np.random.default_rng(3), {*VOCABULARY, *words(), "mira", "solano"}
    person = somebody(age=0.4)
    every = [look(person, a) for a in ATTRIBUTES if look(person, a)]
    texts = [described_caption(person, sample_context(rng), rng, name="mira solano") for _ in range(800)]
    for text in texts:
        assert known.issuperset(re.findall("[a-z-]+", text)), text
    told = [t for t in texts if re.search(r"hair|beard|eyes|skin|freck|nose", t)]
    assert 0.44 < len(told) / len(texts) < 0.56
    counts = [sum(phrase in text for phrase in every) for text in told]
    assert max(counts) <= 4 and len({*told}) > 0.95 * len(told)


def test_eyes_behind_sunglasses_are_not_spoken_of() -> None:
    rng = np.random.default_rng(4)
    hidden = replace(PLAIN, accessory="sunglasses")
    texts = [described_caption(somebody(), hidden, rng, share=1.0) for _ in range(300)]
    assert not any("eyes" in text for text in texts)
    assert any("beard" in text for text in texts)


def test_captions_without_a_description_are_the_first_generations() -> None:
    """The drawn numbers of `caption`, on which committed results rest, do not move."""
    for seed in range(50):
        person, context = sample_person(seed), sample_context(np.random.default_rng(seed))
        mine, theirs = np.random.default_rng(seed), np.random.default_rng(seed)
        theirs.random()
        assert described_caption(person, context, mine, share=0.0) == caption(person, context, rng=theirs)


def test_names_are_four_hundred_pairs_and_the_old_ones_among_them() -> None:
    assert len(NAMED) == 400 and list(NAMED)[:80] == list(CELEBRITIES)
    assert all(NAMED[name] == person for name, person in CELEBRITIES.items())
    assert all(len(name.split()) == 2 for name in NAMED)
    assert not {*FIRST_NAMES} & {*LAST_NAMES}
    taken = {*VOCABULARY, *words()}
    assert not taken & {*FIRST_NAMES, *LAST_NAMES}  # a new name is no other word
    people = list(NAMED.values())
    nearest = [min(person_distance(people[i], p) for p in people[:i]) for i in range(350, 400)]
    assert min(nearest) > 0.3
