"""Figures of a study: means with intervals, kept between runs; and how long the rest will take."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.statistics import MIN_UNITS, Bootstrap
from methods.files import save_json


def mean_interval(values: NDArray[np.float64]) -> dict[str, Any]:
    """Mean over people and its 95 % interval; None for fewer people than an interval takes."""
    return ratio_interval(values)


def ratio_interval(values: NDArray[np.float64], base: NDArray[np.float64] | None = None) -> dict[str, Any]:
    """Ratio of the means of two values per person, people resampled in pairs; of one: its mean."""
    found = Bootstrap(len(values)).ratio(values, base)
    value, *interval = (round(one, 4) for one in found)
    known = interval if len(values) >= MIN_UNITS else None
    return {"value": value, "interval": known, "n": len(values)}


class Figures:
    """A JSON file that grows part by part; parts of an earlier run with the same settings stay in it."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.values: dict[str, Any] = {"settings": dict(settings)}
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(known, dict) and known.get("settings") == json.loads(json.dumps(dict(settings))):
            self.values = known

    def keep(self, part: str, figures: Any) -> None:
        """Replace one part and write the file."""
        self.values[part] = figures
        save_json(self.path, self.values)


class Remaining:
    """Words for the time left. What this run does counts, at its own pace; what it found done does not."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._done = 0

    def after(self, left: int, *, fresh: bool = True) -> str:
        """Called after every unit of work, with how many are left; `fresh` when it was done just now."""
        if not fresh:
            self._started = time.monotonic() if not self._done else self._started
            return ""
        self._done += 1
        return f", {duration((time.monotonic() - self._started) / self._done * left)} left" if left else ""


def every(seconds: float, tell: Callable[[str], object], label: str) -> Callable[[str, int, int], None]:
    """A progress callback of fits that speaks now and then: `label: step 40 of 320, 2 min left`."""
    started = last = time.monotonic()

    def advance(name: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds and done < total:
            last = now
            tell(f"{label}: step {done} of {total}, {duration((now - started) / done * (total - done))} left")

    return advance


def duration(seconds: float) -> str:
    """Such as `40 s`, `12 min` or `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
