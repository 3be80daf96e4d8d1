"""Prompts about nobody, from the suite to the row: drift has a value there, and nothing about people has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from folders import rows
from people import open_pack

from benchmarks.request import Request
from benchmarks.runner import bench

PEOPLE = ("id_sim", "id_sim_zero", "face_found")


def test_drift_is_measured_where_the_prompt_is_about_nobody(
    tmp_path: Path, ask: Callable[..., Request]
) -> None:
    request = ask(
        suite="pocket",
        sets=("reference-a", "unrelated"),
        limit=1,
        steps=1,
        size=(64, 64),
        metrics=("drift", *PEOPLE),
        models={"clip": "pocket", "face": str(open_pack())},
    )
    assert bench(request, tmp_path / "run").complete
    found = {row["set"]: row for row in rows(tmp_path / "run") if row["method"] == "uniform"}
    scored, other = found["unrelated"], found["reference-a"]
    assert scored["status"] == "ok" and 0.0 <= scored["metrics"]["drift"] <= 2.0
    assert {scored["notes"][name] for name in PEOPLE} == {"the prompt is about no person"}
    assert other["metrics"]["drift"] is None and "person" in other["notes"]["drift"]
    assert other["metrics"]["face_found"] is not None, other["notes"]["face_found"]
