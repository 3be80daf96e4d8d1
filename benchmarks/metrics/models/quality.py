"""No-reference picture quality through pyiqa: its architectures, without its loader (`methods.iqa`)."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.metrics.metric import Failure
from benchmarks.metrics.models.base import APACHE, Extractor
from methods.iqa import INSTALL, create, load_musiq
from methods.paths import pocket_dir, user_path

LICENCE = "PolyForm-Noncommercial (pyiqa)"
_SPAQ = "musiq_spaq_ckpt-358bb6af.pth"


def pyiqa_folder() -> Path:
    """Where pyiqa keeps weights: below torch's hub folder."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return user_path(home) / "hub" / "pyiqa"


class _Pyiqa(Extractor):
    """One number per picture; pictures of one size share a forward pass."""

    preprocessing = "RGB in [0, 1] at its own size"
    licence = LICENCE
    scale = 1.0

    def __init__(self, device: str) -> None:
        self.device = device

    def missing(self) -> str | None:
        return None if find_spec("pyiqa") else f"pyiqa is not installed. {INSTALL}"

    @property
    @abstractmethod
    def metric(self) -> Any:
        """The pyiqa metric on its device; made at the first use and kept."""

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        import torch

        values: list[Any] = [None] * len(items)
        sizes: dict[tuple[int, int], list[int]] = {}
        for place, (_, picture) in enumerate(items):
            sizes.setdefault(picture.size, []).append(place)
        with torch.inference_mode():
            for places in sizes.values():
                arrays = np.stack([np.asarray(items[place][1]) for place in places])
                pixels = torch.from_numpy(arrays).permute(0, 3, 1, 2).float().to(self.device)
                scores = self._forward(pixels)
                for place, score in zip(places, scores.flatten().tolist(), strict=True):
                    values[place] = score * self.scale
        return values

    def _forward(self, pixels: Any) -> Any:
        """Scores of float32 [B,3,H,W] in [0,255]."""
        return self.metric(pixels / 255.0)


class Piqe(_Pyiqa):
    """PIQE, 0 (best) to 100."""

    tag = "pyiqa, piqe (no weights)"

    @cached_property
    def metric(self) -> Any:
        return create("piqe", self.device)

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        # one at a time: pyiqa's PIQE fails on some flat pictures, and a batch must not fail with one of them
        values: list[Any] = []
        for item in items:
            try:
                values += super().compute([item])
            except (RuntimeError, IndexError, ValueError) as error:
                values.append(Failure("error", f"PIQE: {str(error).splitlines()[0][:120]}"))
        return values


class Musiq(_Pyiqa):
    """MUSIQ; spec: `pocket`, `musiq-spaq` (its file in pyiqa's folder) or a weights file of MUSIQ-SPAQ.

    Raises WeightsError for weights that do not fit.
    """

    def __init__(self, spec: str, device: str) -> None:
        super().__init__(device)
        if spec == "pocket":
            self.file = pocket_dir() / "quality" / "musiq.safetensors"
            self.tag, self.licence = "pyiqa, MUSIQ architecture, pocket weights", f"{APACHE}; {LICENCE}"
        else:
            self.file = pyiqa_folder() / _SPAQ if spec == "musiq-spaq" else user_path(spec)
            self.tag, self.scale = f"pyiqa, MUSIQ, {self.file.name}", 0.01
        self.pocket = spec == "pocket"

    def missing(self) -> str | None:
        if not self.file.is_file():
            way = (
                "Run `python scripts/train_pocket.py quality`."
                if self.pocket
                else f"Put pyiqa's {_SPAQ} there, or give iq=FILE."
            )
            return f"No MUSIQ weights at {self.file}. {way}"
        return super().missing()

    def files(self) -> tuple[Path, ...]:
        return (self.file, self.file.with_suffix(".json")) if self.pocket else (self.file,)

    @cached_property
    def metric(self) -> Any:
        options: dict[str, Any] = {}
        if self.pocket:
            options = json.loads(self.file.with_suffix(".json").read_text(encoding="utf-8"))["options"]
        return load_musiq(self.file, self.device, **options)


class IBenchMusiq(Musiq):
    """MUSIQ as IBench calls it: pixels of 0 to 255, neither divided nor resized, are given to a network that
    expects [0, 1] (imaging_quality.py prepares a scaled batch and then scores the original one)."""

    preprocessing = "RGB in 0..255 although the model expects [0, 1], no resize (the published bug)"

    def _forward(self, pixels: Any) -> Any:
        return self.metric.net(pixels)
