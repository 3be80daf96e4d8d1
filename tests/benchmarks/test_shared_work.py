"""What methods have in common is computed once for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
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
