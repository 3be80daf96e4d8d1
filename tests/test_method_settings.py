"""Settings that are tuned for a backbone, and the published ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Spid
from own import own_methods

from benchmarks.prepare import _load_methods
from benchmarks.request import Request, parse_method
from benchmarks.suites import load_suite
from methods.backbone.load import load_backbone
from methods.errors import UsageError
from methods.images import read_metadata
from methods.paths import configs_dir
from methods.registry import get_method
from methods.settings import configure, families_tuned, tuned

KIND = get_method("textual-inversion")
FILES = sorted((configs_dir() / "methods").glob("*/*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_file_of_tuned_settings_is_understood_and_says_only_what_differs(file: Path) -> None:
    kind = get_method(file.stem)
    published, found = kind.Config(), configure(kind, None, family=file.parent.name)
    for key, value in tuned(file.stem, file.parent.name).items():
        assert getattr(found, key) == value != getattr(published, key)


def test_what_is_asked_for_counts_for_more_than_what_is_tuned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "methods" / "pocket"
    folder.mkdir(parents=True)
    (folder / "textual-inversion.yaml").write_text("steps: 7\nbatch: 3\n")
    monkeypatch.setattr("methods.settings.configs_dir", lambda: tmp_path)
    published = KIND.Config()
    assert configure(KIND, None) == configure(KIND, {}, family="sd15") == published
    found = configure(KIND, {"steps": 9}, family="pocket")
    assert (found.steps, found.batch, found.rate) == (9, 3, published.rate)
    assert configure(KIND, {"settings": "published"}, family="pocket") == published
    assert configure(KIND, {"settings": "published", "batch": 5}, family="pocket").steps == published.steps
    assert configure(KIND, {"settings": "tuned"}, family="pocket").steps == 7
    assert families_tuned("textual-inversion") == {"pocket": {"steps": 7, "batch": 3}}
    assert families_tuned("facewise") == {}
    with pytest.raises(UsageError, match=r"method textual-inversion: settings is 'best'."):
        configure(KIND, {"settings": "best"}, family="pocket")
    with pytest.raises(UsageError, match="stps"):
        configure(KIND, {"stps": 9}, family="pocket")


def test_a_bench_takes_them() -> None:
    texts = ("textual-inversion", "textual-inversion[settings=published,batch=2]")
    specs = [parse_method(text) for text in texts]
    loaded, _ = _load_methods(specs, Request(suite="smoke"), load_suite("smoke"), load_backbone("pocket"))
    first, second = (loaded[spec.label].config for spec in specs)
    assert (first.steps, first.batch) == (300, 8) and (second.steps, second.batch) == (5000, 2)


def test_a_picture_says_with_which_settings_it_was_made(spid: Spid, tmp_path: Path) -> None:
    assert spid("render", "--person", "3", "--output", tmp_path).code == 0
    asked = ("--reference", tmp_path / "person-0003.png", "--prompt", "a {person}", "--steps", "1")
    own = ("--method", "textual-inversion", "--set", "steps=1")
    made = spid("generate", *asked, *own, "--output", tmp_path / "out", "--json")
    assert made.code == 0, made.err
    (record,) = made.json["pictures"]
    options = read_metadata(tmp_path / "out" / record["file"])["spid"]["method_options"]
    assert (options["steps"], options["batch"]) == (1, 8)


def test_cards_tell_them(spid: Spid) -> None:
    for name in own_methods():
        assert spid("methods", name, "--json").json["tuned"] == families_tuned(name)
        assert ("settings=published" in spid("methods", name).out) == bool(families_tuned(name))
