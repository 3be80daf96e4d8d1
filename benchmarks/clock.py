"""Seconds of sampling: what is denoising, and what decoding."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from methods.hooks import StepInfo

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone


class Clock:
    """Splits the time of batches into denoising, from the beginning to the last step, and decoding."""

    def __init__(self, backbone: Backbone) -> None:
        self._cuda = backbone.device.type == "cuda"
        self.denoise = self.decode = 0.0
        self._last: float | None = None
        self.begin()

    def begin(self) -> None:
        self._started = time.perf_counter()

    def __call__(self, step: StepInfo, latents: torch.Tensor) -> None:
        if step.index == step.count - 1:
            if self._cuda:
                torch.cuda.synchronize(latents.device)
            self._last = time.perf_counter()

    def yielded(self) -> None:
        """A result came out of the loop; the first one of a batch ends its decoding."""
        if self._last is not None:
            now = time.perf_counter()
            self.denoise += self._last - self._started
            self.decode += now - self._last
            self._started, self._last = now, None
