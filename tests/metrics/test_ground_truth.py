"""What the pocket world knows: the asked-for picture, copies, and look-alikes. Known answers for each."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metric_samples import BLANK, FIRST, portrait, sample, scores, unit, value, view
from test_identity import found

from benchmarks.metrics.evaluate import Evaluator
from benchmarks.metrics.metric import Failure, NoScore
from benchmarks.metrics.models import gallery
from benchmarks.metrics.models.zoo import roles, zoo
from benchmarks.metrics.truth import CopyPaste, IdRank, angle, copied
from benchmarks.targets import target_of
from methods.images import pixels_hash
from methods.paths import pocket_dir

A, B, BETWEEN = unit(1.0, 0.0, 0.0), unit(0.0, 1.0, 0.0), unit(1.0, 1.0, 0.0)


def test_a_copy_is_one_the_truth_minus_one_and_halfway_nothing() -> None:
    assert copied(A, truth=B, reference=A) == pytest.approx(1.0)
    assert copied(B, truth=B, reference=A) == pytest.approx(-1.0)
    assert copied(BETWEEN, truth=B, reference=A) == pytest.approx(0.0)
    assert copied(unit(0.0, 0.0, 1.0), truth=B, reference=A) == pytest.approx(0.0)
    assert copied(B, truth=A, reference=A) == 0.0  # the truth is the reference
    third = unit(np.cos(np.pi / 6), np.sin(np.pi / 6), 0.0)  # 30 of the 90 degrees away from the reference
    assert copied(third, truth=B, reference=A) == pytest.approx(1 / 3)
    assert angle(A, BETWEEN) == pytest.approx(np.pi / 4) and angle(A, -A) == pytest.approx(np.pi)
    assert angle(A, unit(1.0, 1e-5, 0.0)) == pytest.approx(1e-5, rel=1e-2)


def asked(picture: Any, person: int = 1, **factors: str) -> Any:
    given = {"style": "photo", **factors}
    target = target_of(FIRST + person, given, 128)
    return sample(picture, reference=portrait(person, scene="forest"), truth=given, **target)


def test_the_truth_and_the_reference_themselves_on_renders() -> None:
    wanted = {"scene": "beach", "expression": "laughing"}
    truth = asked(BLANK, **wanted).target()
    perfect, copy = asked(truth, **wanted), asked(portrait(1, scene="forest"), **wanted)
    stranger = asked(portrait(5, scene="beach", expression="laughing"), **wanted)
    names = "sim_gt,copy_paste,id_sim"
    first, second, third = scores(names, perfect, copy, stranger)
    assert first["sim_gt"].value == pytest.approx(1.0, abs=1e-5)
    assert first["copy_paste"].value == pytest.approx(-1.0, abs=1e-3)
    assert second["copy_paste"].value == pytest.approx(1.0, abs=1e-3)
    assert second["id_sim"].value == pytest.approx(1.0, abs=1e-5)
    assert third["sim_gt"].value is not None and third["sim_gt"].value < 0.6


def test_the_asked_for_picture_shows_this_person_as_the_prompt_says() -> None:
    from benchmarks.metrics.models.probes import Probed

    factors = {"scene": "library", "clothing_color": "red", "style": "photo", "expression": "sad"}
    shown = target_of(FIRST + 3, factors, 256)
    picture = shown["target"]()
    assert picture.size == (256, 256)
    assert pixels_hash(picture) == pixels_hash(target_of(FIRST + 3, factors, 256)["target"]())
    seen = Probed("pocket").compute([("x", picture)])[0]
    assert {name: seen[name] for name in factors} == factors
    assert target_of(None, factors, 256) == {} == target_of(FIRST, {}, 256)
    other = target_of(FIRST + 3, {**factors, "scene": "city"}, 256)
    assert other["target_id"] != shown["target_id"]


def test_without_a_truth_there_is_no_number_and_a_reason() -> None:
    plain = scores("sim_gt,copy_paste", sample(portrait(1), reference=portrait(1)))[0]
    for score in plain.values():
        assert (score.value, score.status) == (None, "ok") and "asked-for picture" in score.reason
    hidden = view({"picture:face": found(A), "target:face": Failure("no_face", "none")})
    with pytest.raises(NoScore, match="no face is found in the asked-for"):
        CopyPaste().score(hidden)


def test_a_target_is_rendered_once_and_only_for_metrics_that_ask() -> None:
    made: list[int] = []

    def make(number: int) -> Any:
        made.append(number)
        return portrait(number)

    one = replace(sample(portrait(1), reference=portrait(1)), target=partial(make, 1), target_id="one")
    Evaluator("id_sim", backbone_family="pocket").score([one])
    assert made == []
    evaluator = Evaluator("sim_gt,copy_paste", backbone_family="pocket")
    evaluator.score([one, replace(one, id="b")])
    evaluator.score([replace(one, id="c")])
    assert made == [1]


def test_rank_counts_those_who_are_more_like_the_picture() -> None:
    def rank(face: np.ndarray, others: list[np.ndarray]) -> float | None:
        own = {"picture:face": found(face), "reference:face": found(A)}
        return IdRank().score(view({**own, "reference:look_alikes": [found(one) for one in others]})).value

    assert rank(A, [B, BETWEEN]) == 1.0
    assert rank(BETWEEN, [B, BETWEEN]) == 2.0
    assert rank(B, [B, BETWEEN, unit(0.0, 0.0, 1.0)]) == 3.0


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gallery of 30 rendered people and 10 look-alikes instead of 500 and 100."""
    monkeypatch.setattr(gallery, "RENDERED", 30)
    monkeypatch.setattr(gallery, "LOOK_ALIKES", 10)


def test_a_render_of_the_person_is_first_and_a_look_alike_is_not(
    few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPID_CACHE", str(tmp_path))
    told: list[str] = []
    one = sample(portrait(1, scene="city"), reference=portrait(1))
    for _ in range(2):  # the second time the gallery is in the cache, and nothing is told
        evaluator = Evaluator("id_rank", backbone_family="pocket", note=told.append)
        assert evaluator.score([one])[0]["id_rank"].value == 1.0
    assert told == ["pocket-scoring embeds a gallery of 30 rendered people: once, then it is in the cache"]
    encoders = zoo("pocket")
    look_alikes = encoders["look_alikes"]
    nearest = look_alikes.compute([("r", portrait(1))])[0]
    face = encoders["face"].compute([("r", portrait(1))])[0]
    alike = [face.similarity(one) for one in nearest]
    assert len(nearest) == 10 and alike == sorted(alike, reverse=True)
    rest = [face.similarity(one) for one in look_alikes.gallery]  # type: ignore[attr-defined]
    assert sorted(rest, reverse=True)[:10] == alike
    again = zoo("pocket")["look_alikes"].gallery  # type: ignore[attr-defined]
    np.testing.assert_array_equal(
        again[7].embedding,
        look_alikes.gallery[7].embedding,  # type: ignore[attr-defined]
    )
    lost = scores("id_rank", sample(portrait(1), reference=BLANK))[0]["id_rank"]
    assert (lost.value, lost.status) == (None, "no_face_ref")


def test_a_folder_is_a_gallery_without_the_person_themself(few: None, tmp_path: Path) -> None:
    folder = tmp_path / "people"
    folder.mkdir()
    for number in range(12):
        portrait(40 + number).save(folder / f"{number}.png")
    BLANK.save(folder / "nobody.png")
    portrait(1).save(folder / "reference.png")
    one = sample(portrait(45), reference=portrait(1))
    assert value("id_rank", one, gallery=str(folder)) >= 2.0
    chosen = zoo("pocket", {"gallery": str(folder)})["look_alikes"]
    nearest = chosen.compute([("r", portrait(1))])[0]
    assert len(nearest) == 10 and max(one.cosine(nearest[0]) for one in nearest[1:]) < 0.999
    for name in list(folder.iterdir())[:6]:
        name.unlink()
    evaluator = Evaluator("id_rank", backbone_family="pocket", models={"gallery": str(folder)})
    assert "fewer than 10 pictures" in evaluator.unavailable["id_rank"]
    packs = {"face": "pocket-scoring", "face-conditioning": "pocket"}
    absent = Evaluator("id_rank", backbone_family="sd1", models=packs).unavailable["id_rank"]
    assert "no gallery" in absent and "gallery=FOLDER" in absent


def test_who_conditioned_the_pictures_never_judges_them(tmp_path: Path, monkeypatch: Any) -> None:
    names = "id_sim,id_sim_zero,id_floor,id_p,sim_gt,copy_paste,id_rank"
    same = Evaluator(names, backbone_family="pocket", models={"face": "pocket"})
    assert set(same.unavailable) == set(names.split(","))
    assert "pocket conditioned the pictures" in same.unavailable["id_sim"]
    copy = str(pocket_dir() / "face")  # the same files under another name
    other = Evaluator(names, backbone_family="pocket", models={"face": copy})
    assert set(other.unavailable) == set(names.split(","))
    still = Evaluator("face_found,id_sim_same", backbone_family="pocket", models={"face": "pocket"})
    assert not still.unavailable  # where a face is, and what flatters by name
    assert not Evaluator(names, backbone_family="pocket").unavailable
    assert roles("pocket", {"face-conditioning": "pocket-scoring"})["face"] == "pocket"
    monkeypatch.setenv("HOME", str(tmp_path))  # no insightface packs
    assert roles("sd1", {"face-conditioning": "insightface:antelopev2"})["face"] == "insightface:buffalo_l"
    assert roles("sd1", {"face-conditioning": "dlib"})["face"] == "insightface:antelopev2"


def test_the_second_recogniser_is_a_third_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no third recogniser" in Evaluator("id_second", backbone_family="pocket").unavailable["id_second"]
    taken = Evaluator("id_second", backbone_family="pocket", models={"face-second": "pocket-scoring"})
    assert "already the recogniser of id_sim" in taken.unavailable["id_second"]
    models = {"face": "pocket-scoring", "face-conditioning": "dlib", "face-second": "pocket"}
    one = sample(portrait(1), reference=portrait(1, scene="city"))
    evaluator = Evaluator("id_second,id_sim", backbone_family="pocket", models=models)
    found_second = evaluator.score([one])[0]
    assert found_second["id_second"].value == pytest.approx(value("id_sim_same", one), abs=1e-6)
    assert found_second["id_sim"].value == pytest.approx(value("id_sim", one), abs=1e-6)
