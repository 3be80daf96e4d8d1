"""Suites of several people in one picture: plan, rows, refusals, resumption, scores and pictures again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folders import contents, rows
from PIL import Image

from benchmarks.compare import compare
from benchmarks.live import Observer
from benchmarks.plan import MethodPlan, Person, Sample, make_plan
from benchmarks.report.data import page_data
from benchmarks.request import Request
from benchmarks.runner import bench
from benchmarks.samples import arrange, read_samples, resampling_units
from benchmarks.schema import Row, failed
from benchmarks.score import score
from benchmarks.score_runs import read_own_run
from benchmarks.suites import Suite, load_suite
from methods.errors import UsageError
from methods.images import load_picture, pixels_hash, read_metadata
from spatialid_cli.reproduce import reproduce

TOGETHER = """
name: together
description: For tests.
steps: 2
size: [64, 64]
identities:
  three: [{pocket: [10000300, 10000301, 10000302]}]
prompts:
  mixed:
    - "a photo of a {person}"
    - text: "a photo of {person} and an {other} on a beach"
      category: Background
      regions: {person: [0, 0, 0.5, 1]}
      masks: {other: right.png}
  pair:
    - {text: "{a} and {b}", regions: {a: [0, 0, 0.5, 1], b: [0.5, 0, 1, 1]}}
sets: [{identities: three, prompts: mixed}]
"""


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite of three people, alone and in pairs, with the mask that it names."""
    folder = tmp_path_factory.mktemp("together")
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 255
    Image.fromarray(mask).save(folder / "right.png")
    (folder / "together.yaml").write_text(TOGETHER)
    return folder / "together.yaml"


ALONE = ('    - "a photo of a {person}"\n', "")
"""The change to a suite without the prompt that shows one person."""
SETS = "sets: [{identities: three, prompts: mixed}]"


def changed(file: Path, *changes: tuple[str, str]) -> Path:
    text = file.read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    other = file.with_name("changed.yaml")
    other.write_text(text)
    return other


def plan_of(suite: Suite, **options: Any) -> list[Sample]:
    everybody = {
        one.name: [Person(who, f"references/{who.name}.png", who.name) for who in one.identities]
        for one in suite.sets
    }
    methods = [MethodPlan("none", False, "n", {}, {}), MethodPlan("m", True, "m", {"id_weight": 1.0}, {})]
    return list(make_plan(suite, everybody, methods, {}, **options).samples.values())


def test_everybody_meets_the_next_of_the_list(together: Path) -> None:
    suite = load_suite(str(together))
    assert suite.pairs == 6
    pairs = [one for one in plan_of(suite) if len(one.people) == 2]
    first, second, third = (f"person-{10_000_300 + number}" for number in range(3))
    assert [one.names for one in pairs] == [f"{first}+{second}", f"{second}+{third}", f"{third}+{first}"]
    row = pairs[2].row()
    assert row.identity == f"{third}+{first}" and row.reference is None
    assert list(row.people.items()) == [(name, f"references/{name}.png") for name in (third, first)]
    assert Row.from_line(row.to_line()) == row and pairs[2].describes(row)
    said = suite.sets[0].identities[2].noun, suite.sets[0].identities[0].noun
    assert row.prompt == f"a photo of a {said[0]} and an {said[1]} on a beach"
    assert pairs[0].row().baseline in {one.id for one in plan_of(suite) if not one.people}
    assert len({len(one.people) for one in plan_of(suite, limit=2)} - {0}) == 2


def test_groups_by_name_and_where_they_stand_decide_the_picture(together: Path) -> None:
    groups = ", groups: [[person-10000302, person-10000300]]}]"
    named = changed(together, ALONE, (SETS, SETS.replace("}]", groups)))
    (one,) = [sample for sample in plan_of(load_suite(str(named))) if sample.people]
    assert one.names == "person-10000302+person-10000300"
    cyclic = {sample.id for sample in plan_of(load_suite(str(together)))}
    assert one.id in cyclic  # it is the same picture, however the suite came to it
    moved = changed(named, ("person: [0, 0, 0.5, 1]", "person: [0, 0, 0.4, 1]"))
    (other,) = [sample for sample in plan_of(load_suite(str(moved))) if sample.people]
    assert other.id not in cyclic


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{person: [0, 0, 0.5, 1]}", "{}", "{person} has no region"),
        ("{other: right.png}", "{other: right.png, person: right.png}", "{person} has a region and a mask"),
        ("{other: right.png}", "{otter: right.png}", "otter"),
        ("person: [0, 0, 0.5, 1]", "person: [0.5, 0, 0.5, 1]", "region of person is empty"),
        ("person: [0, 0, 0.5, 1]", "person: [0, 0, 1.5, 1]", "regions.person"),
        ("      category", "      person: beach\n      category", "`person` is for one person"),
        (
            SETS,
            "sets: [{identities: three, prompts: pair, groups: [[person-10000300, anna]]}]",
            "person in the groups",
        ),
        (
            SETS,
            "sets: [{identities: three, prompts: pair, groups: [[person-10000300, person-10000300]]}]",
            "has 'person-10000300' twice",
        ),
        (", 10000301, 10000302", "", "shows 2 people, and the list has 1"),
        (SETS, "sets: [{identities: three, prompts: mixed, groups: [[person-10000300]]}]", "shows 2"),
        (
            SETS,
            "sets: [{identities: three, prompts: mixed, groups: [[person-10000300, anna]]}]",
            "shows 1",
        ),
    ],
)
def test_what_no_picture_can_be_made_of_is_refused(together: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_suite(str(changed(together, (old, new))))
    assert message in refused.value.message


class Watching(Observer):
    def begin(
        self,
        totals: Mapping[str, tuple[int, int]],
        metrics: Sequence[str],
        fits: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        self.fits = fits
        super().begin(totals, metrics, fits)


def test_a_run_of_pairs(ask: Callable[..., Request], together: Path, tmp_path: Path) -> None:
    confined = '    - {text: "a {person}", regions: {person: [0, 0, 0.5, 1]}}\n'
    suite = changed(together, (ALONE[0], confined))
    request = ask(
        suite=str(suite),
        methods=("uniform", "facewise"),
        metrics=("attr_scene", "id_people", "id_people_floor", "people_found"),
    )
    run = tmp_path / "run"
    observer = Watching()
    outcome = bench(request, run, observer=observer)
    assert outcome.complete and outcome.counts["not_confined"] == 6
    found = rows(run)
    refused = [row for row in found if row["status"] == "not_confined"]
    assert {row["method"] for row in refused} == {"facewise"} and not any(map(failed, refused))
    for row in refused:
        whom = "several people to regions" if row["people"] else "a person to a region"
        assert row["picture"] is None and f"facewise cannot confine {whom}" in row["detail"]
    assert observer.fits == {}
    (one, *_) = [row for row in found if row["reference"] and row["picture"]]
    alone = read_metadata(run / one["picture"])["spid"]
    assert alone["region"] == {"box": [0.0, 0.0, 0.5, 1.0]} and alone["reference"]["path"] == one["reference"]
    pairs = [row for row in found if row["people"] and row["picture"]]
    assert len(pairs) == 3 and {row["method"] for row in pairs} == {"uniform"}
    assert all("several people" in row["notes"]["attr_scene"] for row in pairs)
    for row in pairs:
        job = read_metadata(run / row["picture"])["spid"]
        assert [one["identity"] for one in job["people"]] == list(row["people"])
        assert [one["reference"]["path"] for one in job["people"]] == list(row["people"].values())
        left, right = (one["region"] for one in job["people"])
        assert left == {"box": [0.0, 0.0, 0.5, 1.0]}
        assert (run / right["path"]).read_bytes() == (together.parent / "right.png").read_bytes()
        assert str(tmp_path) not in json.dumps(job["people"])
    samples = read_samples(run)
    firsts = {row["identity"]: next(iter(row["people"])) for row in found if row["people"]}
    assert samples.first_people() == firsts
    assert json.loads((run / "results.json").read_text())["run"]["identities"] == 3
    scored = score(read_own_run(run).scored, tmp_path / "scored", family="pocket", metrics="id_people")
    assert scored["run"]["identities"] == 3
    by_picture = {row["sha256"]: row for row in rows(tmp_path / "scored")}
    for row in pairs:
        other = by_picture[row["sha256"]]
        assert list(other["people"]) == list(row["people"]) and other["reference"] is None
        assert other["metrics"]["id_people"] == row["metrics"]["id_people"]
    shown = {
        name
        for entry in page_data(
            samples, [run] * len(samples), arrange(samples), outcome.results, most_pictures=100
        )["rows"]
        for name, _ in entry["people"]
    }
    assert shown == {f"person-{10_000_300 + number}" for number in range(3)}
    assert compare(run, run).identities == 3
    listed = [json.loads(line) for line in (run / "metadata.jsonl").read_text().splitlines()]
    assert [one["people"] for one in listed if one["kind"] == "sample" and one["people"]] == [
        row["people"] for row in pairs
    ]
    assert {one["identity"] for one in listed if one["kind"] == "reference"} == shown
    again = reproduce(run / pairs[0]["picture"], tmp_path / "again")
    assert again is not None
    (copy,) = (tmp_path / "again").glob("*.png")
    assert pixels_hash(load_picture(copy)) == pixels_hash(load_picture(run / pairs[0]["picture"]))

    # taken up after a picture and the end of the rows are lost: the same bytes
    before = contents(run)
    (run / pairs[1]["picture"]).unlink()
    lines = (run / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (run / "samples.jsonl").write_bytes(b"".join(lines[:-4]))
    bench(request, run)
    assert contents(run) == before


def test_alone_and_together_in_one_batch(ask: Callable[..., Request], together: Path, tmp_path: Path) -> None:
    outcome = bench(ask(suite=str(together), metrics=("id_people",), batch_size=4), tmp_path / "run")
    assert outcome.complete and set(outcome.counts) == {"ok"}
    found = [row for row in rows(tmp_path / "run") if row["method"] == "uniform"]
    assert [len(row["people"]) for row in found] == [0, 2, 0, 2, 0, 2]
    assert all(row["reference"] for row in found if not row["people"])


def test_people_alone_and_together_are_resampled_as_one() -> None:
    keys = [("s", who, "p", 0) for who in ("anna", "anna+ben", "ben", "ben+anna", "cleo", "dora", "emil")]
    first = {"anna+ben": "anna", "ben+anna": "ben"}
    kind, codes = resampling_units(keys, 5, first)
    assert kind == "identity" and codes.tolist() == [0, 0, 1, 1, 2, 3, 4]
