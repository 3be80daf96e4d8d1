"""Identities as references give them: a rendered picture in a file, its face, an embedding of unit length."""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from methods.faces import Face
from methods.faces.geometry import align
from methods.hooks import Identity
from methods.paths import pocket_dir
from methods.pocket.world import Portrait, render, sample_context, sample_person

_ROOT = tempfile.TemporaryDirectory(prefix="rendered-people-")  # removed when the test process ends


@cache
def open_pack() -> Path:
    """The scoring pack without its domain: it judges what random weights of SD make, which are no renders."""
    folder = Path(_ROOT.name) / "open-pack"
    shutil.copytree(pocket_dir() / "face-scoring", folder)
    about = json.loads((folder / "pack.json").read_text())
    (folder / "pack.json").write_text(json.dumps({**about, "name": "open-pack", "domain": None}))
    return folder


@cache
def portrait(number: int, size: int = 128) -> Portrait:
    """A plain photo of pocket person `number`, front view, nothing in front of the face."""
    fixed = {"style": "photo", "accessory": "none", "action": "none", "pose": "front", "scene": "studio"}
    return render(sample_person(number), sample_context(np.random.default_rng(number), **fixed), size)


@cache
def somebody(number: int, name: str = "somebody") -> Identity:
    """Pocket person `number` with picture file, true landmarks and a random embedding [512]."""
    shown = portrait(number)
    path = Path(_ROOT.name) / f"{name}-{number}.png"
    Image.fromarray(shown.pixels).save(path)
    embedding = F.normalize(torch.randn(512, generator=torch.Generator().manual_seed(number)), dim=0)
    return Identity(name, embedding, (str(path),), face_of(shown, embedding))


def face_of(shown: Portrait, embedding: torch.Tensor) -> Face:
    """What an analysis that makes no mistake says of a rendered face."""
    return Face(
        box=shown.box,
        landmarks=shown.landmarks,
        score=1.0,
        embedding=embedding.numpy(),
        norm=20.0,
        crop=align(shown.pixels, shown.landmarks),
        rung="as-is",
        count=1,
        encoder="truth",
    )
