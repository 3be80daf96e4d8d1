"""The pocket probes: what a rendered or generated pocket picture shows, factor by factor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmarks.metrics.models.base import APACHE, Extractor
from methods.paths import pocket_dir, user_path

if TYPE_CHECKING:
    from methods.pocket.probes import ProbeSet

SIDE = 128


class Probed(Extractor):
    """factor -> value, as words, for every factor of the pocket world and gender.

    folder: `pocket` or a folder with probes.json and probes.safetensors.
    """

    preprocessing = f"{SIDE} x {SIDE} pixels (bicubic where the picture has another size), [-1, 1]"
    licence = APACHE

    def __init__(self, folder: str) -> None:
        self.folder = pocket_dir() / "probes" if folder == "pocket" else user_path(folder)
        self.tag = f"attribute probes, {'pocket' if folder == 'pocket' else self.folder.name}"

    def missing(self) -> str | None:
        if (self.folder / "probes.safetensors").is_file():
            return None
        return f"No probes in {self.folder}. Run `python scripts/train_pocket.py probes`."

    def files(self) -> tuple[Path, ...]:
        return (self.folder / "probes.safetensors", self.folder / "probes.json")

    @cached_property
    def probes(self) -> ProbeSet:
        from methods.pocket.probes import load_probes

        return load_probes(self.folder)

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        from methods.pocket.probes import HEADS

        pictures = [
            p if p.size == (SIDE, SIDE) else p.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            for _, p in items
        ]
        seen = self.probes.predict(np.stack([np.asarray(picture) for picture in pictures]))
        return [{factor: HEADS[factor][int(seen[factor][i])] for factor in HEADS} for i in range(len(items))]
