"""Ledgers of small real runs: verdicts, reasons, what is shared, what is kept, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.claims.ledger import decide, judge_again, read_ledger, save_ledger, write_ledger
from benchmarks.claims.read import read_claims
from benchmarks.claims.study import Measured, Settings
from benchmarks.claims.types import Catalogue
from methods.errors import UsageError

Make = Callable[..., Settings]


@pytest.fixture(scope="module")
def catalogue(claims_folder: Path) -> Catalogue:
    return read_claims(claims_folder)


def entries(ledger: dict[str, Any]) -> dict[str, Any]:
    return {entry["id"].removeprefix("mine/"): entry for entry in ledger["claims"]}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a ledger; only times may differ between two equal ones."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("timings.jsonl", "samples.parquet")
    }


def test_a_ledger_from_nothing_and_again(settings: Make, catalogue: Catalogue, tmp_path: Path) -> None:
    only = ("mine/same", "mine/changes", "mine/special", "mine/elsewhere")
    said: list[str] = []
    ledger = write_ledger(settings(), tmp_path, only=only, catalogue=catalogue, log=said.append)
    found = entries(ledger)
    assert found["same"]["verdict"] == "replicated", found["same"]["reason"]
    assert found["same"]["result"]["value"] == found["same"]["result"]["high"] == 0
    assert found["changes"]["verdict"] == "replicated"  # without weight nothing changes at all
    assert found["changes"]["result"]["after"] == 0 < found["changes"]["result"]["before"]
    assert found["changes"]["result"]["units"] == 5 and found["changes"]["runs"]
    assert found["special"]["verdict"] == "not measured"
    assert "--weights special-weights=FOLDER" in found["special"]["reason"]
    assert found["elsewhere"]["verdict"] == "not measured"
    assert "pocket backbones only" in found["elsewhere"]["reason"]
    assert found["time"]["reason"] == "it has not been run yet"
    assert ledger["counts"] == {
        "replicated": 2, "not replicated": 0, "inconclusive": 0, "undecided": 0, "not measured": 4,
    }  # fmt: skip
    assert said == ["mine: Uniform injection and itself"]
    assert json.loads((tmp_path / "ledger.json").read_bytes()) == ledger

    assert judge_again(tmp_path, catalogue) == ledger
    more = [replace(one, people=16) if one.id == "mine/changes" else one for one in catalogue.claims]
    again = entries(judge_again(tmp_path, replace(catalogue, claims=tuple(more))))
    assert again["changes"]["verdict"] == "undecided"
    assert again["changes"]["reason"] == "measured over 5 people; the claim asks for 16"
    assert again["changes"]["result"] == found["changes"]["result"]
    assert again["same"] == found["same"]
    other = [replace(one, title="another question") for one in catalogue.claims]
    assert entries(judge_again(tmp_path, replace(catalogue, claims=tuple(other))))["same"]["result"] is None
    save_ledger(tmp_path, ledger)

    before = contents(tmp_path)
    assert write_ledger(settings(), tmp_path, only=only, catalogue=catalogue) == ledger
    assert contents(tmp_path) == before


def test_claims_share_samples_and_the_ledger_keeps_what_is_not_asked_again(
    settings: Make, catalogue: Catalogue, tmp_path: Path
) -> None:
    first = write_ledger(settings(limit=2), tmp_path, only=("mine/same",), catalogue=catalogue)
    second = write_ledger(settings(limit=2), tmp_path, only=("mine/changes",), catalogue=catalogue)
    assert entries(second)["same"] == entries(first)["same"]
    assert entries(second)["changes"]["verdict"] == "undecided"
    assert "over 2 people; the claim asks for 5" in entries(second)["changes"]["reason"]
    (one,), (two,) = entries(second)["same"]["runs"], entries(second)["changes"]["runs"]
    assert one != two  # other variants, another run
    shared = {path.stat().st_ino for path in (tmp_path / one).rglob("pictures/*/*.png")}
    again = {path.stat().st_ino for path in (tmp_path / two).rglob("pictures/*/*.png")}
    assert len(shared & again) == 3  # uniform for two people, and the plain picture that both share
    with pytest.raises(UsageError, match="limit: 2 -> nothing"):
        write_ledger(settings(), tmp_path, only=("mine/same",), catalogue=catalogue)


def test_another_text_of_a_suite_is_measured_beside_the_first(
    settings: Make, claims_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(claims_folder, tmp_path / "claims")
    suite = tmp_path / "claims" / "suite" / "mini.yaml"
    claims = tmp_path / "claims" / "mine.yaml"
    claims.write_text(claims.read_text().replace(str(claims_folder / "suite" / "mini.yaml"), str(suite)))
    runs = []
    for text in (suite.read_text(), suite.read_text().replace("beach", "city")):
        suite.write_text(text)
        ledger = write_ledger(
            settings(limit=1), tmp_path / "out", only=("mine/same",), catalogue=read_claims(claims.parent)
        )
        runs.append(entries(ledger)["same"]["runs"])
        assert entries(ledger)["same"]["verdict"] == "undecided"
    assert runs[0] != runs[1] and all((tmp_path / "out" / run).is_dir() for (run,) in runs)


def test_weights_that_a_claim_waited_for_join_a_ledger(
    settings: Make, catalogue: Catalogue, adapter: Path, tmp_path: Path
) -> None:
    first = write_ledger(settings(limit=2), tmp_path, only=("mine/same",), catalogue=catalogue)
    given = dict(settings().weights)
    joined = settings(limit=2, weights={"special-weights": str(adapter)})  # the others are the ledger's own
    second = write_ledger(joined, tmp_path, only=("mine/special",), catalogue=catalogue)
    assert second["settings"]["weights"] == given | {"special-weights": str(adapter)}
    assert entries(second)["same"] == entries(first)["same"]
    assert entries(second)["special"]["result"]["units"] == 2
    with pytest.raises(UsageError, match="weights.uniform"):
        write_ledger(settings(limit=2, weights={"uniform": str(tmp_path)}), tmp_path, catalogue=catalogue)


def test_what_takes_hours_runs_when_it_is_named(settings: Make, catalogue: Catalogue, tmp_path: Path) -> None:
    few = settings(limit=1)
    hours = Catalogue(catalogue.of("hours") and tuple(catalogue.of("hours")), catalogue.experiments)
    (entry,) = write_ledger(few, tmp_path, catalogue=hours)["claims"]
    assert entry["verdict"] == "not measured"
    assert "2 pictures and 5 fits (15 steps in all); ask for it by --only mine/slow" in entry["reason"]
    (entry,) = write_ledger(few, tmp_path, only=("mine/slow",), catalogue=hours)["claims"]
    assert entry["verdict"] == "undecided" and entry["result"]["units"] == 1
    (kept,) = write_ledger(few, tmp_path, catalogue=hours)["claims"]
    assert kept == entry


def test_times_are_paired_kept_and_judged(settings: Make, catalogue: Catalogue, tmp_path: Path) -> None:
    ledger = write_ledger(settings(), tmp_path, only=("mine/time",), catalogue=catalogue)
    result = entries(ledger)["time"]["result"]
    assert result["unit"] == "round" and result["units"] == result["pairs"] == 5
    assert 0 < result["low"] <= result["value"] <= result["high"]
    again = write_ledger(settings(), tmp_path, only=("mine/time",), catalogue=catalogue)
    assert entries(again)["time"]["result"] == result  # measured once


def test_unknown_weights_and_claims_are_refused(settings: Make, catalogue: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Unknown weights 'special'"):
        write_ledger(settings(weights={"special": "x"}), tmp_path, catalogue=catalogue)
    with pytest.raises(UsageError, match="special-weights: .*absent is not there"):
        write_ledger(
            settings(weights={"special-weights": str(tmp_path / "absent")}), tmp_path, catalogue=catalogue
        )
    with pytest.raises(UsageError, match="Unknown claim"):
        write_ledger(settings(), tmp_path, only=("yours",), catalogue=catalogue)
    assert not list(tmp_path.iterdir())


def test_a_ledger_of_another_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no ledger in"):
        read_ledger(tmp_path)
    (tmp_path / "ledger.json").write_text('{"schema": 99}')
    with pytest.raises(UsageError, match="no ledger of schema"):
        read_ledger(tmp_path)


def test_a_variant_out_of_reach_gives_its_reason(catalogue: Catalogue) -> None:
    from benchmarks.claims.effects import Table

    claim = next(one for one in catalogue.claims if one.id == "mine/same")
    measured = Measured(Table(), unreachable={"A": "it has no weights"})
    assert decide(claim, measured, "pocket") == ("not measured", "A: it has no weights", None)
