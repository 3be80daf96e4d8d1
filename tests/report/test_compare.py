"""`spid compare`: what is a regression, and what is misuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic_run import Plan, relined, write_run

from benchmarks.compare import compare, parse_rules
from methods.errors import UsageError
from methods.files import save_json
from spatialid_cli.app import main


def make(folder: Path, shift: float = 0.0, **more: object) -> Path:
    return write_run(folder, Plan(people=8, pictures=False, shift=shift, **more))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("runs") / "baseline")


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("runs") / "worse", shift=-0.02)


def test_a_run_equals_itself(baseline: Path) -> None:
    found = compare(baseline, baseline)
    assert found.regressions == [] and found.unpaired == 0
    assert found.pairs == len((baseline / "samples.jsonl").read_text().splitlines())
    assert {change.verdict for change in found.changes} == {"same"}
    assert all(change.delta == 0 for change in found.changes)


def test_a_known_shift_is_found_where_it_is(baseline: Path, worse: Path) -> None:
    found = compare(worse, baseline)
    assert {change.metric for change in found.regressions} == {"id_sim", "id_sim_zero"}
    for change in found.regressions:
        if change.metric == "id_sim":
            assert (change.delta, change.low, change.high) == pytest.approx((-0.02, -0.02, -0.02), abs=1e-6)
    assert compare(baseline, worse).regressions == []
    assert {change.verdict for change in compare(baseline, worse).changes} == {"same", "better"}


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ("id_sim<-0.01", 1),
        ("id_sim < -0.03, clip_t<-0.005", 0),
        ("leakage>0.01", 0),
        ("id_sim<0", 1),
        (None, 1),
    ],
)
def test_the_exit_code_is_the_verdict(
    baseline: Path, worse: Path, rules: str | None, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [] if rules is None else ["--fail-on", rules]
    assert main(["compare", str(worse), str(baseline), *options]) == code
    printed = capsys.readouterr()
    assert ("regression:" in printed.err) == (code == 1)
    assert "id_sim" in printed.out


@pytest.mark.parametrize(
    "rules", ["id_sim", "id_sim<", "id_sim<=-1", "id_sim<0.01", "leakage>-0.01", "idsim<-0.01", "", "a b<1"]
)
def test_a_rule_that_is_none_is_misuse(baseline: Path, rules: str) -> None:
    assert main(["compare", str(baseline), str(baseline), "--fail-on", rules]) == 2


def test_a_rule_names_the_nearest_metric(baseline: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'id_sim'"):
        compare(baseline, baseline, parse_rules("id_sin<-0.1"))


def test_runs_that_share_nothing_are_misuse(baseline: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", names=[f"somebody else {i}" for i in range(5)], methods=("uniform",))
    assert main(["compare", str(other), str(baseline)]) == 2
    assert main(["compare", str(tmp_path / "nothing"), str(baseline)]) == 2


def test_different_definitions_are_not_subtracted(baseline: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", shift=-0.5)
    run = json.loads((other / "run.json").read_text())
    next(card for card in run["metrics"] if card["name"] == "id_sim")["model"] = "antelopev2"
    save_json(other / "run.json", run)
    found = compare(other, baseline)
    assert "different model" in found.refused["id_sim"]
    assert all(change.metric != "id_sim" for change in found.changes)
    assert main(["compare", str(other), str(baseline), "--fail-on", "id_sim<-0.1"]) == 2


def test_other_weights_under_the_same_name_are_not_subtracted(baseline: Path, tmp_path: Path) -> None:
    """A run from before cards held digests says nothing of its weights, which is no difference."""
    runs = []
    for number, weights in enumerate((None, "5c3f", "77aa")):
        runs.append(make(tmp_path / str(number), shift=-0.5))
        run = json.loads((runs[-1] / "run.json").read_text())
        card = next(card for card in run["metrics"] if card["name"] == "id_sim")
        card.pop("weights", None)
        if weights:
            card["weights"] = weights
        save_json(runs[-1] / "run.json", run)
    before, one, other = runs
    assert "different weights" in compare(one, other).refused["id_sim"]
    assert "id_sim" not in compare(one, before).refused and "id_sim" not in compare(one, one).refused


def test_lost_values_are_told(baseline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = make(tmp_path / "other")
    lines = (other / "samples.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for row in [row for row in rows if row["method"] == "spatialid"][:5]:
        row["metrics"]["clip_t"] = None
    (other / "samples.jsonl").write_bytes(relined(rows))
    (change,) = [
        c for c in compare(other, baseline).changes if (c.method, c.metric) == ("spatialid", "clip_t")
    ]
    assert change.lost == 5
    main(["compare", str(other), str(baseline)])
    assert "spatialid clip_t: 5 values of the baseline are gone" in capsys.readouterr().err


def test_json_holds_everything(baseline: Path, worse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(worse), str(baseline), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["identities"] == 8 and {change["unit"] for change in found["changes"]} == {
        "identity",
        "sample",
    }
    assert len(found["regressions"]) == 8  # id_sim and id_sim_zero of four methods
    assert {"before", "after", "delta", "low", "high", "p", "p_holm", "n"} <= found["changes"][0].keys()
