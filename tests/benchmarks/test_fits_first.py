"""Several processes make the fits of a run before anything else, the longest first, and each fit once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from fitted import embedding_table, person
from folders import contents, rows
from safetensors.torch import save_file
from tiny import tiny_backbone

from benchmarks.fits import key_of
from benchmarks.leases import Leases
from benchmarks.live import Observer
from benchmarks.request import Request
from benchmarks.runner import bench
from benchmarks.schema import Row
from methods.fitting.method import FitMethod
from methods.registry import get_method

WORD, LONGER = "textual-inversion[steps=2,batch=2]", "facewise[steps=3,batch=2]"
ANN, BEN = "person-10000300", "person-10000301"


class Watch(Observer):
    """Remembers blocks as they are recorded, and fits as they are begun."""

    def __init__(self, hands: int) -> None:
        super().__init__(hands)
        self.seen: list[tuple[str, str | int]] = []

    def recorded(self, rows: Sequence[Row]) -> None:
        super().recorded(rows)
        self.seen.append((rows[0].method, len(rows)))

    def fitting(self, method: str, who: str, done: int, total: int) -> None:
        super().fitting(method, who, done, total)
        if done == 1:
            self.seen.append((method, who))


@pytest.fixture
def whole(ask: Callable[..., Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run as one process alone makes it: a fit when its first sample is due."""
    monkeypatch.setenv("SPID_CACHE", str(tmp_path / "cache"))
    watch = Watch(1)
    run = tmp_path / "whole" / "run"
    assert bench(ask(methods=("none", WORD, LONGER), adapters={}), run, observer=watch).complete
    assert watch.seen == [
        ("none", 4), ("none", 1), (WORD, ANN), (WORD, BEN), (WORD, 4), (WORD, 2),
        (LONGER, ANN), (LONGER, BEN), (LONGER, 4), (LONGER, 2),
    ]  # fmt: skip
    return run


def test_the_order_changes_no_byte(
    whole: Path, ask: Callable[..., Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ask(methods=("none", WORD, LONGER), adapters={})
    monkeypatch.setenv("SPID_CACHE", str(tmp_path / "another"))
    for name, fits in (("first", [(LONGER, ANN), (LONGER, BEN), (WORD, ANN), (WORD, BEN)]), ("again", [])):
        watch = Watch(2)
        assert bench(asked, tmp_path / name / "run", observer=watch).complete
        blocks = [("none", 4), ("none", 1), (WORD, 4), (WORD, 2), (LONGER, 4), (LONGER, 2)]
        assert watch.seen == [*fits, *blocks]
        assert contents(tmp_path / name / "run") == contents(whole)


def test_a_fit_is_made_once(
    whole: Path, ask: Callable[..., Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else is at a fit: all that does not need it is done meanwhile. It is taken over when they are
    gone, and used when they have made it."""
    content = next(Path(row["reference"]).stem for row in rows(whole) if row["identity"] == ANN)
    key = key_of((WORD, content))

    class Patient(Watch):
        ended: Callable[[], object]

        def note(self, text: str) -> None:
            if "samples are with" in text:
                assert text.startswith("4 samples are with process") and (LONGER, 2) in self.seen
                assert (WORD, ANN) not in self.seen and (WORD, 4) not in self.seen
                self.ended()

    def made() -> None:
        shutil.copytree(tmp_path / "cache" / "fits", tmp_path / "made" / "fits", dirs_exist_ok=True)

    for end, last in (("gone", [(WORD, ANN), (WORD, 4)]), ("made", [(LONGER, 2), (WORD, 4)])):
        monkeypatch.setenv("SPID_CACHE", str(tmp_path / end))
        run = tmp_path / f"shared-{end}" / "run"
        with Leases(run) as other:
            assert other.take(key) == "taken"
            watch = Patient(2)
            watch.ended = partial(other.give_back, key) if end == "gone" else made
            assert bench(ask(methods=("none", WORD, LONGER), adapters={}), run, observer=watch).complete
        assert watch.seen[-2:] == last and len(watch.seen) == len(set(watch.seen))
        assert contents(run) == contents(whole) and watch.tallies[WORD].unfitted == set()


def test_a_process_that_makes_fits_alone_says_how_long_they_took(
    ask: Callable[..., Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Leaving(Watch):
        def sampled(self, method: str, count: int, seconds: float) -> None:
            raise KeyboardInterrupt

    monkeypatch.setenv("SPID_CACHE", str(tmp_path / "cache"))
    asked = ask(methods=("none", WORD), adapters={})
    with pytest.raises(KeyboardInterrupt):
        bench(asked, tmp_path / "run", observer=Leaving(2))
    times = [json.loads(line) for line in (tmp_path / "run" / "timings.jsonl").read_text().splitlines()]
    assert [(one["phase"], one["identity"]) for one in times] == [("encode", ANN), ("encode", BEN)]


def test_nobody_is_fitted_for_prompts_that_name_nobody(
    ask: Callable[..., Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPID_CACHE", str(tmp_path / "cache"))
    (tmp_path / "nobody.yaml").write_text(
        "name: nobody\ndescription: For tests.\nsteps: 2\nsize: [64, 64]\n"
        'identities: {one: [{pocket: 10000300}]}\nprompts: {one: ["the red beach"]}\n'
    )
    watch = Watch(2)
    asked = ask(suite=str(tmp_path / "nobody.yaml"), methods=("none", WORD), adapters={})
    assert bench(asked, tmp_path / "run", observer=watch).complete
    assert watch.seen == [("none", 1), (WORD, 1)]


def test_a_word_of_a_file_is_no_fit_to_come(tmp_path: Path) -> None:
    backbone = tiny_backbone("sd1")
    save_file({"emb_params": torch.ones(1, embedding_table().shape[1])}, tmp_path / "anna.safetensors")
    method = get_method("textual-inversion").load(tmp_path / "anna.safetensors", backbone)
    assert isinstance(method, FitMethod) and method.knows(person(tmp_path), backbone)
