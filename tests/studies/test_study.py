"""The instrument of scripts/study.py fits, on one person and fits of one step."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from benchmarks.studies.study import Study, Variant
from methods.pocket.models import PocketModels
from methods.weights import load_weights, save_weights


def test_a_study_measures_once_and_goes_on_from_its_records(
    pocket_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPID_CACHE", str(tmp_path / "cache"))
    said: list[str] = []
    small = {"people": 1, "prompts": 1, "renders": 1, "steps": 2}
    variants = [
        Variant("inversion", "textual-inversion", {"steps": 1, "batch": 1}),
        Variant("facewise", "facewise", {"steps": 1, "batch": 1, "pairs": 2}),
    ]

    def figures() -> tuple[dict, dict, dict]:
        study = Study(tmp_path / "work", report=said.append, **small)
        return study.shares(variants), study.comparison(variants), study.seconds(variants)

    shares, compared, seconds = first = figures()
    assert len(said) == 6
    assert 0 < shares["area_of_face"]["value"] < 0.5
    assert all(0 < of["value"] < 1 for of in shares["share"].values())
    ratio = shares["share"]["facewise"]["value"] / shares["share"]["inversion"]["value"]
    assert shares["ratio_to_inversion"]["facewise"]["value"] == pytest.approx(ratio, abs=1e-3)
    difference = compared["facewise"]["followed"]["value"] - compared["inversion"]["followed"]["value"]
    assert compared["minus_inversion"]["facewise"]["followed"]["value"] == pytest.approx(difference, abs=1e-3)
    assert math.isfinite(seconds["ratio_to_inversion"]["facewise"]["wall"])
    assert figures() == first and len(said) == 6


def test_pictures_are_read_again_by_other_probes(pocket_weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for model in pocket_weights.iterdir():
        (folder / model.name).symlink_to(model)
    said: list[str] = []

    def measure() -> None:
        study = Study(
            tmp_path / "work", PocketModels(folder), people=1, prompts=1, steps=1, report=said.append
        )
        study.pictures(Variant("none", "none"), 0)
        study.renders_of(0)

    measure()
    measure()
    assert len(said) == 2
    (folder / "probes").unlink()
    shutil.copytree(pocket_weights / "probes", folder / "probes")
    state = load_weights(folder / "probes" / "probes.safetensors")
    state["heads.scene.bias"] = state["heads.scene.bias"] + 1
    save_weights(folder / "probes" / "probes.safetensors", state)
    measure()
    assert len(said) == 3  # the renders' similarities stay
