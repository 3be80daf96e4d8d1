"""Memory that runs out: smaller batches, tiles, then an error; recorded, and timings marked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny import tiny_folder

from benchmarks.execute import Executor
from benchmarks.ladder import Ladder, is_out_of_memory
from benchmarks.live import Observer
from benchmarks.made import StoppedError
from benchmarks.metrics.evaluate import Evaluator
from benchmarks.plan import MethodPlan, Person, Plan, make_plan
from benchmarks.schema import Row
from benchmarks.store import RunFolder
from benchmarks.suites import Suite, SuiteIdentity, SuitePrompt, SuiteSet
from methods.backbone.backbone import Backbone
from methods.backbone.load import load_backbone
from methods.contract import Method
from methods.hooks import Attachment, Identity, Job
from methods.none import INFO, Config

SETTINGS = {
    "width": 64, "height": 64, "steps": 1, "guidance": 2.0, "negative_prompt": "", "scheduler": "ddim",
    "face_select": "largest",
}  # fmt: skip


class Hungry(Method):
    """Has memory for `most` jobs at once, and for more than none only once pictures are decoded in tiles."""

    info, Config = INFO, Config

    def __init__(self, most: int, tiles: bool = False) -> None:
        super().__init__()
        self.most, self.tiles = most, tiles

    def attach(self, backbone: Backbone, jobs: Sequence[Job]) -> Attachment:
        if len(jobs) > self.most or (self.tiles and not backbone.origin["vae_tiling"]):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return Attachment()


class Listener(Observer):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def backbone() -> Backbone:
    return load_backbone(tiny_folder("sd1"), device="cpu")


def run(
    folder: Path, backbone: Backbone, method: Method, *, keep_going: bool = False
) -> tuple[list[Row], Listener]:
    """Eight samples of one person in one batch."""
    prompts = tuple(SuitePrompt(f"p{number}", f"photo {number}") for number in range(8))
    suite = Suite("s", "1", "", (SuiteSet("all", (SuiteIdentity("a"),), prompts),))
    person = Person(suite.sets[0].identities[0], None, "a")
    # `tokens` of an identity is all that is asked of it here
    plan: Plan = make_plan(
        suite, {"all": [person]}, [MethodPlan("hungry", True, "h", {}, {})], SETTINGS, batch_size=8
    )
    store, listener = RunFolder(folder), Listener()
    evaluator = Evaluator((), backbone_family="sd1")
    executor = Executor(
        store, plan, backbone, {"hungry": method}, {"a": Identity("a")}, evaluator, SETTINGS, listener,
        keep_going=keep_going,
    )  # fmt: skip
    with store.opened():
        listener.begin({"hungry": (8, 0)}, [])
        sampled = executor.sample(plan.blocks[0])
        return executor.record(sampled, executor.score(sampled)), listener


def test_enough_memory_is_no_fall(tmp_path: Path, backbone: Backbone) -> None:
    rows, listener = run(tmp_path, backbone, Hungry(8))
    assert [row.status for row in rows] == ["ok"] * 8 and listener.notes == []
    assert {row.detail for row in rows} == {""}
    times = [json.loads(line) for line in (tmp_path / "timings.jsonl").read_text().splitlines()]
    assert all(line["valid"] for line in times)
    assert {line["batch"] for line in times if line["phase"] == "sample"} == {8}


def test_batches_are_halved_and_timings_marked(tmp_path: Path, backbone: Backbone) -> None:
    rows, listener = run(tmp_path, backbone, Hungry(3))
    assert [row.status for row in rows] == ["ok"] * 8
    assert [note.partition(";")[0] for note in listener.notes] == [
        "out of memory: batch 8 -> 4", "out of memory: batch 4 -> 2",
    ]  # fmt: skip
    times = [json.loads(line) for line in (tmp_path / "timings.jsonl").read_text().splitlines()]
    assert [line["to"] for line in times if line["phase"] == "fall"] == ["batch 8 -> 4", "batch 4 -> 2"]
    sampled = [line for line in times if line["phase"] == "sample"]
    assert len(sampled) == 8 and not any(line["valid"] for line in sampled)


def test_then_pictures_are_decoded_in_tiles(tmp_path: Path, backbone: Backbone) -> None:
    rows, listener = run(tmp_path, backbone, Hungry(8, tiles=True))
    assert listener.notes[-1].startswith("out of memory: decoding in tiles")
    assert {row.status for row in rows} == {"ok"}
    assert all("decoding in tiles" in row.detail for row in rows)


def test_the_last_rung_is_an_error_of_the_samples(tmp_path: Path, backbone: Backbone) -> None:
    rows, _ = run(tmp_path / "one", backbone, Hungry(0), keep_going=True)
    assert {row.status for row in rows} == {"error"} and "out of memory" in rows[0].detail
    with pytest.raises(StoppedError, match="out of memory"):
        run(tmp_path / "two", backbone, Hungry(0))
    lines = (tmp_path / "two" / "samples.jsonl").read_bytes().splitlines()
    assert [Row.from_line(line).status for line in lines] == ["error"] * 8


def test_only_memory_makes_it_step_down(backbone: Backbone) -> None:
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))
    ladder = Ladder(backbone, 4, lambda fall: None)

    def broken(jobs: Sequence[Job]) -> list[object]:
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        ladder.run([Job("x", 64, 64, 1.0)], broken)  # type: ignore[arg-type]
    assert ladder.valid
