"""Whole runs on a tiny backbone: complete, interrupted, shared out, cached, damaged, refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from folders import contents, killed_runs, pictures, rows

from benchmarks.request import Request
from benchmarks.runner import bench
from benchmarks.schema import STATUSES
from benchmarks.store import RunFolder, Shard
from methods.errors import SpidError, UsageError
from methods.images import read_metadata

Ask = Callable[..., Request]


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the uninterrupted run of the small suite goes; made by the first test that asks."""
    return tmp_path_factory.mktemp("reference") / "run"


@pytest.fixture
def finished(reference: Path, ask: Ask) -> dict[str, bytes]:
    """Every file of an uninterrupted run that must not differ from run to run."""
    if not reference.exists():
        assert bench(ask(), reference).complete
    return contents(reference)


def test_a_run_is_complete_and_says_how_it_was_made(finished: dict[str, bytes], reference: Path) -> None:
    found = rows(reference)
    # none: two nouns for two prompts, one text without a person; uniform: two people x three prompts
    assert [row["method"] for row in found] == ["none"] * 5 + ["uniform"] * 6
    assert all(row["status"] in STATUSES for row in found)
    by_id = {row["id"]: row for row in found}
    for row in found:
        job = read_metadata(reference / row["picture"])["spid"]
        assert job["fingerprint"] == row["id"] and job["prompt_expanded"] == row["prompt"]
        assert str(reference) not in json.dumps(job)
        assert (row["reference"] is None) == (row["method"] == "none")
        if row["baseline"] is not None:
            without = by_id[row["baseline"]]
            assert (without["method"], without["prompt"], without["seed"]) == (
                "none",
                row["prompt"],
                row["seed"],
            )
            assert (reference / row["reference"]).is_file()
        assert set(row["metrics"]) == {"attr_scene", "leak_scene"}
        assert all(row["notes"].get(name) for name, value in row["metrics"].items() if value is None)
    assert len({row["prompt"] for row in found if row["prompt_id"] == "three-000"}) == 2
    run = json.loads(finished["run.json"])
    assert [method["name"] for method in run["methods"]] == ["none", "uniform"]
    assert run["settings"]["samples"] == 11 and run["backbone"]["dtype"] == "float32"
    assert {"results.json", "metadata.jsonl", "tables/results.md"} <= finished.keys()


def test_a_finished_run_is_left_alone(finished: dict[str, bytes], reference: Path, ask: Ask) -> None:
    times = {path: path.stat().st_mtime_ns for path in pictures(reference)}
    outcome = bench(ask(), reference)
    assert outcome.complete and outcome.seconds["denoise"] == outcome.seconds["metrics"] == 0.0
    assert contents(reference) == finished
    assert {path: path.stat().st_mtime_ns for path in pictures(reference)} == times


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_twenty_points_and_run_again(tmp_path: Path, ask: Ask) -> None:
    """The process dies at random file operations on the run; in the end every byte is as without a death."""
    request = tmp_path / "request.json"
    request.write_text(json.dumps(ask().as_dict()))
    whole, *killed = killed_runs(request, tmp_path, deaths=20)
    assert killed
    for folder in killed:
        assert contents(folder) == contents(whole)


@pytest.mark.parametrize("damage", ["removed", "truncated", "flipped", "swapped"])
def test_damaged_pictures_are_noticed_and_made_again(
    finished: dict[str, bytes], tmp_path: Path, ask: Ask, damage: str
) -> None:
    folder = tmp_path / "run"
    copy(finished, folder)
    one, other = pictures(folder)[:2]
    data = bytearray(one.read_bytes())
    data[len(data) // 2] ^= 8
    if damage == "removed":
        one.unlink()
    else:
        one.write_bytes({"truncated": data[:100], "flipped": data, "swapped": other.read_bytes()}[damage])
    assert bench(ask(), folder).complete
    assert contents(folder) == finished


def copy(files: dict[str, bytes], folder: Path) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def test_shards_give_the_same_and_may_change_their_number(
    finished: dict[str, bytes], tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.plan.BLOCK", 2)
    folder = tmp_path / "run"
    first = bench(ask(), folder, shard=Shard(1, 3))
    assert not first.complete and 0 < first.missing < 11 and first.results is None
    assert (folder / "samples.2-of-3.jsonl").is_file()
    assert not bench(ask(), folder, shard=Shard(0, 2)).complete
    assert bench(ask(), folder, shard=Shard(1, 2)).complete
    assert contents(folder) == finished


def test_another_run_in_the_folder_is_refused_with_the_differences(
    finished: dict[str, bytes], reference: Path, ask: Ask
) -> None:
    with pytest.raises(UsageError, match=r"settings.steps: 2 -> 3.*--output"):
        bench(ask(steps=3), reference)
    with pytest.raises(UsageError, match=r"metrics.leak_scene"):
        bench(ask(metrics=("attr_scene",)), reference)
    with pytest.raises(UsageError, match=r"methods.uniform\[id_weight=0.5\]"):
        bench(ask(methods=("none", "uniform[id_weight=0.5]")), reference)
    assert contents(reference) == finished


def test_nothing_is_begun_for_a_wrong_request(tmp_path: Path, ask: Ask) -> None:
    for wrong in (ask(suite="smke"), ask(methods=("unifrm",))):
        with pytest.raises(UsageError):
            bench(wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    for wrong in (
        ask(adapters={"spatialid": "x"}),
        ask(scheduler="eulr"),
        ask(metrics=("id_smi",)),
        ask(methods=("uniform[lora=1]",)),
    ):
        with pytest.raises(UsageError):
            bench(wrong, tmp_path / "run")
    assert pictures(tmp_path / "run") == []


def test_a_folder_that_cannot_be_written(tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpidError, match="cannot be written"):
        bench(ask(), tmp_path / "file" / "run")


NASTY = """
name: nasty
description: Names from hell.
steps: 1
size: [64, 64]
identities:
  all:
    - {name: "../../<script>alert(1)</script>", pocket: 10000300}
    - {name: "CON\\0\\n\\e[2J", picture: "good.png"}
    - {name: "gone", picture: "gone.png"}
    - {name: "text", picture: "text.png"}
    - {name: "nobody", picture: "nobody.png"}
prompts:
  all: [{id: "../../etc/passwd", text: "<script>alert('{person}')</script> {{x}}", category: "<b>"}]
"""


def test_names_and_pictures_from_hell(tmp_path: Path, ask: Ask) -> None:
    from checkout import face
    from PIL import Image

    (tmp_path / "nasty.yaml").write_text(NASTY)
    (tmp_path / "good.png").write_bytes(face(10_000_500))
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (256, 256), "grey").save(tmp_path / "nobody.png")
    outcome = bench(ask(suite=str(tmp_path / "nasty.yaml")), tmp_path / "deep" / "run")
    assert outcome.complete
    found = {row["identity"]: row for row in rows(tmp_path / "deep" / "run") if row["method"] == "uniform"}
    assert len(found) == 5
    assert found["gone"]["status"] == found["text"]["status"] == "error"
    assert "gone.png" in found["gone"]["detail"] and "text.png" in found["text"]["detail"]
    assert found["nobody"]["status"] == "no_face_ref"
    assert found["nobody"]["picture"] is None and set(found["nobody"]["metrics"].values()) == {None}
    good = found["../../<script>alert(1)</script>"]
    assert good["prompt"] == "<script>alert('woman')</script> {x}" and good["prompt_id"] == "../../etc/passwd"
    assert (tmp_path / "deep" / "run" / good["picture"]).is_file()
    allowed = {"deep", "nasty.yaml", "good.png", "text.png", "nobody.png"}
    assert {path.name for path in tmp_path.iterdir()} == allowed
    # what failed for want of a picture is not tried again
    assert bench(ask(suite=str(tmp_path / "nasty.yaml")), tmp_path / "deep" / "run").seconds["metrics"] == 0.0


def test_the_public_benchmark_runs_from_its_checkout(tmp_path: Path, ask: Ask) -> None:
    from checkout import write_checkout

    root = write_checkout(tmp_path / "IBench")
    outcome = bench(
        ask(suite="ibench", data=str(root), sets=("chineseid_longer",), steps=1, size=(64, 64)),
        tmp_path / "run",
    )
    assert outcome.complete and outcome.counts["error"] == 3
    found = [row for row in rows(tmp_path / "run") if row["method"] == "uniform"]
    assert [row["identity"].partition("/")[0] for row in found] == ["chineseid"] * 5
    assert [row["status"] == "error" for row in found] == [False, False, True, True, True]


def test_a_second_process_joins(finished: dict[str, bytes], tmp_path: Path, ask: Ask) -> None:
    other = RunFolder(tmp_path / "run")
    with other.opened():
        assert bench(ask(), tmp_path / "run").complete
    assert contents(tmp_path / "run") == finished


def test_a_batch_is_as_large_as_it_was_where_the_run_began(tmp_path: Path, ask: Ask) -> None:
    folder = tmp_path / "run"
    assert not bench(ask(batch_size=3), folder, shard=Shard(0, 2)).complete
    assert bench(ask(), folder).complete
    batches = {read_metadata(path)["spid"]["batch_size"] for path in pictures(folder)}
    assert batches == {3}
    with pytest.raises(UsageError, match=r"settings.batch_size: 3 -> 2"):
        bench(ask(batch_size=2), folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_four_processes_two_of_them_killed(tmp_path: Path, ask: Ask) -> None:
    """Four share a run, two die at random moments of it: in the end every byte is as one alone leaves it."""
    request = tmp_path / "request.json"
    request.write_text(json.dumps(ask().as_dict()))
    whole, *shared = killed_runs(request, tmp_path, 1, "sharing.py")
    assert len(shared) == 1
    for folder in shared:
        assert contents(folder) == contents(whole)
