"""Runs and scores of a person with several photographs: clip_i_ref is the mean over them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Spid
from folders import rows
from PIL import Image

from benchmarks.metrics.base import SampleView
from benchmarks.metrics.evaluate import Evaluator
from benchmarks.request import Request
from benchmarks.runner import bench
from methods.images import load_picture
from methods.pocket.references import PLAIN
from methods.pocket.world import Context, render, sample_person


def draw(path: Path, **factors: str) -> None:
    shown = Context.from_dict({**PLAIN, **factors, "nuisance": 3})
    Image.fromarray(render(sample_person(10_000_503), shown, 128).pixels).save(path)


@pytest.fixture
def anna(tmp_path: Path) -> Path:
    """A folder with the folder of a person in it: two photographs."""
    folder = tmp_path / "people" / "anna"
    folder.mkdir(parents=True)
    draw(folder / "0.png")
    draw(folder / "1.png", expression="smiling")
    return folder


def against_each(picture: Path, folder: Path) -> float:
    """Mean of clip_i_ref over the photographs in a folder, one at a time."""
    views = [
        SampleView("x", "m", "anna", "a photo", "", load_picture(picture), load_picture(one))
        for one in sorted(folder.iterdir())
    ]
    each = [one["clip_i_ref"].value for one in Evaluator("clip_i_ref", backbone_family="pocket").score(views)]
    assert len(set(each)) == 2
    return sum(each) / 2


def test_a_bench_measures_against_all(ask: Callable[..., Request], anna: Path, tmp_path: Path) -> None:
    suite = tmp_path / "photographs.yaml"
    suite.write_text(
        "name: photographs\ndescription: For tests.\nsteps: 2\nsize: [64, 64]\n"
        f"identities:\n  one: [{{name: anna, picture: [{anna / '0.png'}, {anna / '1.png'}]}}]\n"
        'prompts:\n  one: ["a photo of a {person}"]\n'
    )
    run = tmp_path / "run"
    asked = ask(suite=str(suite), metrics=("clip_i_ref",), models={"clip": "pocket"})
    assert bench(asked, run).complete
    (made,) = [row for row in rows(run) if row["method"] == "uniform"]
    assert made["metrics"]["clip_i_ref"] == pytest.approx(against_each(run / made["picture"], anna), abs=1e-6)
    (card,) = json.loads((run / "run.json").read_text())["metrics"]
    assert card["photographs"] == "mean"


def test_a_score_measures_against_all(spid: Spid, anna: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    draw(theirs / "anna.png", scene="beach")
    asked = ["score", theirs, "--pictures", "pocket", "--metrics", "clip_i_ref,face_found"]
    by_folder = spid(*asked, "--reference", anna.parent, "--output", tmp_path / "a")
    line = {
        "file_name": "anna.png",
        "identity": "anna",
        "reference": [f"../people/anna/{n}.png" for n in (0, 1)],
    }
    (theirs / "metadata.jsonl").write_text(json.dumps(line))
    by_list = spid(*asked, "--output", tmp_path / "b")
    assert by_folder.code == by_list.code == 0, by_folder.err + by_list.err
    for run in (tmp_path / "a", tmp_path / "b"):
        (row,) = rows(run)
        assert row["identity"] == "anna" and len(list((run / "references").iterdir())) == 2
        assert row["metrics"]["clip_i_ref"] == pytest.approx(
            against_each(theirs / "anna.png", anna), abs=1e-6
        )
    (theirs / "metadata.jsonl").write_text(json.dumps({**line, "reference": []}))
    refused = spid(*asked, "--output", tmp_path / "c")
    assert refused.code == 2 and "line 1: reference is []" in refused.err
    (theirs / "metadata.jsonl").write_text(json.dumps({**line, "reference": ["../people/anna/7.png"]}))
    assert "7.png: no such file" in spid(*asked, "--output", tmp_path / "c").err
