"""Several people in one picture: a method at work once for each of them, each inside a region.

    h <- h + sum_p  m_p (.) A_p(h)

with A_p what the method adds for person p alone and m_p that person's region on the grid of the site.
diffusers' `ip_adapter_masks` computes the same for IP-Adapters of U-Nets.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Self

from torch import Tensor

from methods.contract import Method
from methods.errors import UsageError
from methods.hooks import Attachment, Conditioning, Job, Pass, Run, Site, StepInfo
from methods.regions import gate

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone


def alone(job: Job) -> list[Job]:
    """A job as one job for each person of its picture; itself where there is one or nobody."""
    if job.identity is None:
        return [job]
    return [replace(job, identity=one) for one in job.identity.people]


def check_people(method: Method, job: Job) -> None:
    """Raise UsageError for several people, or somebody in a region, with a method that cannot do that."""
    if job.identity is None or method.info.regions or not method.info.identity:
        return
    if len(job.identity.people) > 1 or job.identity.region is not None:
        from methods.registry import method_info, method_names

        able = ", ".join(name for name in method_names() if method_info(name).regions)
        what = "a person to a region" if job.identity.region is not None else "several people to regions"
        raise UsageError(f"{method.info.name} cannot confine {what}.", hint=f"Methods that can: {able}.")


def attach(method: Method, backbone: Backbone, jobs: Sequence[Job]) -> Attachment:
    """`Method.attach` for pictures that may show several people, as many in each of the batch."""
    people = [alone(job) for job in jobs]
    confined = any(
        one.identity is not None and one.identity.region is not None for own in people for one in own
    )
    if len(people[0]) == 1 and not confined:
        return method.attach(backbone, jobs)
    batches = [list(places) for places in zip(*people, strict=True)]
    return Together([method.attach(backbone, batch) for batch in batches], batches)


class Together(Attachment):
    """Attachments of one method, one for each place among the people of a picture.

    parts: what each adds; jobs: the batch with that person alone
    """

    def __init__(self, parts: Sequence[Attachment], jobs: Sequence[Sequence[Job]]) -> None:
        self.parts = parts
        self.jobs = jobs
        self._stack = ExitStack()
        self._gates: dict[tuple[int, int, str | None], Tensor | None] = {}
        self.guided_from = parts[0].guided_from

    def __enter__(self) -> Self:
        for part in self.parts:
            self._stack.enter_context(part)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def prepare(self, run: Run) -> None:
        for part in self.parts:
            part.record = self.record
            part.prepare(run)

    def on_step(self, step: StepInfo) -> None:
        for part in self.parts:
            part.on_step(step)

    def on_pass(self, step: Pass) -> None:
        for part in self.parts:
            part.on_pass(step)

    def conditioning(self, step: StepInfo, text: Conditioning) -> Conditioning:
        """Of the first person: methods that confine people leave the text as it is."""
        return self.parts[0].conditioning(step, text)

    def image_attention(self, site: Site, step: Pass, query: Tensor, output: Tensor) -> Tensor | None:
        return self._sum(site, step, [part.image_attention(site, step, query, output) for part in self.parts])

    def after_block(self, site: Site, step: Pass, hidden: Tensor) -> Tensor | None:
        return self._sum(site, step, [part.after_block(site, step, hidden) for part in self.parts])

    def records(self, job: int) -> dict[str, Any]:
        """What each part kept; of the second person under `masks 2`, and so on. Regions are not in it."""
        kept: dict[str, Any] = {}
        for number, part in enumerate(self.parts, 1):
            names = part.records(job)
            kept |= {name if number == 1 else f"{name} {number}": value for name, value in names.items()}
        return kept

    def _sum(self, site: Site, step: Pass, added: Sequence[Tensor | None]) -> Tensor | None:
        """sum_p m_p (.) A_p: [R, N, C]; None where nobody adds anything."""
        confined = [
            self._confined(place, site, step, one) for place, one in enumerate(added) if one is not None
        ]
        return reduce(add, confined) if confined else None

    def _confined(self, place: int, site: Site, step: Pass, added: Tensor) -> Tensor:
        key = (place, site.cell, step.rows.half)
        if key not in self._gates:
            jobs = self.jobs[place]
            own = [None if job.identity is None else job.identity.region for job in jobs]
            regions = step.rows.per_row(own)
            grid, size = site.grid(*step.latent_size), (jobs[0].width, jobs[0].height)
            self._gates[key] = gate(regions, grid, size, added)
        open_part = self._gates[key]
        return added if open_part is None else added * open_part
