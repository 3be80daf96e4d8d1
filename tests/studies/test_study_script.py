"""scripts/study.py from end to end, with settings that take seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from methods.backbone.load import load_backbone
from methods.pidiff.method import PIDiff
from scripts.study import main

TINY = ["--prompts", "1", "--steps", "1"]


@pytest.fixture(autouse=True)
def _cache(pocket_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPID_CACHE", str(tmp_path / "cache"))


def test_identity_of_methods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "methods.json"
    call = [
        "methods", *TINY, "--work", str(tmp_path / "work"), "--output", str(output), "--people", "2",
        "--fit-people", "1", "--methods", "none,uniform,textual-inversion",
        "--set", "textual-inversion.steps=1", "--set", "textual-inversion.batch=1",
    ]  # fmt: skip
    assert main(call) == 0
    said = capsys.readouterr()
    assert "none, uniform: 2 of 2 people" in said.err and "textual-inversion: 1 of 1 people" in said.err
    found = json.loads(output.read_text())
    rows = found["methods"]
    assert {name: row["people"] for name, row in rows.items()} == {
        "none": 2,
        "uniform": 2,
        "textual-inversion": 1,
    }
    assert found["renders"]["genuine"]["value"] > found["renders"]["impostor"]["value"]
    difference = rows["uniform"]["similarity"]["value"] - rows["none"]["similarity"]["value"]
    assert rows["uniform"]["minus_none"]["value"] == pytest.approx(difference, abs=2e-4)
    assert all(name in said.out for name in rows)

    assert main(call) == 0  # from the records
    again = capsys.readouterr()
    assert json.loads(output.read_text()) == found and again.out == said.out
    assert "pictures:" in said.err and "pictures:" not in again.err


@pytest.mark.parametrize(
    ("study", "given", "said"),
    [
        ("methods", ["--methods", "none, uniform", "--set", "facewise.steps=1"], "none, uniform"),
        ("methods", ["--methods", "none, uniform", "--set", "steps=1"], "uniform; for example"),
        ("methods", ["--methods", "none", "--adapter", "uniform=x"], "--adapter uniform"),
        ("fits", ["--set", "spatialid.late=1"], "facewise"),
        ("fits", ["--set", "facewise.steps=[1"], "YAML"),
    ],
)
def test_options_of_what_is_not_measured_are_refused(
    study: str, given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([study, *given]) == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told


def test_figures_of_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "fits.json"
    call = [
        "fits", *TINY, "--work", str(tmp_path / "work"), "--output", str(output), "--people", "1",
        "--renders", "1",
        "--set", "facewise.steps=1", "--set", "facewise.batch=1", "--set", "id-ea.steps=1",
        "--set", "id-ea.batch=1", "--set", "textual-inversion.steps=1", "--set", "textual-inversion.batch=1",
    ]  # fmt: skip
    assert main([*call, "--parts", "attention"]) == 0
    assert main([*call, "--parts", "speed,bound,cost"]) == 0
    found = json.loads(output.read_text())
    assert set(found) == {"settings", "attention", "speed", "bound", "cost"}
    assert set(found["cost"]) == {"textual-inversion", "facewise", "id-ea"}
    for name, figures in found["cost"].items():
        assert figures["median_seconds"][name]["cpu"] > 0
        assert set(figures["final_loss"]) == {name, f"{name} as published"}
    assert {"features at the word's place", "features at all places"} < set(found["bound"])
    assert "facewise" in found["attention"]["ratio_to_textual-inversion"]
    assert "textual-inversion" in found["speed"]["seconds"]["ratio_to_id-ea"]
    capsys.readouterr()
    assert main([*call, "--parts", "sped"]) == 2
    assert "'sped'" in capsys.readouterr().err


def test_what_pidiff_must_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backbone = load_backbone("pocket")
    for seed, name in enumerate(("full", "one")):
        PIDiff.untrained(backbone, seed=seed).save(tmp_path / name)
    output = tmp_path / "pidiff.json"
    call = [
        "pidiff", *TINY, "--work", str(tmp_path / "work"), "--output", str(output), "--people", "2",
        "--full", str(tmp_path / "full"),
    ]  # fmt: skip
    stage_one = ["--stage-one", str(tmp_path / "one"), "--parts", "background"]
    assert main([*call, *stage_one]) == 0
    assert "background: 2 of 2 people" in capsys.readouterr().err
    found = json.loads(output.read_text())
    assert found["background"]["pictures"] == 2
    records = sorted((tmp_path / "work").glob("*/person-*.json"))
    times = [path.stat().st_mtime_ns for path in records]
    assert len(records) == 4
    assert main([*call, *stage_one]) == 0  # from the records
    assert [path.stat().st_mtime_ns for path in records] == times and json.loads(output.read_text()) == found

    weaker = [*call, *stage_one, "--id-weights", "1", "0"]
    assert main(weaker) == 0
    found = json.loads(output.read_text())
    assert found["background at id-weight 0"]["background"]["full"]["value"] == 0  # nobody: the plain picture
    assert len(list((tmp_path / "work").glob("*/person-*.json"))) == 6  # its own records, the others kept

    styles = ["--parts", "styles", "--sheet-people", "2", "--levels", "fine"]
    assert main([*call, *styles]) == 0
    assert (tmp_path / "pidiff-fine.png").is_file() and not (tmp_path / "pidiff-coarse.png").exists()
    assert main([*call, "--parts", "background"]) == 2
    assert "--stage-one" in capsys.readouterr().err
