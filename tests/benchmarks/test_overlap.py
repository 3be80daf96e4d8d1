"""Metrics computed beside the sampling, as on a GPU: the same rows, and nothing lost.

Processes that are killed meanwhile: every other run of killing.py.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from folders import contents, rows
from tiny import tiny_backbone

from benchmarks import line
from benchmarks.ladder import Ladder
from benchmarks.live import Observer
from benchmarks.made import StoppedError
from benchmarks.metrics.evaluate import Evaluator
from benchmarks.metrics.models.probes import Probed
from benchmarks.request import Request
from benchmarks.runner import bench
from benchmarks.schema import Row
from methods.uniform.method import Uniform

Ask = Callable[..., Request]


class Watch(Observer):
    """What was sampled and recorded, in order; interrupts at the n-th picture."""

    def __init__(self, interrupt: int = 0) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.until = interrupt

    def sampled(self, method: str, count: int, seconds: float) -> None:
        self.seen.append("sampled")
        self.until -= 1
        if self.until == 0:
            raise KeyboardInterrupt

    def recorded(self, rows: Sequence[Row]) -> None:
        super().recorded(rows)
        self.seen.append("recorded")


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every process of ours overlaps, in blocks of two; the names of the threads that measure."""
    monkeypatch.setattr("benchmarks.plan.BLOCK", 2)
    monkeypatch.setattr(line, "overlaps", lambda backbone: True)
    monkeypatch.setattr(line, "ALONE", 0)
    seen: list[str] = []
    score = Evaluator.score

    def noted(self: Evaluator, samples: Sequence[Any]) -> Any:
        seen.append(threading.current_thread().name)
        return score(self, samples)

    monkeypatch.setattr(Evaluator, "score", noted)
    return seen


@pytest.fixture
def serial(ask: Ask, tmp_path: Path, threads: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as one:
        one.setattr(line, "overlaps", lambda backbone: False)
        assert bench(ask(), tmp_path / "serial" / "run").complete
    assert set(threads) == {"MainThread"}
    threads.clear()
    return tmp_path / "serial" / "run"


def test_the_rows_are_those_of_one_thing_after_the_other(
    serial: Path, threads: list[str], ask: Ask, tmp_path: Path
) -> None:
    watch = Watch()
    run = tmp_path / "run"
    outcome = bench(ask(), run, observer=watch)
    assert outcome.complete and contents(run) == contents(serial)
    assert len(threads) == 6 and all(name.startswith("metrics") for name in threads)
    # none: blocks of 2, 2 and 1 pictures, uniform: 2, 2 and 2; each is recorded behind the next one
    sizes, expected = (2, 2, 1, 2, 2, 2), []
    for number, size in enumerate(sizes):
        expected += ["sampled"] * size + ["recorded"] * (number > 0)
    assert watch.seen == [*expected, "recorded"]
    times = [json.loads(one) for one in (run / "timings.jsonl").read_text().splitlines()]
    told = [one["valid"] for one in times if one["phase"] == "sample"]
    assert told == [True] * 2 + [False] * 9  # nothing was measured beside the first block alone
    assert not any(one["valid"] for one in times if one["phase"] == "metrics")


def test_times_that_count_are_taken_alone(
    threads: list[str], ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "ALONE", 2)
    assert bench(ask(), tmp_path / "run").complete
    times = [json.loads(one) for one in (tmp_path / "run" / "timings.jsonl").read_text().splitlines()]
    for method, valid in (("none", [True] * 4 + [False]), ("uniform", [True] * 4 + [False] * 2)):
        assert [
            one["valid"] for one in times if one["phase"] == "sample" and one["method"] == method
        ] == valid


def test_interrupted_and_taken_up_again(serial: Path, threads: list[str], ask: Ask, tmp_path: Path) -> None:
    """The block that was being measured has its rows; the one that was being sampled is begun again."""
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        bench(ask(), run, observer=Watch(interrupt=6))
    assert len(rows(run)) == 5
    assert bench(ask(), run).complete
    assert contents(run) == contents(serial)
    assert not [one for one in threading.enumerate() if one.name.startswith("metrics")]


def test_a_sample_that_raises_ends_it_with_its_row(
    threads: list[str], ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of the block before are there, too, and those of the block itself say what happened."""
    attach, calls = Uniform.attach, list[int]()

    def broken(self: Uniform, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("shapes do not fit")
        return attach(self, *arguments)

    monkeypatch.setattr(Uniform, "attach", broken)
    with pytest.raises(StoppedError, match="shapes do not fit"):
        bench(ask(), tmp_path / "run")
    found = [(row["method"], row["status"] == "error") for row in rows(tmp_path / "run")]
    assert found == [("none", False)] * 5 + [("uniform", False)] * 2 + [("uniform", True), ("uniform", False)]


def test_a_mistake_in_a_metric_is_raised_here(
    threads: list[str], ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(self: Evaluator, samples: Sequence[Any]) -> Any:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(Evaluator, "score", mistaken)
    with pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        bench(ask(), tmp_path / "run")
    assert rows(tmp_path / "run") == []


def test_what_fails_beside_the_sampling_is_measured_again_alone(
    serial: Path, threads: list[str], ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the memory of a GPU does not suffice for both."""
    compute = Probed.compute

    def hungry(self: Probed, items: Sequence[Any]) -> Any:
        if threading.current_thread().name.startswith("metrics"):
            raise RuntimeError("CUDA out of memory")
        return compute(self, items)

    monkeypatch.setattr(Probed, "compute", hungry)
    assert bench(ask(), tmp_path / "run").complete
    assert contents(tmp_path / "run") == contents(serial)
    assert "MainThread" in threads


def test_sampling_gets_the_memory_of_the_metrics_before_it_steps_down(
    serial: Path, threads: list[str], ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach, ladders, calls = Uniform.attach, list[int](), list[int]()

    def hungry(self: Uniform, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("CUDA out of memory")
        return attach(self, *arguments)

    def step_down(self: Ladder, tried: int) -> bool:
        ladders.append(tried)
        return False

    monkeypatch.setattr(Uniform, "attach", hungry)
    monkeypatch.setattr(Ladder, "_step_down", step_down)
    assert bench(ask(), tmp_path / "run").complete
    assert ladders == [] and contents(tmp_path / "run") == contents(serial)
    assert threads.count("MainThread") == 3  # nothing overlaps from there on


def test_on_a_processor_nothing_overlaps() -> None:
    assert not line.overlaps(tiny_backbone("sd1"))
