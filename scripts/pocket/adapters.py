"""The pocket adapters: what `spid train` makes of their recipes in `configs/train`, under a time budget."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from methods.paths import configs_dir
from methods.shipped import SHIPPED
from methods.training.config import read_config
from methods.training.engine import train as run

PROBED = 8


def train(
    method: str,
    weights: Path,
    reader: Path,
    work: Path,
    *,
    minutes: float,
    steps: int | None = None,
    resume: bool = True,
    seed: int = 0,
    initial: Path | None = None,
    settings: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Train `method` on its shipped backbone with the reader of faces, into `weights/<method>`.

    Without `steps`, a few are timed and as many are planned as fit into `minutes`; a resumed training keeps
    the number that it was planned with. initial: an adapter folder to go on from. settings: more `key=value`
    of the recipe, as for `spid train --set`.
    """
    backbone = next(one.folder for one in SHIPPED.values() if method in one.adapters)
    own = [f"backbone={weights / backbone}", f"face_encoder={weights / 'face'}", f"seed={seed}"]
    own += [f"options.face_reader={reader}", *settings]
    own += [] if initial is None else [f"options.initial={initial}"]
    output, planned = work / "run", work / "steps.txt"
    work.mkdir(parents=True, exist_ok=True)
    if not resume:
        shutil.rmtree(output, ignore_errors=True)
        planned.unlink(missing_ok=True)
    started = time.monotonic()
    if steps is None:
        if not planned.is_file():
            planned.write_text(f"{_affordable(method, own, work / 'trial', minutes)}\n")
        steps = int(planned.read_text())
    config, options = read_config(_recipe(method), [*own, *_lengths(method, steps)])
    trained = run(method, config, options, output=output, resume=output.is_dir())
    fresh, final = weights / f".{method}.new", weights / method
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(trained.adapter, fresh)
    shutil.rmtree(final, ignore_errors=True)
    fresh.rename(final)
    spent = round((time.monotonic() - started) / 60, 1)
    return {**trained.terms, "steps": trained.steps, "minutes": spent}


def _recipe(method: str) -> Path:
    return configs_dir() / "train" / f"{method}.yaml"


def _lengths(method: str, steps: int) -> list[str]:
    """`steps` in the words of the method's options: pidiff's two stages share them as its recipe does."""
    if method == "pidiff":
        return [f"options.aligned_steps={steps // 3}", f"options.wild_steps={steps - steps // 3}"]
    return [f"options.steps={steps}"]


def _affordable(method: str, settings: list[str], trial: Path, minutes: float) -> int:
    """How many steps fit into `minutes` by the pace of a few; the pictures that these prepare are kept."""
    shutil.rmtree(trial, ignore_errors=True)
    short = ["preview_every=0", *_lengths(method, PROBED)]
    config, options = read_config(_recipe(method), [*settings, *short])
    ends: list[float] = []

    def tick(stage: str, done: int, of: int, terms: dict[str, float]) -> None:
        if stage == "training":
            ends.append(time.monotonic())

    started = time.monotonic()
    run(method, config, options, output=trial, progress=tick)
    pace = (ends[-1] - ends[1]) / (len(ends) - 2)  # the first steps warm caches up
    shutil.rmtree(trial)
    return max(1, int((60 * minutes - (time.monotonic() - started)) / pace))
