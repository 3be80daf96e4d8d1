"""What fits and trainings cost on the pocket models: minutes, and the most memory they take.

Every case runs alone in a process of its own, with the options that users get. A few steps are timed after
two to warm up; `minutes` is their mean times all steps of the method. Memory is the largest resident size
of the process; it does not grow with the number of steps.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from methods.paths import configs_dir

BENCHMARK = str(Path(__file__).resolve().parents[1] / "benchmark.py")
FITS = ("textual-inversion", "facewise", "id-ea")
TRAININGS = ("uniform", "infinite-id", "pidiff")
MINUTES = {"id-ea": 3.0, "facewise": 4.0}
"""What a fit may take on two cores."""
MEBIBYTES = 4096
"""What anything of this may take."""
WARM_UP = 2


class Clock:
    """Wall and processor seconds per step, from a progress callback."""

    def __init__(self) -> None:
        self._marks: dict[int, tuple[float, float]] = {}

    def tick(self, done: int) -> None:
        """A step is done."""
        self._marks[done] = (time.perf_counter(), time.process_time())

    def per_step(self) -> tuple[float, float]:
        """Means over the steps after the warm-up."""
        first, last = WARM_UP, max(self._marks)
        pairs = zip(self._marks[first], self._marks[last], strict=True)
        wall, cpu = ((after - before) / (last - first) for before, after in pairs)
        return wall, cpu


def fit(name: str, steps: int, folder: Path) -> tuple[Clock, int]:
    """A few steps of a fit, and how many it has."""
    from benchmarks.studies.people import held_out
    from methods.fitting.method import FitMethod
    from methods.pocket.models import PocketModels
    from methods.registry import get_method
    from methods.settings import configure

    kind, models = get_method(name), PocketModels()
    clock = Clock()
    config = configure(kind, None, family=models.backbone.family)
    method = kind.load(None, models.backbone, replace(config, steps=WARM_UP + steps))
    assert isinstance(method, FitMethod)
    method.progress = lambda _, done, total: clock.tick(done)
    method.tokens(held_out(0, folder, models.conditioner), models.backbone)
    return clock, config.steps


def training(name: str, steps: int, folder: Path) -> tuple[Clock, int]:
    """A few steps of the last stage of a training by its own recipe, and how many steps the recipe has."""
    from methods.training.config import read_config
    from methods.training.engine import train

    path = configs_dir() / "train" / f"{name}.yaml"
    _, options = read_config(path)
    stages = [key for key in ("steps", "aligned_steps", "wild_steps") if key in options]
    few = {key: WARM_UP + steps if key == stages[-1] else 0 for key in stages}
    small = {"data.people": 4, "data.pictures": 4, "preview_every": 0} | {
        f"options.{key}": value for key, value in few.items()
    }
    config, own = read_config(path, [f"{key}={value}" for key, value in small.items()])
    clock = Clock()

    def tell(what: str, done: int, total: int, terms: dict[str, float]) -> None:
        if what == "training":
            clock.tick(done)

    train(name, config, own, output=folder / "out", progress=tell)
    return clock, sum(options[key] for key in stages)


def measure(name: str, steps: int) -> dict[str, Any]:
    """One case, in this process."""
    run: Callable[[str, int, Path], tuple[Clock, int]] = fit if name in FITS else training
    with TemporaryDirectory() as folder:
        os.environ["SPID_CACHE"] = folder
        clock, total = run(name, steps, Path(folder))
    import torch

    wall, cpu = clock.per_step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "linux" else 1024)
    minutes, mebibytes = wall * total / 60, peak / 1024
    return {
        "kind": "fit" if name in FITS else "training",
        "steps": total,
        "seconds_per_step": round(wall, 4),
        "cpu_seconds_per_step": round(cpu, 4),
        "minutes": round(minutes, 2),
        "minutes_limit": MINUTES.get(name),
        "peak_mebibytes": round(mebibytes),
        "peak_limit": MEBIBYTES,
        "within": minutes <= MINUTES.get(name, math.inf) and mebibytes <= MEBIBYTES,
        "threads": torch.get_num_threads(),
    }


def run(names: Sequence[str], steps: int, keep: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """What results/fits_cost.json holds; `keep` is called with it after every case."""
    from methods.provenance import library_versions

    rows: dict[str, dict[str, Any]] = {}
    found = {"backbone": "pocket", "versions": library_versions(), "rows": rows}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        call = [sys.executable, BENCHMARK, "fits", "--alone", name, "--steps", str(steps)]
        ended = subprocess.run(call, capture_output=True, text=True)
        if ended.returncode:
            rows[name] = {"error": (ended.stderr.strip().splitlines() or ["failed"])[-1], "within": False}
        else:
            rows[name] = json.loads(ended.stdout.splitlines()[-1])
        keep(found)
    return found
