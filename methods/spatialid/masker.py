"""The masks of one batch: which one rules at a site and step, and the record of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from methods.hooks import Job, Site, StepInfo
from methods.regions import EVERYWHERE, Box
from methods.spatialid.masks import Kernels, apply_phase, gaussian_prior, refine
from methods.spatialid.masks_io import MaskRecording
from methods.spatialid.schedule import Phase, Schedule


class Masker:
    """Makes M_t, anew for every picture, site and step; nothing is averaged.

    kernels: sizes of blur and dilation for a token grid (h, w)
    """

    def __init__(
        self, schedule: Schedule, kernels: Callable[[int, int], Kernels], jobs: Sequence[Job]
    ) -> None:
        self.schedule = schedule
        self.kernels = kernels
        self.jobs = jobs
        self.phase = Phase.EARLY
        self._priors: dict[tuple[int, int, Box], Tensor] = {}
        self._steps: list[StepInfo] = []
        self._kept: dict[str, list[Tensor]] = {}

    def on_step(self, step: StepInfo, *, record: bool) -> None:
        """The phase of a step; record: masks of it will be kept."""
        self.phase = self.schedule.phase(step.noise_level)
        if record:
            self._steps.append(step)

    def mask(
        self,
        site: Site,
        latent_size: tuple[int, int],
        count: int,
        response: Callable[[], Tensor],
        device: torch.device,
    ) -> Tensor:
        """M_t of `count` rows, float32 [count, h, w].

        response: gives m [count, N] in [0, 1]; not asked while the prior rules
        """
        h, w = site.grid(*latent_size)
        if self.phase is Phase.EARLY:
            boxes = [_box(job) for job in self.jobs]
            if len(set(boxes)) <= 1:
                prior = self._prior(h, w, device, *boxes[:1]).expand(count, h, w)
            else:  # rows are [repeats, jobs]
                priors = torch.stack([self._prior(h, w, device, box) for box in boxes])
                prior = priors.repeat(count // len(boxes), 1, 1)
            return apply_phase(self.phase, self.schedule, prior)
        refined = refine(response().unflatten(-1, (h, w)), self.kernels(h, w))
        return apply_phase(self.phase, self.schedule, refined)

    def keep(self, site: Site, masks: Tensor) -> None:
        """Remember the jobs' masks [J, h, w] at a site of this step."""
        self._kept.setdefault(site.name, []).append(masks.to(torch.float16))

    def records(self, job: int) -> dict[str, Any]:
        """`masks`: the MaskRecording of one job, over the steps at which its identity was at work."""
        at_work = [place for place, step in enumerate(self._steps) if self.jobs[job].id_weight_at(step)]
        if not at_work:
            return {}
        steps = [self._steps[place] for place in at_work]
        recording = MaskRecording(
            steps=np.array([step.index for step in steps]),
            noise_levels=np.array([step.noise_level for step in steps], dtype=np.float32),
            phases=tuple(self.schedule.phase(step.noise_level).value for step in steps),
            masks={
                name: torch.stack([kept[place][job] for place in at_work]).cpu().numpy()
                for name, kept in self._kept.items()
            },
        )
        return {"masks": recording}

    def _prior(self, h: int, w: int, device: torch.device, box: Box = EVERYWHERE) -> Tensor:
        """The Gaussian of a person: in the middle of the picture, or of the region that confines them."""
        if (h, w, box) not in self._priors:
            self._priors[h, w, box] = gaussian_prior(h, w, self.schedule.center_sigma, box).to(device)
        return self._priors[h, w, box]


def _box(job: Job) -> Box:
    return EVERYWHERE if job.identity is None or job.identity.region is None else job.identity.region.box
