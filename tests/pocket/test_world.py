"""The rendered world: determinism, ground truth, independence of the factors, and the caption grammar."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from methods.pocket.world import (
    CELEBRITIES,
    FACTORS,
    VOCABULARY,
    Context,
    Person,
    caption,
    person_distance,
    render,
    sample_context,
    sample_person,
)
from methods.pocket.world.draw.clothing import CLOTHING_COLOURS
from methods.pocket.world.draw.head import EXPRESSIONS
from methods.pocket.world.person import _CELEBRITY_SEEDS, farthest_apart

PLAIN = Context(
    scene="studio", clothing="t-shirt", clothing_color="blue", expression="neutral", accessory="none",
    action="none", pose="front", light="daylight", framing="portrait", style="photo", nuisance=3,
)  # fmt: skip


def words(text: str) -> list[str]:
    return text.replace(",", "").split()


def test_factors_are_rich_enough():
    at_least = {"scene": 8, "clothing": 4, "clothing_color": 8, "expression": 6, "accessory": 6, "action": 4,
                "pose": 3, "light": 4, "framing": 3, "style": 4}  # fmt: skip
    assert set(FACTORS) == set(at_least)
    for factor, count in at_least.items():
        assert len([v for v in FACTORS[factor] if v != "none"]) >= count
        assert len(set(FACTORS[factor])) == len(FACTORS[factor])
    assert tuple(CLOTHING_COLOURS) == FACTORS["clothing_color"]
    assert tuple(EXPRESSIONS) == FACTORS["expression"]


def test_same_person_context_and_size_give_the_same_bytes():
    rng = np.random.default_rng(0)
    for style in FACTORS["style"]:
        person, context = sample_person(11), sample_context(rng, style=style)
        first, second = render(person, context), render(sample_person(11), context)
        assert first.pixels.tobytes() == second.pixels.tobytes()
        assert first.face_mask.tobytes() == second.face_mask.tobytes()
        assert np.array_equal(first.landmarks, second.landmarks)
    assert not np.array_equal(render(person, context).pixels, render(sample_person(12), context).pixels)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_truth_is_consistent(size: int):
    rng = np.random.default_rng(1)
    for seed in range(60):
        portrait = render(sample_person(seed), sample_context(rng), size)
        assert portrait.pixels.shape == (size, size, 3) and portrait.pixels.dtype == np.uint8
        assert portrait.face_mask.shape == (size, size) and portrait.face_mask.dtype == np.bool_
        x1, y1, x2, y2 = portrait.box
        assert 0 <= x1 < x2 <= size and 0 <= y1 < y2 <= size
        x, y = portrait.landmarks.T
        assert (x > x1).all() and (x < x2).all() and (y > y1).all() and (y < y2).all()
        assert x[0] < x[1] and x[3] < x[4] and max(y[0], y[1]) < y[2] < min(y[3], y[4])
        ys, xs = np.nonzero(portrait.face_mask)
        slack = size / 64
        assert xs.min() >= x1 - slack and xs.max() <= x2 + slack and ys.max() <= y2 + slack
        assert len(xs) > 0.35 * (x2 - x1) * (y2 - y1)


def test_faces_are_large_enough_in_every_framing():
    rng = np.random.default_rng(2)
    for framing, (low, high) in {"close-up": (52, 76), "portrait": (46, 66), "wide": (36, 53)}.items():
        for seed in range(25):
            box = render(sample_person(seed), sample_context(rng, framing=framing)).box
            assert low <= box[2] - box[0] <= high


def test_geometry_is_the_same_at_every_size():
    context = sample_context(np.random.default_rng(3), style="photo")
    small, large = render(sample_person(5), context, 128), render(sample_person(5), context, 512)
    assert np.allclose(small.landmarks * 4, large.landmarks, atol=1e-2)
    assert np.allclose(small.box * 4, large.box, atol=1e-2)
    shrunk = large.pixels.reshape(128, 4, 128, 4, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - small.pixels).mean() < 4.0


def test_eye_landmarks_lie_on_the_drawn_eyes():
    # white skin around, dark pupil within: the darkest spot near the landmark is at most a gaze away from it
    for pose in FACTORS["pose"]:
        portrait = render(
            replace(sample_person(5), skin=0.1, iris="dark", makeup="none"), replace(PLAIN, pose=pose)
        )
        grey = portrait.pixels.mean(axis=2)
        for x, y in portrait.landmarks[:2]:
            rows, columns = slice(round(y) - 1, round(y) + 3), slice(round(x) - 4, round(x) + 5)
            assert grey[rows, columns].min() < 70 < grey[round(y) + 9 : round(y) + 11, columns].mean()


def test_pose_left_turns_towards_the_left_edge():
    nose = {
        pose: render(sample_person(1), replace(PLAIN, pose=pose)).landmarks[2, 0] for pose in FACTORS["pose"]
    }
    assert nose["left"] + 4 < nose["front"] < nose["right"] - 4


def test_changing_only_the_scene_leaves_the_face_alone():
    for seed in range(10):
        portraits = [
            render(sample_person(seed), replace(PLAIN, nuisance=seed, scene=scene))
            for scene in FACTORS["scene"]
        ]
        mask = portraits[0].face_mask
        for other in portraits[1:]:
            assert np.array_equal(other.face_mask, mask)
            difference = np.abs(other.pixels.astype(int) - portraits[0].pixels)
            assert difference[mask].mean() < 1.5 < difference[~mask].mean()


@pytest.mark.parametrize("factor", sorted(FACTORS))
def test_every_value_of_a_factor_can_be_seen(factor: str):
    seen = {
        render(sample_person(2), replace(PLAIN, **{factor: value})).pixels.tobytes()
        for value in FACTORS[factor]
    }
    assert len(seen) == len(FACTORS[factor])


def test_hats_and_sunglasses_leave_the_mask():
    bare = render(sample_person(8), PLAIN).face_mask.sum()
    for accessory in ("hat", "sunglasses"):
        assert render(sample_person(8), replace(PLAIN, accessory=accessory)).face_mask.sum() < bare


def test_people_differ_and_survive_json():
    people = [sample_person(seed) for seed in range(200)]
    assert len(set(people)) == 200
    assert sample_person(17) == people[17]
    assert person_distance(people[0], people[0]) == 0.0
    assert 0.0 < person_distance(people[0], people[1]) == person_distance(people[1], people[0]) <= 1.0
    for person in people[:20]:
        assert Person.from_dict(json.loads(json.dumps(person.to_dict()))) == person
    assert not any(person.beard != "none" for person in people if person.gender == "woman")


def test_wrong_parameters_are_refused():
    good = sample_person(0).to_dict()
    for wrong in ({"gender": "cat"}, {"skin": 1.5}, {"tail": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Person.from_dict(good | wrong)
    with pytest.raises(ValueError, match="scene"):
        replace(PLAIN, scene="moon base")
    with pytest.raises(ValueError, match="nuisance"):
        Context.from_dict({name: values[0] for name, values in FACTORS.items()})
    with pytest.raises(ValueError, match="16"):
        render(sample_person(0), PLAIN, 8)


def test_celebrities_have_distinct_names_and_looks():
    assert len(CELEBRITIES) == 80
    names = [word for name in CELEBRITIES for word in name.split()]
    assert len(names) == len(set(names)) == 160
    assert all(name.isalpha() and name.islower() for name in names)
    people = list(CELEBRITIES.values())
    nearest = min(person_distance(a, b) for i, a in enumerate(people) for b in people[:i])
    usual = np.mean(
        [
            min(person_distance(sample_person(i), p) for p in map(sample_person, range(i)))
            for i in range(40, 80)
        ]
    )
    assert nearest > usual
    assert tuple(farthest_apart(80, range(1_000_000, 1_001_500))) == _CELEBRITY_SEEDS


def test_contexts_follow_the_stated_shares_and_keep_what_is_fixed():
    rng = np.random.default_rng(4)
    contexts = [sample_context(rng, scene="beach") for _ in range(2000)]
    assert {c.scene for c in contexts} == {"beach"}
    for factor, share in {"style": 0.6, "accessory": 0.25, "action": 0.45}.items():
        first = np.mean([getattr(c, factor) == FACTORS[factor][0] for c in contexts])
        assert abs(first - share) < 0.04
    assert {c.light for c in contexts} == set(FACTORS["light"])
    free = sample_context(np.random.default_rng(9))
    fixed = sample_context(np.random.default_rng(9), scene=free.scene, style="comic")
    assert fixed == replace(free, style="comic")
    assert Context.from_dict(json.loads(json.dumps(free.to_dict()))) == free


def test_canonical_caption():
    context = replace(
        PLAIN,
        expression="smiling",
        clothing="sweater",
        clothing_color="red",
        accessory="hat",
        action="balloon",
        pose="left",
        scene="beach",
        light="golden hour",
        framing="close-up",
    )
    woman = replace(sample_person(0), gender="woman")
    assert caption(woman, context) == (
        "a photo of a smiling woman wearing a red sweater and a hat, holding a balloon, turned left, "
        "on a beach, golden hour light, close-up"
    )
    assert caption(woman, PLAIN) == "a photo of a woman wearing a blue t-shirt, in a studio"
    assert (
        caption(woman, PLAIN, name="mira solano")
        == "a photo of mira solano wearing a blue t-shirt, in a studio"
    )


def test_captions_are_short_known_words_and_varied():
    rng, known, texts = np.random.default_rng(6), set(VOCABULARY), []
    names = list(CELEBRITIES)
    for seed in range(1500):
        person, context = sample_person(seed), sample_context(rng)
        name = names[seed % len(names)] if seed % 3 == 0 else None
        for text in (caption(person, context, name=name), caption(person, context, name=name, rng=rng)):
            assert text == text.lower() and len(words(text)) <= 40 and ",," not in text
            assert known.issuperset(words(text)), set(words(text)) - known
            assert name is None or name in text
            texts.append(text)
    assert len(set(texts)) > 2900
    assert known == {word for word in known if word.replace("-", "").isalpha()}


def test_random_captions_omit_and_rename():
    rng, person = np.random.default_rng(7), replace(sample_person(0), gender="man")
    context = replace(PLAIN, scene="beach", light="moonlight", pose="left")
    texts = [caption(person, context, rng=rng) for _ in range(1500)]
    share = {word: np.mean([word in words(text) for text in texts]) for word in ("man", "woman", "person")}
    assert share["woman"] == 0 and share["person"] == pytest.approx(0.25, abs=0.04)
    assert share["man"] + share["person"] == pytest.approx(1.0)
    said = np.mean([any(word in words(text) for word in ("beach", "sea")) for text in texts])
    assert 0.85 <= said < 1.0
    assert all(text.startswith("a p") for text in texts)


def test_random_caption_is_reproducible():
    person, context = sample_person(3), sample_context(np.random.default_rng(8))
    first, again = (caption(person, context, rng=np.random.default_rng(5)) for _ in range(2))
    assert first == again
