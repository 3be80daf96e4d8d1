"""Attributes, leakage and consistency on renders whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from metric_samples import portrait, sample, scores, truth, unit, view
from PIL import Image

from benchmarks.metrics.attributes import Counterfactual
from benchmarks.metrics.leakage import BackgroundLeakage, head_mask
from benchmarks.metrics.metric import Failure, NoScore, View
from benchmarks.metrics.models.faces import FaceFound
from methods.pocket.world import FACTORS

FOREST = {"scene": "forest", "clothing_color": "red", "style": "photo"}


def test_attributes_of_renders_are_what_was_rendered() -> None:
    picture = portrait(3, scene="forest", clothing_color="red")
    right = scores("attr,attr_scene,attr_clothing_color,attr_light", sample(picture, truth=FOREST))[0]
    assert (right["attr"].value, right["attr_scene"].value, right["attr_clothing_color"].value) == (1, 1, 1)
    assert (right["attr_light"].value, right["attr_light"].status) == (None, "ok")  # the prompt names none
    wrong = scores("attr,attr_scene", sample(picture, truth=FOREST | {"scene": "city"}))[0]
    assert wrong["attr"].value == pytest.approx(2 / 3)
    assert wrong["attr_scene"].value == 0.0


def test_a_picture_of_another_size_is_seen_too() -> None:
    large = portrait(3, scene="forest").resize((256, 256), Image.Resampling.BICUBIC)
    assert scores("attr_scene", sample(large, truth={"scene": "forest"}))[0]["attr_scene"].value == 1.0


def test_leakage_is_found_in_the_factor_that_leaked() -> None:
    """The prompt asks for a beach, the reference was taken in the forest; the method pastes the forest."""
    reference = truth(scene="forest", light="neon")
    wanted = truth(scene="beach")
    given: dict[str, Any] = {
        "baseline": portrait(4, scene="beach"),
        "truth": wanted,
        "reference_truth": reference,
    }
    leaky = sample(portrait(3, scene="forest"), baseline_id="b", **given)
    clean = sample(portrait(3, scene="beach"), baseline_id="b", **given)
    names = "leak,leak_scene,leak_light,leak_style"
    first, second = scores(names, leaky, clean)
    assert (first["leak_scene"].value, first["leak_light"].value, first["leak"].value) == (1.0, 0.0, 0.5)
    assert (second["leak_scene"].value, second["leak"].value) == (0.0, 0.0)
    assert first["leak_style"].value is None  # the prompt asks for the reference's style: nothing to tell


def test_what_the_plain_backbone_shows_anyway_is_no_leakage() -> None:
    forest = portrait(3, scene="forest")
    one = sample(forest, baseline=forest, baseline_id="b", truth={}, reference_truth={"scene": "forest"})
    assert scores("leak_scene", one)[0]["leak_scene"].value == 0.0
    less = sample(
        portrait(3), baseline=forest, baseline_id="c", truth={}, reference_truth={"scene": "forest"}
    )
    assert scores("leak_scene", less)[0]["leak_scene"].value == -1.0


def test_every_factor_of_the_world_has_its_metrics() -> None:
    from benchmarks.metrics.catalogue import metrics

    assert {f"attr_{factor}" for factor in FACTORS} | {f"leak_{factor}" for factor in FACTORS} <= set(
        metrics()
    )


# ------------------------------------------------------------------ background
def face(x1: float, y1: float, x2: float, y2: float) -> FaceFound:
    return FaceFound(np.array([x1, y1, x2, y2], np.float32), np.zeros((5, 2), np.float32), unit(1.0), 1)


def test_the_head_is_the_grown_box() -> None:
    mask = head_mask([np.array([40.0, 50.0, 60.0, 80.0])], 128, 128)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert (columns[0], columns[-1] + 1) == (30, 70)  # 20 wide: 10 to each side
    assert (rows[0], rows[-1] + 1) == (26, 92)  # 30 high: 24 up, 12 down


def test_background_difference_by_hand() -> None:
    plain = np.full((100, 100, 3), 100, np.uint8)
    made = plain.copy()
    made[17:39, 20:40] = 255  # the head of a face at 25..35: free
    made[80:100, :] = 151  # outside: 51 of 255 on 20 of 100 rows
    features = {"picture:face": face(25, 25, 35, 35), "baseline:face": Failure("no_face", "none")}
    one = View(sample(Image.fromarray(made), baseline=Image.fromarray(plain)), features)
    outside = 100 * 100 - 20 * 22
    assert BackgroundLeakage().score(one) == pytest.approx(0.2 * 2000 / outside, abs=1e-6)


def test_identity_alone_leaks_less_than_another_scene() -> None:
    given = {"baseline": portrait(4, scene="city"), "baseline_id": "b"}
    same, other = (
        scores("background_leakage", sample(portrait(5, scene=scene), **given))[0]["background_leakage"].value
        for scene in ("city", "beach")
    )
    assert same is not None and other is not None and same < 0.5 * other


def test_a_face_that_fills_the_picture_leaves_no_background() -> None:
    close = portrait(4).crop((40, 30, 90, 90)).resize((128, 128))
    one = View(
        sample(close, baseline=close, baseline_id="c"),
        {"picture:face": face(10, 10, 120, 120), "baseline:face": face(10, 10, 120, 120)},
    )
    with pytest.raises(NoScore, match="fills the picture"):
        BackgroundLeakage().score(one)


# ------------------------------------------------------------------ counterfactual
def test_counterfactual_is_the_mean_cosine_over_references() -> None:
    state = Counterfactual().begin()
    for person, reference, feature in (
        ("ann", "r1", unit(1.0, 0.0)),
        ("ann", "r2", unit(0.0, 1.0)),
        ("bob", "r3", unit(3.0, 4.0)),
        ("bob", "r4", unit(3.0, 4.0)),
        ("cid", "r5", unit(1.0, 0.0)),  # one reference only: no pair
    ):
        state.add(view({"picture:clip": feature}, identity=person, reference_id=reference, baseline_id="b"))
    score = state.result()
    assert score.value == pytest.approx(0.5) and "2 pairs" in score.reason  # type: ignore[union-attr]
    nothing = Counterfactual().begin().result()
    assert nothing.value is None and nothing.status == "ok"  # type: ignore[union-attr]
