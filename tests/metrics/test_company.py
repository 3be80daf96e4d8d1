"""Several people in one picture: assignment of faces, margin of confusion, people of the pocket world."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import Spid
from people import portrait
from PIL import Image

from benchmarks.metrics.base import SampleView
from benchmarks.metrics.company import assigned, confusion_margin
from benchmarks.metrics.evaluate import Evaluator

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
    references = tuple(Image.fromarray(portrait(number).pixels) for number in people)
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
    broken = SampleView("b", "m", "x", "x", "", together(1, 2), people=(together(1), blank), rendered=True)
    (scores,) = evaluator.score([broken])
    assert scores["id_conf"].status == "no_face_ref" and "reference 2" in scores["id_conf"].reason


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
    for wrong, message in (
        ({"anna": "../1.png"}, "not several names"),
        ({"anna": "../1.png", "ben": "../3.png"}, "3.png: no such file"),
    ):
        listing.write_text(json.dumps({**entry, "people": wrong}) + "\n")
        refused = spid("score", pictures, *flags, "--output", tmp_path / "no")
        assert refused.code == 2 and message in refused.err
