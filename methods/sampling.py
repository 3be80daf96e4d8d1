"""The one sampling loop: every picture of the project, by whatever method, is made here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from methods.backbone.attention import ColumnCapture
from methods.backbone.vae import decode, to_picture
from methods.contract import Method
from methods.errors import UsageError
from methods.hooks import Attachment, Job, RowLayout, Run, StepInfo
from methods.together import alone, attach, check_people

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone

Callback = Callable[[StepInfo, Tensor], object]


@dataclass(frozen=True, eq=False)
class Result:
    """One finished job.

    picture:   RGB; None when the latents left the finite numbers
    latents:   float32 [C, h, w] on the CPU, before the VAE
    status:    `ok`, `non_finite`, or `degenerate` (a constant picture)
    notes:     what happened on the way and belongs in the record (VAE retried in float32, prompt truncated)
    records:   what the method kept (masks, maps), if asked
    attention: captured columns by site name, float32 [N, C], if asked
    """

    picture: Image.Image | None
    latents: Tensor
    job: Job
    status: str
    notes: dict[str, str] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=dict)
    attention: dict[str, Tensor] = field(default_factory=dict)


def sample(
    backbone: Backbone,
    jobs: Sequence[Job],
    method: Method | None = None,
    *,
    scheduler: str | None = None,
    batch_size: int | None = None,
    callback: Callback | None = None,
    record: bool = False,
    capture: Sequence[Sequence[int]] | None = None,
    capture_max_tokens: int | None = None,
) -> list[Result]:
    """Make the pictures of jobs with a method (None: the plain backbone); results in the order of jobs.

    scheduler:  one of `backbone.noise.samplers`; None for the backbone's own
    batch_size: jobs per call of the network. The noise of a job depends on its seed alone, but rounding
                depends on the batch; None means 1 on a CPU, so that a picture has the same bits in any
                company, else 8
    callback:   called after every step with the StepInfo and the latents, float32 [jobs in batch, C, h, w]
    record:     ask the method to keep what it has to show (`Result.records`)
    capture:    for each job, the places of tokens whose attention columns are wanted, equally many per job
                (`backbone.text.token_positions`); at sites of at most `capture_max_tokens` image tokens

    Raises UsageError for a size or a number of steps that cannot be sampled.
    """
    results = dict(
        iterate_samples(
            backbone,
            jobs,
            method,
            scheduler=scheduler,
            batch_size=batch_size,
            callback=callback,
            record=record,
            capture=capture,
            capture_max_tokens=capture_max_tokens,
        )
    )
    return [results[place] for place in range(len(jobs))]


def iterate_samples(
    backbone: Backbone,
    jobs: Sequence[Job],
    method: Method | None = None,
    *,
    scheduler: str | None = None,
    batch_size: int | None = None,
    callback: Callback | None = None,
    record: bool = False,
    capture: Sequence[Sequence[int]] | None = None,
    capture_max_tokens: int | None = None,
) -> Iterator[tuple[int, Result]]:
    """As `sample`, but each result as soon as its batch is done, with its job's place in `jobs`."""
    size = batch_size or (1 if backbone.device.type == "cpu" else 8)
    for job in jobs:
        check_job(job, backbone)
        if method is not None:
            check_people(method, job)
    for places in _batches(jobs, backbone, method, size):
        columns = None if capture is None else torch.tensor([list(capture[place]) for place in places])
        watcher = None if columns is None else ColumnCapture(columns.to(backbone.device), capture_max_tokens)
        batch = [jobs[place] for place in places]
        made = _sample_batch(backbone, batch, method, scheduler, callback, record, watcher)
        yield from zip(places, made, strict=True)


def initial_noise(job: Job, backbone: Backbone, draw: int = 0) -> Tensor:
    """Standard normal noise of a job: float32 [C, h, w], drawn on the CPU from the job's own seed.

    draw: 0 for what the picture starts from, n for the n-th draw after it (see `Stream.noise`)
    """
    generator = torch.Generator("cpu").manual_seed(job.seed)
    shape = backbone.denoiser.latent_shape(job.width, job.height)
    for _ in range(draw):
        torch.randn(shape, generator=generator)
    return torch.randn(shape, generator=generator)


def latent_size(job: Job, backbone: Backbone) -> tuple[int, int]:
    """(height, width) of a job's latent grid."""
    _, height, width = backbone.denoiser.latent_shape(job.width, job.height)
    return height, width


def _sample_batch(
    backbone: Backbone,
    jobs: Sequence[Job],
    method: Method | None,
    scheduler: str | None,
    callback: Callback | None,
    record: bool,
    capture: ColumnCapture | None,
) -> list[Result]:
    with (
        backbone.resident(*backbone.denoiser.modules()),
        backbone.attention_backend(),
        Attachment() if method is None else attach(method, backbone, jobs) as hooks,
    ):
        hooks.record = record
        latents = denoise(backbone, jobs, hooks, scheduler or backbone.defaults.scheduler, callback, capture)
        records = [hooks.records(place) if record else {} for place in range(len(jobs))]

    decoded, notes = decode(backbone, latents)
    results = []
    for place, job in enumerate(jobs):
        picture, status = to_picture(latents[place], decoded[place])
        if overflow := backbone.text.encode(job.prompt).truncated:
            notes[place]["prompt truncated"] = overflow
        if job.guided and (overflow := backbone.text.encode(job.negative_prompt).truncated):
            notes[place]["negative prompt truncated"] = overflow
        columns = {} if capture is None else capture.maps(place)
        latent = latents[place].cpu().clone()
        results.append(Result(picture, latent, job, status, notes[place], records[place], columns))
    return results


@torch.inference_mode()
def denoise(
    backbone: Backbone,
    jobs: Sequence[Job],
    hooks: Attachment,
    scheduler: str,
    callback: Callback | None = None,
    capture: ColumnCapture | None = None,
) -> Tensor:
    """From noise to latents, float32 [J, C, h, w]: the loop itself.

    Latents stay float32 in every dtype of the backbone; the network sees them in its own.
    """

    def trajectories(others: Sequence[Job], other_hooks: Attachment) -> Tensor:
        with other_hooks:
            return denoise(backbone, others, other_hooks, scheduler)

    denoiser, device = backbone.denoiser, backbone.device
    hooks.prepare(Run(scheduler, trajectories))
    rows = RowLayout(len(jobs), cfg_scale(jobs[0], backbone) > 1.0, hooks.streams)
    text = backbone.text.conditioning(jobs, rows)
    weights = rows.per_trajectory([cfg_scale(job, backbone) for job in jobs])
    guidance = torch.tensor(weights, device=device).view(-1, 1, 1, 1)
    noise = torch.stack(
        [initial_noise(jobs[place], backbone, one.noise) for one in rows.members for place in one.jobs]
    ).to(device)

    embedded = tuple(rows.per_row([job.guidance for job in jobs])) if denoiser.guidance == "embedded" else ()

    size = latent_size(jobs[0], backbone)
    sampler = backbone.noise.sampler(scheduler, jobs[0].steps, size)
    latents = sampler.start(noise)  # [T, C, h, w], T trajectories of all streams
    with denoiser.attached(hooks, capture) as predict:
        for index, level in enumerate(sampler.levels):
            step = StepInfo(
                rows=rows,
                latent_size=size,
                guidance=embedded,
                index=index,
                count=len(sampler.levels),
                time=level.time,
                noise_level=level.noise_level,
            )
            hooks.on_step(step)
            conditioning = hooks.conditioning(step, text)
            x = to_rows(sampler.scale(latents, index), rows).to(backbone.dtype)
            predicted = predict(x, step.time, conditioning, step).float()
            scale = guidance if index >= hooks.guided_from else None
            predicted = guide(predicted, scale, rows)
            latents = sampler.advance(predicted, index, latents)
            if callback is not None:
                callback(step, latents[: len(jobs)])
    return latents[: len(jobs)]


def cfg_scale(job: Job, backbone: Backbone) -> float:
    """Scale of classifier-free guidance; above 1 it needs an unconditional row."""
    return job.guidance if backbone.denoiser.guidance == "rows" else job.true_cfg


def to_rows(latents: Tensor, rows: RowLayout) -> Tensor:
    """Latents of all trajectories [T, C, h, w] -> one copy per row [R, C, h, w]."""
    return torch.cat([stream for stream in latents.split(rows.counts) for _ in range(rows.halves)])


def guide(predicted: Tensor, guidance: Tensor | None, rows: RowLayout) -> Tensor:
    """Classifier-free guidance e_0 + g (e - e_0) with one g per trajectory; None leaves e alone.

    predicted [R, C, h, w], guidance [T, 1, 1, 1] -> [T, C, h, w]
    """
    if not rows.guided:
        return predicted
    cond = torch.cat([predicted[rows.cond_of(stream.name)] for stream in rows.members])
    if guidance is None:
        return cond
    uncond = torch.cat([predicted[rows.uncond_of(stream.name)] for stream in rows.members])
    return uncond + guidance * (cond - uncond)


def _batches(
    jobs: Sequence[Job], backbone: Backbone, method: Method | None, size: int
) -> Iterator[list[int]]:
    """Places of jobs that can share a batch: equal sizes, steps and guidedness, and the method agrees.

    Within such a group, jobs that the method wants together come one after the other.
    """
    groups: dict[Any, dict[Any, list[int]]] = {}
    for place, job in enumerate(jobs):
        own = None if method is None else tuple(method.batch_key(one) for one in alone(job))
        near = None if method is None else method.affinity(job)
        key = (job.width, job.height, job.steps, cfg_scale(job, backbone) > 1.0, own)
        groups.setdefault(key, {}).setdefault(near, []).append(place)
    for group in groups.values():
        places = [place for close in group.values() for place in close]
        for start in range(0, len(places), size):
            yield places[start : start + size]


def check_steps(steps: int, scheduler: str, backbone: Backbone) -> None:
    """Raise UsageError for a number of steps that a sampler cannot take, and for a sampler that is none."""
    width, height = (side // backbone.latent_factor for side in backbone.default_size)
    backbone.noise.sampler(scheduler, steps, (height, width))


def check_job(job: Job, backbone: Backbone) -> None:
    """Raise UsageError for a size, a number of steps or a negative prompt that cannot be sampled."""
    cell = backbone.denoiser.multiple
    if job.width < cell or job.height < cell or job.width % cell or job.height % cell:
        raise UsageError(
            f"{job.width}x{job.height} pixels cannot be sampled.",
            hint=f"Give a width and a height that are multiples of {cell}.",
        )
    if job.steps < 1:
        raise UsageError(f"{job.steps} steps cannot be sampled.", hint="Give at least one step.")
    kind = backbone.denoiser.guidance
    if kind == "rows" and job.true_cfg != 1.0:
        raise UsageError(
            f"{backbone.name} has no guidance beside classifier-free guidance.", hint="Give --guidance alone."
        )
    if kind == "none" and job.guidance > 1.0:
        raise UsageError(
            f"{backbone.name} takes no guidance: its network was distilled without one.",
            hint="Leave --guidance out, or give --true-cfg with a negative prompt.",
        )
    if kind != "rows" and job.negative_prompt and job.true_cfg <= 1.0:
        raise UsageError(
            f"{backbone.name} reads a negative prompt only in a pass of its own.",
            hint="Give --true-cfg above 1 with it, or leave it out.",
        )
