"""`spatialid`: the identity attention of `uniform`, gated by a mask of where the identity matters.

    h <- h + alpha * M_t (.) R,    R = Attn(Q, Z W_k', Z W_v')

"Inject Where It Matters" (arXiv 2602.13994), training-free. The equations of M_t are those of the official
code (FLUX, PuLID); their place in a U-Net is a reconstruction. The gate multiplies R before the output
projection, which the paper does after it: the projection is linear and M_t a number per token, so the two
are the same, bar the projection's bias, which the text attention brings anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from methods.errors import UsageError
from methods.hooks import Job, Pass, Site, StepInfo
from methods.spatialid.info import INFO
from methods.spatialid.masks import (
    Kernels,
    apply_phase,
    entropy_response,
    gaussian_prior,
    norm_response,
    refine,
    scaled_kernels,
)
from methods.spatialid.masks_io import MaskRecording
from methods.spatialid.schedule import Phase, Schedule, adjusted
from methods.uniform.attention import IdentityAttention
from methods.uniform.method import Config as UniformConfig
from methods.uniform.method import Uniform

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone


@dataclass(frozen=True)
class Config(UniformConfig):
    """Options of SpatialID.

    preset:   A to F or an alias (`uniform`, `readme`, `ibench`); the README's is the paper's default
    early, late, late_floor, center_sigma, global_floor: a number here replaces the preset's (see `Schedule`)
    response: `norm`, the paper's; `entropy`, its published alternative, as an ablation
    kernels:  `scaled` with the token grid; `published`, the same 5 and 3 tokens on every grid, as an ablation
    """

    preset: str = "readme"
    early: float | None = None
    late: float | None = None
    late_floor: float | None = None
    center_sigma: float | None = None
    global_floor: float | None = None
    response: Literal["norm", "entropy"] = "norm"
    kernels: Literal["scaled", "published"] = "scaled"

    def __post_init__(self) -> None:
        if self.response not in ("norm", "entropy"):
            raise UsageError(f"response is {self.response!r}.", hint="Give norm or entropy.")
        if self.kernels not in ("scaled", "published"):
            raise UsageError(f"kernels is {self.kernels!r}.", hint="Give scaled or published.")
        self.schedule()

    def schedule(self) -> Schedule | None:
        """The preset with its replaced numbers; None means no mask."""
        return adjusted(
            self.preset,
            early=self.early,
            late=self.late,
            late_floor=self.late_floor,
            center_sigma=self.center_sigma,
            global_floor=self.global_floor,
        )


class SpatialID(Uniform):
    """SpatialID over the adapter of `uniform`: the same weights, tokens and files."""

    info = INFO
    Config = Config

    def attach(self, backbone: Backbone, jobs: Sequence[Job]) -> IdentityAttention:
        return SpatialAttention(config=self.config, **self.identity_of(backbone, jobs))


class SpatialAttention(IdentityAttention):
    """Uniform's attention with an output gate; masks are per site, step and picture, nothing is averaged."""

    def __init__(self, *, config: Config, **identity: Any) -> None:
        super().__init__(**identity)
        self.config = config
        self.schedule = config.schedule()
        self._priors: dict[tuple[int, int], Tensor] = {}
        self._steps: list[StepInfo] = []
        self._noise_level = 1.0
        self._kept: dict[str, list[Tensor]] = {}

    def on_step(self, step: StepInfo) -> None:
        super().on_step(step)
        self._noise_level = step.noise_level
        if self.record and self.weight is not None and self.schedule is not None:
            self._steps.append(step)

    def image_attention(self, site: Site, step: Pass, query: Tensor, output: Tensor) -> Tensor | None:
        if self.weight is None or self.schedule is None:
            return super().image_attention(site, step, query, output)
        attention = self.response(site, step, query)
        mask = self.mask(self.schedule, site, step, query, attention)
        if self.record:
            self._kept.setdefault(site.name, []).append(mask.to(torch.float16))
        # unconditional rows (and other streams) have the mask of their job: rows are [repeats, jobs]
        jobs = step.rows.jobs
        gate = self.weight.view(-1, jobs, 1, 1) * mask.reshape(1, jobs, -1, 1).to(attention.dtype)
        return (gate * attention.unflatten(0, (-1, jobs))).flatten(0, 1)

    def mask(self, schedule: Schedule, site: Site, step: Pass, query: Tensor, attention: Tensor) -> Tensor:
        """M_t of the conditional rows, float32 [J, h, w]. query [R, heads, N, d], attention [R, N, width]."""
        h, w = site.grid(*step.latent_size)
        phase = schedule.phase(self._noise_level)
        if phase is Phase.EARLY:
            prior = self._prior(h, w, schedule.center_sigma, attention.device)
            return apply_phase(phase, schedule, prior).expand(step.rows.jobs, h, w)
        cond = step.rows.cond
        if self.config.response == "norm":
            m = norm_response(attention[cond])
        else:
            key, _ = self._projected[site.index]
            m = entropy_response(query[cond], key[cond])
        kernels = scaled_kernels(h, w) if self.config.kernels == "scaled" else Kernels()
        return apply_phase(phase, schedule, refine(m.unflatten(-1, (h, w)), kernels))

    def records(self, job: int) -> dict[str, Any]:
        """`masks`: the MaskRecording of one job, over the steps at which its identity was at work."""
        at_work = [place for place, step in enumerate(self._steps) if self.jobs[job].id_weight_at(step)]
        if not at_work or self.schedule is None:
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

    def _prior(self, h: int, w: int, sigma: float, device: torch.device) -> Tensor:
        if (h, w) not in self._priors:
            self._priors[h, w] = gaussian_prior(h, w, sigma).to(device)
        return self._priors[h, w]
