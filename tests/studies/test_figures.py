"""What an evaluation keeps between runs, and what it says of the time left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.studies.figures import Figures, Remaining, duration, every, mean_interval, ratio_interval


def test_parts_stay_under_the_same_settings_only(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    Figures(path, {"steps": 25}).keep("one", {"value": 1})
    Figures(path, {"steps": 25}).keep("two", {"value": 2})
    assert json.loads(path.read_text()) == {
        "settings": {"steps": 25},
        "one": {"value": 1},
        "two": {"value": 2},
    }
    Figures(path, {"steps": 5}).keep("two", {"value": 3})
    assert json.loads(path.read_text()) == {"settings": {"steps": 5}, "two": {"value": 3}}
    path.write_text("half a fi")
    Figures(path, {"steps": 5}).keep("one", {"value": 4})
    assert json.loads(path.read_text())["one"] == {"value": 4}


def test_only_what_was_done_now_counts_for_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.studies.figures.time.monotonic", lambda: now[0])
    remaining = Remaining()
    now[0] = 5.0
    assert remaining.after(9, fresh=False) == ""
    now[0] = 15.0
    assert remaining.after(8) == ", 80 s left"
    now[0] = 35.0
    assert remaining.after(7) == ", 2 min left"
    assert remaining.after(0) == ""


def test_a_fit_speaks_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.studies.figures.time.monotonic", lambda: now[0])
    said: list[str] = []
    tell = every(15.0, said.append, "facewise")
    for step in range(1, 11):
        now[0] = 4.0 * step
        tell("anna", step, 10)
    assert said == ["facewise: step 4 of 10, 24 s left", "facewise: step 8 of 10, 8 s left"]


def test_durations() -> None:
    assert [duration(seconds) for seconds in (4, 89, 300, 9000)] == ["4 s", "89 s", "5 min", "2.5 h"]


def test_means_and_ratios_of_people() -> None:
    values = np.array([0.2, 0.4, 0.3, 0.1, 0.5])
    found = mean_interval(values)
    assert found["value"] == 0.3 and found["n"] == 5
    # five people, t with 4 degrees of freedom: as wide as Student's interval, within what five values can be
    student = stats.t.ppf(0.975, 4) * values.std(ddof=1) / 5**0.5
    low, high = found["interval"]
    assert (high - low) / 2 == pytest.approx(student, rel=0.15)
    assert ratio_interval(values, values / 2) == {"value": 2.0, "interval": [2.0, 2.0], "n": 5}
    assert mean_interval(values[:4]) == {"value": 0.25, "interval": None, "n": 4}
