"""What a task wants to know of a picture, computed once and kept on disk by content.

Every process computes its share and the others find it: the key holds everything that the values depend on
(picture, face encoder, backbone, task, options), so that nothing stale is ever read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from methods.errors import SpidError, UsageError, WeightsError
from methods.learning.task import TrainingTask
from methods.paths import cache_dir
from methods.training.sources import Source
from methods.weights import load_weights, save_weights

_VERSION = 1  # raise when examples of the same picture come out differently


@dataclass(frozen=True)
class Skipped:
    """A picture that could not be used, and why."""

    number: int
    name: str
    reason: str


@dataclass
class FeatureStore:
    """Features of the pictures of a source, for one task."""

    source: Source
    task: TrainingTask
    method: str
    skipped: list[Skipped] = field(default_factory=list)

    def __post_init__(self) -> None:
        backbone = self.task.backbone
        key = {
            "version": _VERSION,
            "method": self.method,
            "backbone": backbone.fingerprint,
            "dtype": str(backbone.dtype),
            "encoder": self.source.encoder.fingerprint,
            "size": self.source.size,
            "task": dict(self.task.features_key()),
        }
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = cache_dir() / "training" / f"{self.method}-{digest}"
        self._contents: dict[int, str] = {}

    def prepare(self, numbers: Sequence[int], progress: Callable[[int, int], object] | None = None) -> None:
        """Compute what is missing; pictures that cannot serve are noted in `skipped`."""
        for done, number in enumerate(numbers, 1):
            try:
                path = self._path(number)
                if not path.is_file():
                    self._compute(number, path)
            except _Unwritable:
                raise
            except SpidError as error:
                name = self.source.name(number)
                reason = error.message.split(f"{name}: ", 1)[-1]  # a path before it says nothing more
                self.skipped.append(Skipped(number, name, reason))
            if progress is not None:
                progress(done, len(numbers))

    def load(self, number: int) -> dict[str, Tensor]:
        """The features of one picture; computed again if the file was lost or damaged."""
        path = self._path(number)
        try:
            return load_weights(path)
        except WeightsError:
            return self._compute(number, path)

    def stack(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """Features of several pictures, each [B, ...]."""
        rows = [self.load(number) for number in numbers]
        try:
            return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        except (RuntimeError, KeyError) as error:
            names = ", ".join(self.source.name(number) for number in numbers[:3])
            raise SpidError(
                f"The features of {names} ... differ in shape: {error}.",
                hint="A task must give the same tensors for every picture.",
            ) from error

    def _path(self, number: int) -> Path:
        if number not in self._contents:
            self._contents[number] = self.source.content(number)
        content = self._contents[number]
        return self.folder / content[:2] / f"{content}.safetensors"

    def _compute(self, number: int, path: Path) -> dict[str, Tensor]:
        example = self.source.example(number)
        with torch.no_grad():
            features = {name: value.detach().cpu() for name, value in self.task.features(example).items()}
        broken = [name for name, value in features.items() if not bool(torch.isfinite(value).all())]
        if broken:
            raise SpidError(f"{self.source.name(number)}: its {' and '.join(broken)} are not finite.")
        try:
            save_weights(path, features)
        except SpidError as error:
            raise _Unwritable(
                error.message, hint="Free some space, or set SPID_CACHE to another folder."
            ) from error
        return features


class _Unwritable(SpidError):
    """The cache cannot be written: no fault of a picture."""


def check_skipped(skipped: Sequence[Skipped], total: int, most: float) -> None:
    """Raise UsageError when more than the share `most` of the pictures was skipped, with the first few."""
    if len(skipped) <= most * total:
        return
    first = "; ".join(f"{one.name}: {one.reason.rstrip('.')}" for one in skipped[:3])
    raise UsageError(
        f"{len(skipped)} of {total} training pictures cannot be used ({first}).",
        hint="Mend or remove them, or raise data.max_skipped.",
    )
