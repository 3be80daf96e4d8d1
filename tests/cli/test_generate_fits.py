"""`spid generate` with a method that fits the person first."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Spid

FIT = ("generate", "--method", "textual-inversion", "--set", "steps=2", "--set", "batch=1", "--steps", "2")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPID_CACHE", str(tmp_path / "cache"))


def test_the_person_is_fitted_once_and_again_on_demand(spid: Spid, face: Path, tmp_path: Path) -> None:
    def run(name: str, *more: str):
        prompt = ("--prompt", "a photo of a {person} on a beach", "--json")
        made = spid(*FIT, "--reference", face, *prompt, "--output", tmp_path / name, *more)
        assert made.code == 0, made.err
        return made

    first, second, third = run("one"), run("two"), run("three", "--refit")
    label = "fitting textual-inversion to person-0007: 2/2 steps"
    assert label in first.err and label not in second.err and label in third.err
    names = ("one", "two", "three")
    files = [
        tmp_path / name / made.json["pictures"][0]["file"]
        for name, made in zip(names, (first, second, third), strict=True)
    ]
    assert len({file.read_bytes() for file in files}) == 1
    assert len(spid("show", files[0], "--json").json["spid"]["fit"]) == 64
    again = spid("generate", "--from", files[0], "--output", tmp_path / "four")
    assert again.code == 0 and "the same pixels" in again.err


def test_a_prompt_without_a_place_for_the_word_is_refused(spid: Spid, face: Path, tmp_path: Path) -> None:
    made = spid(*FIT, "--reference", face, "--prompt", "a beach", "--output", tmp_path / "none")
    assert made.code == 2
    assert "has no place for the word" in made.err and "{person}" in made.err
    assert not (tmp_path / "none").exists() and not (tmp_path / "cache" / "fits").exists()
