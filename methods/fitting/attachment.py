"""A learned word at work: the prompts of a batch with everybody's own word in them, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.hooks import Attachment, Conditioning, Job, StepInfo


@dataclass(frozen=True, eq=False)
class Spoken:
    """A prompt with the learned word in it, encoded once for every stage of the denoising.

    key, value: [S, T, C], the same tensor unless keys and values see different words
    pooled:     [S, P] (SDXL) or None
    source:     int64 [T]: the place of the plain prompt that each place came from
    """

    key: Tensor
    value: Tensor
    pooled: Tensor | None
    source: Tensor


class WordAttachment(Attachment):
    """Text features of the conditional rows, from the plain prompt (weight 0) to the learned word (weight 1).

    c <- c_0 + alpha (c_id - c_0), with c_0 the prompt with "person", its features repeated where the learned
    word takes more places. Unconditional rows stay as they are. One `Conditioning` per stage and set of
    weights is kept, so that keys and values are projected once for each.
    """

    def __init__(self, jobs: Sequence[Job], spoken: Sequence[Spoken | None]) -> None:
        """spoken: for each job, its prompt with the word of its identity; None leaves the job alone."""
        self.jobs = jobs
        self.spoken = spoken
        self.stages = max((len(one.key) for one in spoken if one is not None), default=1)
        self.weights: tuple[float, ...] = (0.0,) * len(jobs)
        self._known: dict[tuple[int, tuple[float, ...]], Conditioning] = {}

    def on_step(self, step: StepInfo) -> None:
        self.weights = tuple(job.id_weight_at(step) for job in self.jobs)

    def conditioning(self, step: StepInfo, text: Conditioning) -> Conditioning:
        if not any(self.weights):
            return text
        stage = stage_of(step.time, self.stages)
        state = (stage, self.weights)
        if state not in self._known:
            self._known[state] = self._merge(stage, step, text)
        return self._known[state]

    def _merge(self, stage: int, step: StepInfo, text: Conditioning) -> Conditioning:
        key, pooled = text.key.clone(), None if text.pooled is None else text.pooled.clone()
        split = any(one is not None and one.value is not one.key for one in self.spoken)
        value = text.value.clone() if split else key
        rows = range(*step.rows.cond.indices(step.rows.total))
        for row, weight, one in zip(rows, self.weights, self.spoken, strict=True):
            if one is None or not weight:
                continue
            key[row] = _between(text.key[row][one.source], one.key[stage], weight)
            if split:
                value[row] = _between(text.value[row][one.source], one.value[stage], weight)
            if pooled is not None and text.pooled is not None and one.pooled is not None:
                pooled[row] = _between(text.pooled[row], one.pooled[stage], weight)
        return Conditioning(key, value, pooled)


def stage_of(time: float, stages: int) -> int:
    """s(t) = min(S - 1, floor(S t)), t in [0, 1]: 0 is the clean end, S - 1 the noisiest."""
    return min(stages - 1, int(stages * time + 1e-9))  # 0.29 * 100 is a little below 29


def _between(start: Tensor, end: Tensor, weight: float) -> Tensor:
    """start + weight (end - start), exactly `end` at 1."""
    return torch.lerp(start, end.to(start.dtype), weight)
