"""Several people in one picture: assignment of faces, margin of confusion, people of the pocket world."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import Spid
from people import portrait
from PIL import Image

from benchmarks.metrics.base import SampleView
from benchmarks.metrics.company import assigned, confusion_margin
from benchmarks.metrics.evaluate import Evaluator
from benchmarks.verdict import judge

NAMES = ("id_people", "id_people_least", "id_conf")


def test_faces_are_assigned_one_to_one_for_the_largest_sum() -> None:
    # greedily the first person takes .9 and leaves .1: 1.0; together .8 + .7 is more
    assert assigned(np.array([[0.9, 0.8], [0.7, 0.1]])).tolist() == [0.8, 0.7]
    assert assigned(np.array([[0.4], [0.6]])).tolist() == [0.0, 0.6]  # one face for two people
    assert assigned(np.array([[0.2, 0.9, 0.1]])).tolist() == [0.9]
    assert assigned(np.zeros((2, 0))).tolist() == [0.0, 0.0]


def test_the_margin_of_umo() -> None:
    assert confusion_margin(np.array([[0.8, 0.2, 0.4]])) == pytest.approx(0.5)
    assert confusion_margin(np.array([[0.5, 0.5], [0.8, -0.1]])) == pytest.approx((0 + 1) / 2)
    assert confusion_margin(np.array([[-0.2, -0.3]])) == 0.0


def together(*numbers: int) -> Image.Image:
    joined = Image.new("RGB", (128 * len(numbers), 128))
    for place, number in enumerate(numbers):
        joined.paste(Image.fromarray(portrait(number).pixels), (128 * place, 0))
    return joined


def view(name: str, picture: Image.Image, *people: int) -> SampleView:
    references = tuple(((str(number), Image.fromarray(portrait(number).pixels)),) for number in people)
    return SampleView(name, "m", "both", "two people", "", picture, people=references, rendered=True)


def test_people_of_the_pocket_world() -> None:
    evaluator = Evaluator(list(NAMES), backbone_family="pocket", device="cpu", batch_size=1)
    right, swapped, doubled, alone, single = evaluator.score(
        [
            view("right", together(1, 2), 1, 2),
            view("swapped", together(2, 1), 1, 2),
            view("doubled", together(1, 1), 1, 2),
            view("alone", together(1), 1, 2),
            SampleView("single", "m", "a", "x", "", together(1), reference=together(1), rendered=True),
        ]
    )
    assert 0.8 < right["id_people_least"].value <= right["id_people"].value <= 1
    assert swapped["id_people"].value > 0.8  # who stands where is the regions' matter
    assert right["id_conf"].value > 0.3
    assert doubled["id_conf"].value < 0.1 and doubled["id_people_least"].value < 0.7
    assert alone["id_people"].value == pytest.approx(0.5, abs=1e-3) and alone["id_people_least"].value == 0
    assert alone["id_conf"].value is None and "fewer than two faces" in alone["id_conf"].reason
    assert all(single[name].value is None and single[name].status == "ok" for name in NAMES)
    blank = Image.new("RGB", (128, 128), "gray")
    broken = SampleView(
        "b", "m", "x", "x", "", together(1, 2), people=((("1", together(1)),), (("0", blank),)), rendered=True
    )
    (scores,) = evaluator.score([broken])
    assert scores["id_conf"].status == "no_face_ref" and "reference 2" in scores["id_conf"].reason


def test_faces_for_everybody_and_one_photograph_more() -> None:
    names = (
        "id_people",
        "id_people_floor",
        "people_found",
        "face_found",
        "id_sim",
        "sim_gt",
        "background_leakage",
    )
    evaluator = Evaluator(list(names), backbone_family="pocket", device="cpu", batch_size=1)
    crowd = Image.new("RGB", (256, 256), "gray")
    crowd.paste(together(3, 2))
    crowd.paste(together(1), (64, 128))
    one, two = ((str(number), Image.fromarray(portrait(number).pixels)) for number in (1, 2))
    views = [
        SampleView(
            name,
            "m",
            "both",
            "two people",
            "",
            picture,
            baseline=together(2, 3),
            people=people,
            rendered=True,
        )
        for name, picture, people in (
            ("missing", together(2), ((one,), (two,))),
            ("third", crowd, ((one,), (two,))),
            ("photographs", together(1, 2), ((one, two), (two,))),
        )
    ]
    missing, third, photographs = evaluator.score(views)
    assert missing["id_people"].value == pytest.approx(0.5, abs=1e-3)  # the other one's face is assigned
    found = missing["people_found"]
    assert (found.value, found.status, found.reason) == (0.5, "no_face_gen", "1 face for 2 people")
    verdict = judge(names, missing)
    assert missing["face_found"].value == 1.0 and verdict.status == "no_face_gen"
    assert third["id_people"].value > 0.8  # the stranger is nobody's
    assert third["people_found"].value == 1.0
    assert judge(names, third)[:2] == ("multi_face", "3 faces for 2 people")
    # a stranger's photograph beside the right one of the first person; the same picture with other people
    strange = evaluator.score([replace(views[2], people=((two,), (two,)))])[0]["id_people"].value
    right = evaluator.score([replace(views[2], people=((one,), (two,)))])[0]["id_people"].value
    assert strange < photographs["id_people"].value < right
    assert photographs["people_found"].status == "ok"
    # in the plain picture the second person stands by chance
    assert 0.3 < missing["id_people_floor"].value < 0.8
    for name in ("id_sim", "sim_gt", "background_leakage"):
        assert missing[name].value is None and "several people" in missing[name].reason


def test_score_reads_whom_a_picture_shall_show(spid: Spid, tmp_path: Path) -> None:
    for number in (1, 2):
        Image.fromarray(portrait(number).pixels).save(tmp_path / f"{number}.png")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    together(1, 2).save(pictures / "a.png")
    entry = {"file_name": "a.png", "prompt": "two people", "people": {"anna": "../1.png", "ben": "../2.png"}}
    listing = pictures / "metadata.jsonl"
    listing.write_text(json.dumps(entry) + "\n")
    flags = ("--pictures", "pocket", "--metrics", ",".join(NAMES))
    made = spid("score", pictures, *flags, "--output", tmp_path / "run")
    assert made.code == 0, made.err
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert row["identity"] == "anna+ben" and row["metrics"]["id_people"] > 0.8
    assert row["people"].keys() == {"anna", "ben"} and row["reference"] is None
    again = spid("score", tmp_path / "run", "--metrics", "id_people", "--output", tmp_path / "again")
    assert again.code == 0, again.err
    (other,) = [json.loads(line) for line in (tmp_path / "again" / "samples.jsonl").read_text().splitlines()]
    assert (other["people"], other["metrics"]["id_people"]) == (row["people"], row["metrics"]["id_people"])
    for wrong, message in (
        ({"anna": "../1.png"}, "not several names"),
        ({"anna": "../1.png", "ben": []}, "not several names"),
        ({"anna": "../1.png", "ben": "../3.png"}, "3.png: no such file"),
    ):
        listing.write_text(json.dumps({**entry, "people": wrong}) + "\n")
        refused = spid("score", pictures, *flags, "--output", tmp_path / "no")
        assert refused.code == 2 and message in refused.err
