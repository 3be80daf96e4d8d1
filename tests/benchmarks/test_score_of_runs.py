"""`spid score RUN`: the figures are those that the run itself measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command import Spid
from folders import rows
from PIL import Image

from benchmarks.request import Request
from benchmarks.runner import bench
from methods.pocket.references import PLAIN
from methods.pocket.world import Context, render, sample_person

METRICS = (
    "id_sim,id_sim_same,id_floor,sim_gt,copy_paste,face_found,clip_t,clip_i_ref,background_leakage,attr_scene,"
    "leak_scene,fid_clip,counterfactual"
)
SUITE = """
name: own
description: Rendered people, and one of two photographs.
steps: 2
identities:
  some: [{{pocket: [10000300, 10000301]}}, {{name: anna, picture: [{0}, {1}]}}]
prompts:
  two:
    - {{text: "a photo of a {{person}} on a beach", category: Background, truth: {{scene: beach}}}}
    - {{text: "a photo of a {{person}}", category: Attribute}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, pocket_weights: Path) -> Path:
    folder = tmp_path_factory.mktemp("own")
    photographs = []
    for number, expression in enumerate(("neutral", "smiling")):
        shown = Context.from_dict({**PLAIN, "expression": expression, "nuisance": 3})
        photographs.append(folder / f"{number}.png")
        Image.fromarray(render(sample_person(10_000_503), shown, 128).pixels).save(photographs[-1])
    (folder / "own.yaml").write_text(SUITE.format(*photographs))
    asked = Request(
        suite=str(folder / "own.yaml"),
        methods=("none", "uniform"),
        backbone={"name_or_path": "pocket", "device": "cpu"},
        metrics=tuple(METRICS.split(",")),
    )
    assert bench(asked, folder / "run").complete
    return folder / "run"


def figures(folder: Path) -> tuple[list[Any], Any]:
    """What is said of every picture, in order, and of every method."""
    told = ("method", "identity", "prompt_id", "set", "seed", "reference", "status", "metrics", "notes")
    found = [[row[name] for name in told] for row in rows(folder) if row["picture"] is not None]
    return found, json.loads((folder / "sets.json").read_text())["methods"]


def test_a_run_is_measured_as_it_measured_itself(run: Path, spid: Spid, tmp_path: Path) -> None:
    before = figures(run)
    of_anna = next(row for row in rows(run) if row["identity"] == "anna" and row["method"] == "uniform")
    assert of_anna["metrics"]["clip_i_ref"] is not None and of_anna["metrics"]["sim_gt"] is None
    of_rendered = next(row for row in rows(run) if str(row["identity"]).startswith("person"))
    assert of_rendered["metrics"]["sim_gt"] is not None
    done = spid("score", run, "--metrics", METRICS, "--output", tmp_path / "scored")
    assert done.code in (0, 1), done.err
    assert "warning" not in done.err
    assert figures(tmp_path / "scored") == before
    again = spid("score", tmp_path / "scored", "--metrics", "clip_i_ref", "--output", tmp_path / "again")
    assert again.code == 0, again.err
    each = [[row["metrics"]["clip_i_ref"] for row in rows(one)] for one in (run, tmp_path / "again")]
    assert each[0] == each[1]


def test_what_a_run_does_not_say_is_told(run: Path, spid: Spid, tmp_path: Path) -> None:
    """A picture that was constant stays out of the figures, a sample without one is counted, and a run from
    before people were listed says what that means."""
    old = tmp_path / "old"
    shutil.copytree(run, old)
    about = json.loads((old / "run.json").read_text())
    people = about.pop("people")
    assert [len(one["references"]) for one in people] == [1, 1, 2]
    assert [one.get("person") for one in people] == [10_000_300, 10_000_301, None]
    (old / "run.json").write_text(json.dumps(about))
    found = rows(old)
    for row in found:
        row.pop("check")
    nobody, constant = found[-1], found[-2]
    nobody |= {"status": "error", "picture": None, "size": None, "sha256": None}
    constant |= {"status": "degenerate", "metrics": dict.fromkeys(constant["metrics"]), "notes": {}}
    (old / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    done = spid("score", old, "--metrics", "clip_t,fid_clip", "--output", tmp_path / "scored")
    assert done.code == 0, done.err
    assert "1 samples of" in done.err and "older version" in done.err
    (*_, last) = rows(tmp_path / "scored")
    assert last["status"] == "degenerate" and last["metrics"] == {"clip_t": None} and last["notes"] == {}
    refused = spid("score", old, "--prompts", old / "run.json", "--output", tmp_path / "no")
    assert refused.code == 2 and "run.json says what the pictures are" in refused.err
    for row in found:
        row |= {"picture": None}
    (old / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    none = spid("score", old, "--output", tmp_path / "no")
    assert none.code == 2 and "no sample of this run has a picture" in none.err
