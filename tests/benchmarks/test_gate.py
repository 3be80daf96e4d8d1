"""`spid compare --fail-on` against sabotage: what cannot be judged, or was lost, never passes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from folders import rows
from safetensors.torch import save_file

from benchmarks.compare import compare, parse_rules
from benchmarks.request import Request
from benchmarks.runner import bench
from benchmarks.schema import Row
from methods.adapters import WEIGHTS_FILE
from methods.paths import pocket_dir
from methods.weights import load_weights
from spatialid_cli.app import main

RULE = "id_sim<-0.01"
SUITE = """
name: gate
description: For tests.
steps: 4
size: [128, 128]
identities: {six: [{pocket: [10000300, 10000301, 10000302, 10000303, 10000304, 10000305]}]}
prompts: {one: ["a photo of a {person}"]}
"""


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory, pocket_weights: Path) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("gate")
    (folder / "gate.yaml").write_text(SUITE)

    def run(name: str, **adapters: str) -> Path:
        request = Request(
            suite=str(folder / "gate.yaml"),
            methods=("none", "uniform"),
            backbone={"name_or_path": "pocket", "device": "cpu"},
            metrics=("id_sim", "face_found"),
            adapters=adapters,
        )
        bench(request, folder / name, keep_going=True)
        return folder / name

    return run


@pytest.fixture(scope="module")
def baseline(measure: Callable[..., Path]) -> Path:
    return measure("baseline")


def edited(run: Path, folder: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Path:
    shutil.copytree(run, folder)
    lines = b"".join(
        Row(**{k: v for k, v in row.items() if k != "check"}).to_line() for row in change(rows(run))
    )
    (folder / "samples.jsonl").write_bytes(lines)
    return folder


def gate(run: Path, baseline: Path, capsys: pytest.CaptureFixture[str], rule: str = RULE) -> tuple[int, str]:
    code = main(["compare", str(run), str(baseline), "--fail-on", rule])
    return code, capsys.readouterr().err


def test_the_same_run_passes(baseline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = gate(baseline, baseline, capsys)
    assert code == 0 and "no regression" in said


@pytest.mark.parametrize("sabotage", ["forty", "nan", "zeros"])
def test_a_sabotaged_adapter_fails(
    sabotage: str, baseline: Path, measure: Callable[..., Path], tmp_path: Path, capsys: Any
) -> None:
    shutil.copytree(pocket_dir() / "uniform", tmp_path / "own")
    state = load_weights(tmp_path / "own" / WEIGHTS_FILE)
    values = [name for name in state if "to_v_ip" in name]
    for name in values if sabotage == "forty" else list(state):
        state[name] = state[name] * (40 if sabotage == "forty" else 0 if sabotage == "zeros" else 1)
    if sabotage == "nan":
        state[values[0]].view(-1)[0] = float("nan")
    save_file(state, tmp_path / "own" / WEIGHTS_FILE)  # spid itself saves no NaN
    run = measure(sabotage, uniform=str(tmp_path / "own"))
    code, said = gate(run, baseline, capsys)
    assert code == 1 and "no regression" not in said, said
    assert "the gate fails" in said or "regression:" in said


def test_what_was_lost_fails(baseline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def lost_face(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        one = next(row for row in found if row["method"] == "uniform")
        one |= {"status": "no_face_gen", "metrics": {**one["metrics"], "id_sim": None}}
        return found

    person = next(row["identity"] for row in rows(baseline) if row["identity"])
    people = sorted({str(row["identity"]) for row in rows(baseline) if row["identity"]})
    cases = {
        "no_face_gen": lost_face,
        "1 people": lambda found: [row for row in found if row["identity"] != person],
        "methods": lambda found: [row for row in found if row["method"] != "uniform"],
        "too few": lambda found: [row for row in found if row["identity"] in (None, *people[:2])],
    }
    for number, (why, change) in enumerate(cases.items()):
        code, said = gate(edited(baseline, tmp_path / str(number), change), baseline, capsys)
        assert code == 1 and why in said and "no regression" not in said, (why, said)


def test_two_people_alone_cannot_be_judged(baseline: Path, tmp_path: Path) -> None:
    people = sorted({str(row["identity"]) for row in rows(baseline) if row["identity"]})[:2]
    two = edited(
        baseline, tmp_path / "two", lambda found: [row for row in found if row["identity"] in (None, *people)]
    )
    found = compare(two, two, parse_rules(RULE))
    assert not found.passed and any("too few" in reason for reason in found.failures)


def test_a_metric_that_only_the_baseline_has_cannot_be_judged(
    baseline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "metrics": {"face_found": row["metrics"]["face_found"]}} for row in found]

    run = edited(baseline, tmp_path / "run", without)
    about = json.loads((run / "run.json").read_text())
    about["metrics"] = [card for card in about["metrics"] if card["name"] != "id_sim"]
    (run / "run.json").write_text(json.dumps(about))
    code, said = gate(run, baseline, capsys)
    assert code == 1 and "no id_sim to compare" in said
