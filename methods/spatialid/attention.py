"""The gate over each host's attention.

U-Nets, host `uniform` (our reconstruction): R = Attn(Q, Z W_k', Z W_v') is gated before the output
projection, where the paper gates after it. The projection is linear and M_t a number per token, so the two
are the same, bar the projection's bias, which the text attention brings anyway. Unconditional rows have the
mask of their job, so that both halves of guidance differ in conditioning only.

FLUX, host `pulid` (official): the response is that of the attention before its output projection, the gate
acts behind it, and under true guidance every row has a mask of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from methods.backbone.attention import attend
from methods.hooks import Job, Pass, Site, StepInfo
from methods.pulid.adapter import PulidAdapter
from methods.pulid.attention import KeysValues, PulidAttention
from methods.spatialid.config import Config
from methods.spatialid.masker import Masker
from methods.spatialid.masks import entropy_response, norm_response
from methods.uniform.attention import IdentityAttention


class SpatialAttention(IdentityAttention):
    """Uniform's attention with an output gate: h <- h + alpha * M_t (.) R."""

    def __init__(self, *, config: Config, **identity: Any) -> None:
        super().__init__(**identity)
        self.config = config
        schedule = config.schedule()
        self.masker = None if schedule is None else Masker(schedule, config.kernels_of("scaled"), self.jobs)

    def on_step(self, step: StepInfo) -> None:
        super().on_step(step)
        if self.masker is not None:
            self.masker.on_step(step, record=self.record and self.weight is not None)

    def image_attention(self, site: Site, step: Pass, query: Tensor, output: Tensor) -> Tensor | None:
        if self.weight is None or self.masker is None:
            return super().image_attention(site, step, query, output)
        attention = self.response(site, step, query)
        jobs, cond = step.rows.jobs, step.rows.cond

        def response() -> Tensor:
            if self.config.response == "norm":
                return norm_response(attention[cond])
            key, _ = self._projected[site.index]
            return entropy_response(query[cond], key[cond])

        mask = self.masker.mask(site, step.latent_size, jobs, response, attention.device)
        if self.record:
            self.masker.keep(site, mask)
        # unconditional rows (and other streams) have the mask of their job: rows are [repeats, jobs]
        gate = self.weight.view(-1, jobs, 1, 1) * mask.reshape(1, jobs, -1, 1).to(attention.dtype)
        return (gate * attention.unflatten(0, (-1, jobs))).flatten(0, 1)

    def records(self, job: int) -> dict[str, Any]:
        return {} if self.masker is None else self.masker.records(job)


class SpatialBlocks(PulidAttention):
    """PuLID's attention with the paper's gate: h <- h + alpha * M_t (.) W_o R."""

    def __init__(
        self,
        adapter: PulidAdapter,
        jobs: Sequence[Job],
        identities: Sequence[KeysValues | None],
        null: KeysValues,
        *,
        config: Config,
    ) -> None:
        super().__init__(adapter, jobs, identities, null, config.start_step, config.true_cfg_start)
        self.config = config
        schedule = config.schedule()
        self.masker = None if schedule is None else Masker(schedule, config.kernels_of("published"), jobs)

    def on_step(self, step: StepInfo) -> None:
        super().on_step(step)
        if self.masker is not None:
            self.masker.on_step(step, record=self.record and self.weight is not None)

    def after_block(self, site: Site, step: Pass, hidden: Tensor) -> Tensor | None:
        number = self.adapter.places.get(site.index)
        if self.weight is None or self.masker is None or number is None:
            return super().after_block(site, step, hidden)
        query, key = self.adapter.query(number, hidden), self.keys[number]
        attention = attend(query, key, self.values[number])

        def response() -> Tensor:
            if self.config.response == "norm":
                return norm_response(attention)
            return entropy_response(query, key)

        mask = self.masker.mask(site, step.latent_size, len(hidden), response, hidden.device)
        if self.record and step.rows.half != "uncond":
            self.masker.keep(site, mask[step.rows.cond])
        gate = self.weight * mask.flatten(1)[..., None].to(hidden.dtype)
        return gate * self.project(number, attention)

    def records(self, job: int) -> dict[str, Any]:
        return {} if self.masker is None else self.masker.records(job)
