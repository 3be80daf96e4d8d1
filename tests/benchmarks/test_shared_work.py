"""What methods have in common is computed once for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from folders import rows

from benchmarks.live import Observer
from benchmarks.request import Request
from benchmarks.runner import bench
from methods import identify as identify_module
from methods.backbone.text import ClipEncoder, TextFeatures
from methods.hooks import Identity


class Listener(Observer):
    """Counts the pictures that are sampled, by method."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()

    def sampled(self, method: str, count: int, seconds: float) -> None:
        self.made[method] += count


def test_texts_people_and_plain_pictures_are_computed_once(
    tmp_path: Path, ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []
    people: list[str] = []
    encode, identify = ClipEncoder._encode, identify_module.identify

    def encoded(self: ClipEncoder, prompt: str) -> TextFeatures:
        texts.append(prompt)
        return encode(self, prompt)

    def identified(name: str, *arguments: object) -> Identity:
        people.append(name)
        return identify(name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ClipEncoder, "_encode", encoded)
    monkeypatch.setattr(identify_module, "identify", identified)
    watch = Listener()
    methods = ("none", "uniform", "uniform[id_weight=0.5]")
    assert bench(ask(methods=methods), tmp_path / "run", observer=watch).complete
    found = rows(tmp_path / "run")
    by_method = Counter(row["method"] for row in found)
    assert by_method["uniform"] == by_method["uniform[id_weight=0.5]"] == 6
    assert watch.made == by_method  # no without-ID picture twice, whichever method asks for it
    assert sorted(texts) == sorted({row["prompt"] for row in found} | {""})
    assert sorted(people) == ["person-10000300", "person-10000301"]


def test_encoders_are_let_go_before_the_first_picture_that_needs_none(
    tmp_path: Path, ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, gone = Listener(), []
    let_go = ClipEncoder.let_go

    def seen(self: ClipEncoder, prompts: Collection[str]) -> bool:
        gone.append((let_go(self, prompts), dict(watch.made), sorted(prompts)))
        return gone[-1][0]

    monkeypatch.setattr(ClipEncoder, "let_go", seen)
    word = "textual-inversion[steps=1]"
    assert bench(ask(methods=(word, "uniform")), tmp_path / "run", observer=watch).complete
    said = {row["prompt"] for row in rows(tmp_path / "run") if row["method"] == "uniform"}
    made = {name: count for name, count in watch.made.items() if name != "uniform"}
    assert gone == [(True, made, sorted({*said, ""}))] and word in made

    monkeypatch.setattr(ClipEncoder, "let_go", lambda self, prompts: False)
    assert bench(ask(methods=(word, "uniform")), tmp_path / "other").complete
    assert [row["sha256"] for row in rows(tmp_path / "run")] == [
        row["sha256"] for row in rows(tmp_path / "other")
    ]
