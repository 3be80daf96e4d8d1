"""Identity metrics: against insightface by hand, and what happens without a face or with several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from metric_samples import BLANK, photograph, portrait, sample, scores, text, truth, unit, value, view
from PIL import Image

from benchmarks.metrics.base import Score
from benchmarks.metrics.identity import FollowedByClip, IdFollowed, IdP, IdSim
from benchmarks.metrics.metric import Failure, NoScore
from benchmarks.metrics.models.faces import FaceFound
from methods.faces import load_encoder

FACES = "id_sim,id_sim_zero,id_sim_same,face_found,id_p,id_followed"


def found(embedding: np.ndarray, count: int = 1) -> FaceFound:
    return FaceFound(np.zeros(4, np.float32), np.zeros((5, 2), np.float32), embedding, count)


def two(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (256, 128))
    both.paste(left, (0, 0))
    both.paste(right, (128, 0))
    return both


@pytest.mark.parametrize(("name", "pack"), [("id_sim", "pocket-scoring"), ("id_sim_same", "pocket")])
def test_similarity_equals_the_recogniser_by_hand(name: str, pack: str) -> None:
    encoder = load_encoder(pack)
    pictures = portrait(1), portrait(1, scene="forest", expression="smiling")
    embeddings = []
    for picture in pictures:
        rgb = np.asarray(picture)
        descriptor = encoder.embed(rgb, encoder.detect(rgb)[0].landmarks)
        embeddings.append(descriptor / np.linalg.norm(descriptor))
    one = sample(pictures[1], reference=pictures[0])
    assert value(name, one) == pytest.approx(float(embeddings[0] @ embeddings[1]), abs=1e-5)


def test_the_same_picture_scores_one_and_another_person_less() -> None:
    same, other = scores(
        "id_sim", sample(portrait(2), reference=portrait(2)), sample(portrait(3), reference=portrait(2))
    )
    assert same["id_sim"].value == pytest.approx(1.0, abs=1e-5)
    assert other["id_sim"].value is not None and other["id_sim"].value < 0.6


def test_a_miss_leaves_one_mean_and_counts_zero_in_the_other() -> None:
    one = scores(FACES, sample(BLANK, reference=portrait(), truth={"style": "photo"}))[0]
    assert (one["id_sim"].value, one["id_sim"].status) == (None, "no_face_gen")
    assert (one["id_sim_zero"].value, one["id_sim_zero"].status) == (0.0, "no_face_gen")
    assert (one["id_sim_same"].value, one["id_sim_same"].status) == (None, "no_face_gen")
    assert (one["face_found"].value, one["face_found"].status) == (0.0, "no_face_gen")
    assert one["id_p"].value == 0.0


def test_no_face_in_the_reference_is_its_own_status() -> None:
    one = scores(FACES, sample(portrait(), reference=BLANK, truth={"style": "photo"}))[0]
    for name in ("id_sim", "id_sim_zero", "id_sim_same", "id_p", "id_followed"):
        assert (one[name].value, one[name].status) == (None, "no_face_ref"), name
    assert one["face_found"].value == 1.0


def test_several_faces_are_scored_and_said() -> None:
    picture = two(portrait(4), portrait(5, framing="wide"))
    one = scores("id_sim", sample(picture, reference=portrait(4)))[0]["id_sim"]
    assert one.status == "multi_face" and "2 faces" in one.reason
    assert one.value == pytest.approx(1.0, abs=0.1)  # the larger of the two


def test_ibench_takes_the_first_face_whatever_its_size() -> None:
    encoder = load_encoder("pocket-scoring")
    picture = two(portrait(4), portrait(5, framing="wide"))
    rgb, reference = np.asarray(picture), np.asarray(portrait(4))

    def embedded(pixels: np.ndarray) -> np.ndarray:
        descriptor = encoder.embed(pixels, encoder.detect(pixels)[0].landmarks)
        return descriptor / np.linalg.norm(descriptor)

    expected = float(embedded(rgb) @ embedded(reference))
    one = sample(picture, reference=portrait(4), baseline=portrait(6), baseline_id="b")
    both = scores("ibench_facesim,ibench_antifacesim", one)[0]
    assert both["ibench_facesim"].value == pytest.approx(expected, abs=1e-5)
    assert both["ibench_facesim"].status == "ok"  # IBench does not notice
    anti = float(embedded(np.asarray(portrait(6))) @ embedded(reference))
    assert both["ibench_antifacesim"].value == pytest.approx(anti, abs=1e-5)
    lost = scores("ibench_facesim", sample(BLANK, reference=portrait(4)))[0]["ibench_facesim"]
    assert (lost.value, lost.status) == (None, "no_face_gen")


def test_the_floor_is_what_doing_nothing_scores() -> None:
    one = sample(portrait(1), reference=portrait(2), baseline=portrait(2), baseline_id="b")
    blank = sample(portrait(1), reference=portrait(2), baseline=BLANK, baseline_id="c")
    first, second = scores("id_floor", one, blank)
    assert first["id_floor"].value == pytest.approx(1.0, abs=1e-5)
    assert (second["id_floor"].value, second["id_floor"].status) == (None, "ok")


def test_id_p_asks_the_prompt_first() -> None:
    """Known embeddings and CLIP features; 0.23 is the threshold for photographs."""
    a, b = unit(1.0, 0.0), unit(3.0, 4.0)

    def given(clip_t: float, **features: Any) -> Any:
        own = {"picture:face": found(a), "reference:face": found(b), "picture:clip": unit(1.0, 0.0)}
        return view({**own, "text:clip_text": np.array([clip_t, (1 - clip_t**2) ** 0.5]), **features})

    judge = FollowedByClip()
    assert IdP(judge).score(given(0.24)).value == pytest.approx(0.6)
    assert IdP(judge).score(given(0.22)).value == 0.0
    lost = IdP(judge).score(given(0.24, **{"picture:face": Failure("no_face", "none")}))
    assert (lost.value, lost.status) == (0.0, "no_face_gen")
    assert IdFollowed(judge).score(given(0.24)).value == pytest.approx(0.6)
    with pytest.raises(NoScore, match="not followed"):
        IdFollowed(judge).score(given(0.22))
    assert "0.23" in IdP(judge).card.definition


def test_the_pocket_world_knows_whether_a_prompt_is_followed() -> None:
    picture = portrait(1, scene="forest")
    followed = sample(picture, reference=picture, truth={"scene": "forest"}, prompt=text(1))
    not_followed = sample(portrait(1), reference=picture, truth={"scene": "forest"}, prompt=text(1))
    unknown = sample(portrait(1, style="sketch"), reference=picture)
    first, second, third = scores("id_p,id_followed", followed, not_followed, unknown)
    assert first["id_p"].value == pytest.approx(1.0, abs=1e-5) == first["id_followed"].value
    assert (second["id_p"].value, second["id_followed"].value) == (0.0, None)
    assert (third["id_p"].value, third["id_p"].status) == (None, "ok")


def test_metrics_of_people_are_silent_where_the_prompt_mentions_none() -> None:
    one = scores(FACES, sample(BLANK, reference=portrait(), category="Unrelated", truth=truth()))[0]
    assert {score.value for score in one.values()} == {None}
    assert {score.status for score in one.values()} == {"ok"}


def test_a_photograph_is_not_judged_by_models_of_rendered_people() -> None:
    names = "id_sim,id_sim_zero,id_sim_same,face_found,id_rank"
    for one in (sample(photograph(), reference=portrait()), sample(portrait(), reference=photograph())):
        found = scores(names, one)[0]
        for name in names.split(","):
            if name == "face_found" and one.reference is photograph():
                assert found[name] == Score(1.0)
            else:
                assert found[name].status == "unavailable" and "photograph" in found[name].reason, name
    assert scores("id_sim", sample(portrait(), reference=portrait()))[0]["id_sim"].status == "ok"


def test_what_the_pocket_backbone_made_is_judged_however_it_came_out() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8))
    made = scores("id_sim_zero,face_found", sample(noise, reference=portrait(), rendered=True))[0]
    assert made["id_sim_zero"].value == made["face_found"].value == 0.0
    given = scores("id_sim_zero,face_found", sample(noise, reference=portrait()))[0]
    assert {score.status for score in given.values()} == {"unavailable"}


def test_status_and_face_found_of_a_row_agree() -> None:
    from benchmarks.verdict import judge

    names = ["id_sim_zero", "ibench_facediv1", "face_found"]
    lost = scores(",".join(names), sample(portrait(), reference=portrait(), baseline=BLANK, rendered=True))[0]
    assert judge(names, lost).status == "ok" and judge(names, lost).metrics["face_found"] == 1.0
    blank = scores(",".join(names), sample(BLANK, reference=portrait(), baseline=BLANK, rendered=True))[0]
    assert judge(names, blank).status == "no_face_gen" and judge(names, blank).metrics["face_found"] == 0.0
    alone = scores("face_found", sample(BLANK, rendered=True))[0]
    assert judge(["face_found"], alone).status == "no_face_gen"
    missed = {"face_found": Score(1.0), "ibench_facesim": Score(None, "no_face_gen", "as it is, no face")}
    assert judge(list(missed), missed).status == "ok"
    assert judge(list(missed), missed).notes == {"ibench_facesim": "as it is, no face"}


def test_a_tiny_face_is_no_face() -> None:
    picture = Image.new("RGB", (512, 512), (70, 90, 70))
    picture.paste(portrait(1).resize((40, 40)), (200, 200))
    one = scores("face_found,id_sim", sample(picture, reference=portrait(1)))[0]
    assert one["face_found"].value == 0.0
    assert one["id_sim"].status == "no_face_gen"


def test_dlib_is_scored_by_its_distance() -> None:
    pytest.importorskip("dlib")
    from skimage.data import astronaut

    shown = Image.fromarray(astronaut()[:300, 60:360])
    mirrored = shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    encoder = load_encoder("dlib")
    first, second = (
        encoder.embed(rgb, encoder.detect(rgb)[0].landmarks) for rgb in map(np.asarray, (shown, mirrored))
    )
    found = scores("id_sim,ibench_facesim", sample(mirrored, reference=shown), family="sd1", face="dlib")[0]
    assert found["id_sim"].value == pytest.approx(1 - float(np.linalg.norm(first - second)), abs=1e-4)
    cosine = float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))
    assert found["ibench_facesim"].value == pytest.approx(cosine, abs=1e-4)  # a cosine by definition


def test_the_formula_is_a_cosine() -> None:
    score = IdSim().score(
        view({"picture:face": found(unit(3.0, 4.0)), "reference:face": found(unit(0.0, 1.0))})
    )
    assert score.value == pytest.approx(0.8)
