"""A training of a few steps on a tiny backbone, and pictures to train on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_backbone, tiny_folder

from methods.pocket.world import render, sample_context, sample_person
from methods.training.config import DataConfig, TrainConfig
from methods.training.engine import Trained, train

ROOT = Path(__file__).resolve().parents[2]
OPTIONS: dict[str, Any] = {"steps": 4, "tokens": 2}

needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon is of torch 2.9")


def config(**changes: Any) -> TrainConfig:
    """Two samples a step, drawn from two rendered people with three pictures each."""
    data = {"people": 2, "pictures": 3, "size": 64} | changes.pop("data", {})
    base: dict[str, Any] = {
        "face_encoder": "pocket",
        "device": "cpu",
        "batch": 2,
        "rate": 1e-2,
        "warmup": 1,
        "checkpoint_every": 2,
        "preview_every": 0,
    }
    return TrainConfig(**{**base, **changes, "data": DataConfig(**data)})


def run(output: Path, *, resume: bool = False, stop_after: int | None = None, **changes: Any) -> Trained:
    """Train `uniform` on the tiny SD 1.x backbone; `stop_after` interrupts it after so many steps."""
    options = OPTIONS | changes.pop("options", {})
    return train(
        changes.pop("method", "uniform"),
        config(**changes),
        options,
        output=output,
        resume=resume,
        progress=None if stop_after is None else interrupt_after(stop_after),
        backbone=tiny_backbone("sd1"),
    )


def interrupt_after(step: int) -> Callable[[str, int, int, dict[str, float]], None]:
    """A progress callback in which somebody presses Ctrl-C."""

    def tell(what: str, done: int, total: int, terms: dict[str, float]) -> None:
        if what == "training" and done == step:
            raise KeyboardInterrupt

    return tell


def curve(output: Path) -> list[float]:
    """The loss of every step, as the log has it."""
    return [json.loads(line)["loss"] for line in (output / "log.jsonl").read_text().splitlines()]


def people_folder(folder: Path, people: int = 2, pictures: int = 2, size: int = 128) -> Path:
    """An imagefolder of rendered people with its metadata.jsonl."""
    lines = []
    for person in range(people):
        for place in range(pictures):
            name = f"{person}/{place}.png"
            (folder / str(person)).mkdir(parents=True, exist_ok=True)
            context = sample_context(
                np.random.default_rng([person, place]),
                style="photo", accessory="none", pose="front", framing="portrait", action="none",
            )  # fmt: skip
            Image.fromarray(render(sample_person(person), context, size).pixels).save(folder / name)
            lines.append(json.dumps({"file_name": name, "identity": f"p{person}", "prompt": "photo"}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def arguments(output: Path, *settings: str) -> list[str]:
    """Of `spid` for a training on the tiny backbone."""
    values = {
        "backbone": tiny_folder("sd1"),
        "face_encoder": "pocket",
        "device": "cpu",
        "batch": 2,
        "precision": "float32",
        "checkpoint_every": 2,
        "preview_every": 0,
        "data.people": 2,
        "data.pictures": 3,
        "options.steps": 24,
        "options.tokens": 2,
    }
    given = [f"{name}={value}" for name, value in values.items()] + list(settings)
    parts = [part for setting in given for part in ("--set", setting)]
    return ["train", "--method", "uniform", "--output", str(output), "--resume", *parts]


def process_environment() -> dict[str, str]:
    """Another process computes with as many threads as this one: rounding depends on them."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
