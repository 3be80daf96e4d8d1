"""Metrics of a person with several photographs: measured against each, their mean counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from command import Spid
from metric_samples import BLANK, portrait, sample, scores, truth

from benchmarks.metrics.base import Score
from benchmarks.metrics.evaluate import mean_score

METRICS = "id_sim,id_rank,clip_i_ref,copy_paste,leak_scene,face_found"
COMPARING = ("id_sim", "id_rank", "clip_i_ref", "copy_paste")


def test_the_mean_and_what_it_is_over() -> None:
    assert mean_score([Score(0.2), Score(0.6)]) == Score(pytest.approx(0.4))
    lost = mean_score(
        [Score(None, "no_face_ref", "no face"), Score(0.2, "multi_face", "2 faces"), Score(0.6)]
    )
    assert (lost.value, lost.status) == (pytest.approx(0.4), "multi_face")
    assert lost.reason == "over 2 of 3 photographs (no face)"
    none = Score(None, "no_face_ref", "no face")
    assert mean_score([none, Score(None, "error", "broken")]) == none


def test_every_metric_that_compares_is_the_mean_over_the_photographs() -> None:
    one = sample(
        portrait(1, scene="beach"),
        reference=portrait(1),
        reference_id="a",
        baseline=portrait(9, scene="beach"),
        truth=truth(scene="beach"),
        reference_truth=truth(),
        target=portrait(1, scene="beach", expression="smiling"),
        rendered=True,
    )
    photographs = {"a": portrait(1), "b": portrait(1, expression="angry"), "c": portrait(1, scene="forest")}
    alone = scores(
        METRICS, *(replace(one, reference=picture, reference_id=key) for key, picture in photographs.items())
    )
    further = tuple(list(photographs.items())[1:])
    together, first = scores(METRICS, replace(one, further=further), one)
    for name in COMPARING:
        each = [of[name].value for of in alone]
        assert None not in each and len(set(each)) > 1 or name == "id_rank", name
        assert together[name].value == pytest.approx(sum(each) / 3, abs=1e-9), name
        assert first[name] == alone[0][name]
    for name in ("leak_scene", "face_found"):
        assert together[name] == first[name] == alone[0][name]


def test_a_photograph_without_a_face_is_left_out_and_told() -> None:
    one = sample(portrait(1), reference=portrait(1), further=(("blank", BLANK),))
    found = scores("id_sim,id_sim_zero", one)[0]
    assert found["id_sim"].value == pytest.approx(1.0, abs=1e-5)
    assert found["id_sim"].reason.startswith("over 1 of 2 photographs (the reference picture: ")
    nobody = scores("id_sim", replace(one, reference=BLANK))[0]["id_sim"]
    assert (nobody.value, nobody.status) == (None, "no_face_ref")


def test_metrics_say_what_becomes_of_several_photographs(spid: Spid) -> None:
    listed = {card["name"]: card["photographs"] for card in spid("metrics", "--json").json}
    assert {listed[name] for name in COMPARING} == {"mean"}
    assert listed["face_found"] is listed["clip_t"] is listed["sim_gt"] is None
    assert "their mean counts" in spid("metrics", "id_sim").out
