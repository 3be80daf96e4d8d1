"""What the harness itself costs, as JSON on stdout.

Runs the pocket suite; the overhead is the share of its wall clock, loading left out, that is neither
denoising, decoding nor metric forwards. At most 3 % is the target.
Analysing faces, deriving tokens (`encode_s`), files and the tables at the end count as overhead. A busy
machine stretches all parts alike: the share still holds there, the seconds do not. `aggregation`
measures what 100,000 samples cost.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.live import Observer

MOST = 0.03


class Begun(Observer):
    """Notes when a run has loaded everything and begins."""

    at = 0.0

    def begin(self, *arguments: Any) -> None:
        super().begin(*arguments)
        self.at = time.perf_counter()


def overhead(limit: int, methods: tuple[str, ...]) -> dict[str, Any]:
    """Share of a run's wall clock that belongs to the harness; loading metric models counts as metrics."""
    from benchmarks.request import Request
    from benchmarks.runner import bench

    with tempfile.TemporaryDirectory() as name:
        os.environ["SPID_CACHE"] = f"{name}/cache"
        begun = Begun()
        outcome = bench(Request("pocket", methods, limit=limit), Path(name) / "run", observer=begun)
        wall = time.perf_counter() - begun.at
        work = sum(outcome.seconds[key] for key in ("denoise", "decode", "metrics"))
        samples = sum(outcome.counts.values())
        started = time.perf_counter()
        bench(Request("pocket", methods, limit=limit), Path(name) / "run")
        cached = time.perf_counter() - started
    return {
        "suite": "pocket",
        "methods": list(methods),
        "samples": samples,
        "wall_s": round(wall, 2),
        **{f"{key}_s": round(value, 2) for key, value in outcome.seconds.items() if key != "wall"},
        "overhead_share": round(1 - work / wall, 4),
        "overhead_ms_per_sample": round(1000 * (wall - work) / samples, 2),
        "target": MOST,
        "met": wall - work <= MOST * wall,
        "finished_run_again_s": round(cached, 2),
    }


def run(limit: int, methods: Sequence[str]) -> dict[str, Any]:
    """What results/harness.json holds."""
    from methods.provenance import library_versions

    where = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "machine": platform.machine()}
    return {**overhead(limit, tuple(methods)), **where, "versions": library_versions()}
