"""Somebody with a picture, and tiny fits of two steps."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tiny import tiny_backbone

from methods.fitting.method import FitMethod
from methods.hooks import Identity, Job
from methods.registry import get_method

FITS = ("textual-inversion", "facewise", "id-ea")


def person(folder: Path, seed: int = 0, name: str = "anna") -> Identity:
    """An identity with a random 64 px picture and a random embedding."""
    path = folder / f"{name}-{seed}.png"
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    generator = torch.Generator().manual_seed(seed)
    return Identity(name, F.normalize(torch.randn(512, generator=generator), dim=0), (str(path),))


def names_file(folder: Path) -> Path:
    """Celebrities that the tiny vocabulary knows."""
    path = folder / "names.txt"
    path.write_text("red beach\nphoto person\n\nbeach\n")
    return path


def fit_method(name: str, folder: Path, family: str = "sd1", **options: Any) -> FitMethod:
    """A method whose fits take two steps of two pictures."""
    if name == "id-ea" or options.get("init") == "celebrity":
        options["celebrities"] = str(names_file(folder))
    chosen = get_method(name)
    config = chosen.Config(**{"steps": 2, "batch": 2, **options})
    method = chosen.load(None, tiny_backbone(family), config)
    assert isinstance(method, FitMethod)
    return method


def job(identity: Identity | None, **changes: Any) -> Job:
    base: dict[str, Any] = {"prompt": "photo of the person", "guidance": 3.0, "steps": 3, "seed": 5}
    return Job(**{"width": 64, "height": 64, "identity": identity, **base, **changes})


@cache
def embedding_table() -> torch.Tensor:
    """Token embeddings of the tiny sd1 text encoder."""
    return tiny_backbone("sd1").text.models[0].get_input_embeddings().weight  # type: ignore[operator]
