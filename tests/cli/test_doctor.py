"""`spid doctor`: facts, problems and the line that mends each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from command import Spid

from spatialid_cli import diagnosis


def test_facts_are_complete(spid: Spid) -> None:
    answer = spid("doctor", "--json").json
    facts = answer["facts"]
    assert {"spid", "devices", "onnxruntime", "pocket models", "face packs", "storage", "licences"} <= set(
        facts
    )
    assert "CPUExecutionProvider" in facts["onnxruntime"]["providers"]
    assert facts["onnxruntime"]["telemetry"] == "off"
    assert facts["devices"]["torchvision"]
    assert "Noncommercial" in facts["licences"]["pyiqa (extra iqa)"]


def test_missing_weights_are_a_problem_with_a_fix(
    spid: Spid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "pocket_dir", lambda: tmp_path)
    outcome = spid("doctor")
    assert outcome.code == 1
    assert "pocket model 'sd'" in outcome.out and "fix: pip install" in outcome.out


def test_a_torch_that_does_not_import_is_a_finding_and_no_crash(
    spid: Spid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    outcome = spid("doctor")
    assert outcome.code == 1, outcome.err
    assert "torch does not import" in outcome.out and "fix: pip install torch" in outcome.out
    assert "onnxruntime" in outcome.out and "licences" in outcome.out


def test_the_nested_folder_of_a_published_pack_is_recognised(
    spid: Spid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ".insightface" / "models"
    for folder in ("antelopev2/antelopev2", "buffalo_l", "empty"):
        (home / folder).mkdir(parents=True)
    for folder in ("antelopev2/antelopev2", "buffalo_l"):
        (home / folder / "det.onnx").write_bytes(b"not read here")
    monkeypatch.setenv("HOME", str(tmp_path))
    answer = spid("doctor", "--json").json
    packs = answer["facts"]["face packs"]
    assert "nested" in packs["antelopev2"] and "nested" not in packs["buffalo_l"]
    assert packs["empty"] == "unusable"
    assert any("no .onnx files" in item["what"] for item in answer["optional"])


def test_both_onnxruntimes_and_unequal_opencvs_are_problems(
    spid: Spid, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = diagnosis.library_version
    extra = {"onnxruntime-gpu": "1.31.1", "opencv-python": "5.0.0", "opencv-python-headless": "4.11.0"}
    monkeypatch.setattr(diagnosis, "library_version", lambda name: extra.get(name) or installed(name))
    problems = " ".join(item["what"] + item["fix"] for item in spid("doctor", "--json").json["problems"])
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in problems
    assert "opencv-python-headless==5.0.0" in problems
