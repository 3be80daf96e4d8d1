"""The loop: noise, batches, streams, steps, statuses, half precision."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny import Hooked, tiny_backbone, tiny_folder

from methods.backbone.load import load_backbone
from methods.backbone.noise import SCHEDULERS
from methods.errors import UsageError
from methods.hooks import Attachment, Job, RowLayout, Stream
from methods.sampling import initial_noise, sample

JOBS = [
    Job("photo of the person", 64, 64, guidance=4.0, seed=1, steps=3),
    Job("the red beach", 64, 64, guidance=2.0, seed=2, steps=3),
    Job("person on the beach", 64, 48, guidance=3.0, seed=3, steps=3),
    Job("photo", 64, 64, guidance=1.0, seed=4, steps=3),
    Job("red", 64, 64, guidance=5.0, seed=1, steps=2),
]


def test_a_picture_does_not_depend_on_its_place():
    """One at a time the bits are the same in any company; in a batch, within rounding."""
    backbone = tiny_backbone("sd1")
    alone = [sample(backbone, [job])[0] for job in JOBS]
    together = sample(backbone, JOBS)
    reversed_ = sample(backbone, JOBS[::-1])[::-1]
    batched = sample(backbone, JOBS, batch_size=4)
    for one, two, three, four in zip(alone, together, reversed_, batched, strict=True):
        assert torch.equal(one.latents, two.latents) and torch.equal(one.latents, three.latents)
        assert one.picture.tobytes() == two.picture.tobytes()
        torch.testing.assert_close(one.latents, four.latents, rtol=1e-4, atol=1e-4)
        assert one.job is four.job


def test_noise_is_the_seeds_own():
    backbone = tiny_backbone("sd1")
    noise = [initial_noise(job, backbone) for job in JOBS]
    assert torch.equal(noise[0], noise[4]) and not torch.equal(noise[0], noise[1])
    torch.manual_seed(99)
    assert torch.equal(noise[0], initial_noise(JOBS[0], backbone))


def test_rows():
    rows = RowLayout(jobs=3, guided=True, streams=("main", "text"))
    assert rows.total == 12
    assert (rows.uncond, rows.cond) == (slice(0, 3), slice(3, 6))
    assert (rows.uncond_of("text"), rows.cond_of("text")) == (slice(6, 9), slice(9, 12))
    assert rows.per_row([1, 2, 3]) == [1, 2, 3] * 4
    free = RowLayout(jobs=2, guided=False)
    assert (free.total, free.uncond, free.cond) == (2, slice(0, 0), slice(0, 2))


def test_rows_of_a_stream_that_jobs_share():
    rows = RowLayout(3, True, ("main", Stream("text", (0, 2), noise=1)))
    assert (rows.counts, rows.total) == ((3, 2), 10)
    assert (rows.uncond_of("text"), rows.cond_of("text")) == (slice(6, 8), slice(8, 10))
    assert rows.per_trajectory("abc") == [*"abc", *"ac"]
    assert rows.per_row("abc") == [*"abc", *"abc", *"ac", *"ac"]
    batch = torch.arange(rows.total)
    for half, places in (("uncond", [0, 1, 2, 6, 7]), ("cond", [3, 4, 5, 8, 9])):
        one = replace(rows, half=half)
        assert one.total == 5 and one.cut(batch).tolist() == places
        assert one.cut(batch[None], dim=1).tolist() == [places]
        assert one.per_row("abc", uncond="-") == list("-----" if half == "uncond" else "abcac")
    free = RowLayout(3, False, ("main", Stream("text", (1,))))
    assert (free.uncond_of("text"), free.cond_of("text"), free.total) == (slice(3, 3), slice(3, 4), 4)
    for first in (Stream("main", (0, 1)), Stream("main", (1, 0, 2))):
        with pytest.raises(ValueError, match="one trajectory per job"):
            RowLayout(3, True, (first,))


def test_a_shared_stream_follows_its_job_and_its_own_noise():
    """Text, guidance and noise of every trajectory are those of the job it names."""
    backbone = tiny_backbone("sdxl")
    jobs = [JOBS[0], replace(JOBS[1], guidance=6.0)]
    seen = []

    class Shared(Attachment):
        streams = ("main", Stream("again", (1,)), Stream("other", (1,), noise=1))

        def keys_values(self, site, step, query, key, value):
            rows = step.rows
            for half in (rows.uncond_of, rows.cond_of):
                main, again, other = (key[half(name)] for name in ("main", "again", "other"))
                torch.testing.assert_close(main[1:], again, rtol=1e-4, atol=1e-4)
                assert not torch.allclose(again, other, atol=1e-2)
            seen.append(rows.total)
            return key, value

    made = sample(backbone, jobs, Hooked(Shared()), batch_size=2)
    assert set(seen) == {8}
    for one, two in zip(made, sample(backbone, jobs, batch_size=2), strict=True):
        torch.testing.assert_close(one.latents, two.latents, rtol=1e-4, atol=1e-4)
    generator = torch.Generator().manual_seed(JOBS[1].seed)
    draws = [torch.randn(4, 8, 8, generator=generator) for _ in range(2)]
    assert all(torch.equal(initial_noise(JOBS[1], backbone, n), draw) for n, draw in enumerate(draws))


def test_a_method_may_sample_before_the_first_step():
    backbone = tiny_backbone("sd2")
    ahead = []

    class Ahead(Attachment):
        def prepare(self, run):
            self.streams = ("main", "second")
            ahead.append((run.scheduler, run.sample(JOBS[:1], Attachment())))

        def on_step(self, step):
            assert step.rows.counts == (1, 1)

    [plain] = sample(backbone, JOBS[:1], scheduler="euler")
    [made] = sample(backbone, JOBS[:1], Hooked(Ahead()), scheduler="euler")
    [(name, latents)] = ahead
    assert name == "euler"
    assert torch.equal(latents[0], plain.latents)
    torch.testing.assert_close(made.latents, plain.latents, rtol=1e-4, atol=1e-4)


def test_jobs_of_equal_affinity_are_made_together():
    backbone = tiny_backbone("sd1")
    batches = []

    class Note(Attachment):
        def __init__(self, seeds):
            batches.append(seeds)

    class Prompts(Hooked):
        def affinity(self, job):
            return job.prompt

        def attach(self, backbone, jobs):
            return Note([job.seed for job in jobs])

    jobs = [replace(JOBS[4], prompt=prompt, seed=n) for n, prompt in enumerate("abcab")]
    results = sample(backbone, jobs, Prompts(Attachment()), batch_size=2)
    assert batches == [[0, 3], [1, 4], [2]]
    assert [result.job for result in results] == jobs


def test_the_text_can_be_switched_off():
    """Without text attention prompts say nothing; what the hook adds is the whole cross-attention."""
    backbone = tiny_backbone("sd1")

    class Deaf(Attachment):
        reads_text = False

        def image_attention(self, site, step, query, output):
            assert not output.any()
            return torch.ones_like(output)

    one, other = (replace(JOBS[0], prompt=prompt) for prompt in ("photo", "red"))
    deaf = [sample(backbone, [job], Hooked(Deaf()))[0].latents for job in (one, other)]
    assert torch.equal(*deaf)
    assert not torch.equal(deaf[0], sample(backbone, [one])[0].latents)


def test_guidance_of_one_runs_no_unconditional_rows():
    totals = []

    class Count(Attachment):
        def on_step(self, step):
            totals.append(step.rows.total)

    sample(tiny_backbone("sd1"), [JOBS[3], JOBS[0]], Hooked(Count()))
    assert totals == [1] * 3 + [2] * 3


def test_extra_streams_start_alike_and_can_look_at_each_other():
    """Two streams with the same text and noise stay equal; a stream that reads the other's keys differs."""
    backbone = tiny_backbone("sdxl")

    class TwoStreams(Attachment):
        streams = ("identity", "text")

        def __init__(self, mix):
            self.mix = mix

        def keys_values(self, site, step, query, key, value):
            rows = step.rows
            for half in (rows.uncond_of, rows.cond_of):
                torch.testing.assert_close(key[half("identity")], key[half("text")])
            if not self.mix:
                return key, value
            own = torch.arange(rows.total)
            return torch.cat([key, key[own]], dim=2), torch.cat([value, value[own]], dim=2)

    plain = sample(backbone, JOBS[:2], batch_size=2)
    for mix in (False, True):
        for one, two in zip(
            plain, sample(backbone, JOBS[:2], Hooked(TwoStreams(mix)), batch_size=2), strict=True
        ):
            torch.testing.assert_close(one.latents, two.latents, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_steps_run_from_noise_to_picture(scheduler):
    backbone = tiny_backbone("sd2")
    steps = []
    sample(
        backbone,
        [Job("photo", 64, 64, guidance=4.0, steps=8)],
        scheduler=scheduler,
        callback=lambda step, latents: steps.append((step, latents.shape)),
    )
    assert [step.index for step, _ in steps] == list(range(8))
    assert all(step.count == 8 and shape == (1, 4, 8, 8) for step, shape in steps)
    levels = [step.noise_level for step, _ in steps]
    assert levels == sorted(levels, reverse=True) and 0.85 < levels[0] < 0.95 and levels[-1] < 0.6
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    abar = torch.cumprod(1 - betas, 0)
    for step, _ in steps:
        signal = abar[round(1000 * step.time)]
        sigma = step.noise_level / (1 - step.noise_level)
        assert sigma == pytest.approx(math.sqrt((1 - signal) / signal), rel=0.02)


def test_window_of_identity_weight():
    from methods.hooks import Identity, StepInfo

    job = Job("photo", 64, 64, 4.0, identity=Identity("a"), steps=10, id_weight=0.5, id_start=0.2, id_end=0.6)
    steps = [
        StepInfo(RowLayout(1, True), (8, 8), index=i, count=10, time=0.0, noise_level=0.0) for i in range(10)
    ]
    assert [i for i in range(10) if job.id_weight_at(steps[i])] == [2, 3, 4, 5]
    assert job.id_weight_at(steps[2]) == 0.5


def test_non_finite_and_constant_pictures_are_named():
    backbone = tiny_backbone("sd1")

    class Poison(Attachment):
        def image_attention(self, site, step, query, output):
            broken = torch.zeros_like(output)
            broken[step.rows.cond][0] = float("nan")
            return broken

    bad, good = sample(backbone, JOBS[:2], Hooked(Poison()), batch_size=2)
    assert (bad.status, bad.picture) == ("non_finite", None)
    assert good.status == "ok" and good.picture is not None

    last = backbone.vae.decoder.conv_out
    weight = last.weight
    last.weight = torch.nn.Parameter(torch.zeros_like(weight), requires_grad=False)
    try:
        [flat] = sample(backbone, JOBS[:1])
    finally:
        last.weight = weight
    assert flat.status == "degenerate"


def test_half_precision_keeps_float32_latents_and_retries_the_decoder():
    backbone = load_backbone(tiny_folder("sd1"), device="cpu", dtype="float16")
    last = backbone.vae.decoder.conv_in
    with torch.no_grad():  # overflows float16, not float32
        last.weight.mul_(3e4)
    backbone.vae.register_to_config(force_upcast=False)
    [result] = sample(backbone, JOBS[:1])
    assert result.latents.dtype == torch.float32
    assert result.status == "ok" and "float32" in result.notes["vae"]
    assert backbone.vae.dtype == torch.float16

    backbone.vae.register_to_config(force_upcast=True)
    [upcast] = sample(backbone, JOBS[:1])
    assert upcast.status == "ok" and "vae" not in upcast.notes


def test_bfloat16_is_close_to_float32():
    half = load_backbone(tiny_folder("sdxl"), device="cpu", dtype="bfloat16")
    [low], [full] = sample(half, JOBS[:1]), sample(tiny_backbone("sdxl"), JOBS[:1])
    assert low.status == "ok"
    assert (low.latents - full.latents).norm() < 0.1 * full.latents.norm()


def test_a_prompt_that_does_not_fit_is_noted():
    [result] = sample(tiny_backbone("sd1"), [Job("photo " * 14 + "red beach", 64, 64, 1.0, steps=1)])
    assert result.notes["prompt truncated"] == "red beach"


@pytest.mark.parametrize("job", [Job("a", 60, 64, 4.0), Job("a", 64, 0, 4.0), Job("a", 64, 64, 4.0, steps=0)])
def test_impossible_jobs_are_refused(job):
    with pytest.raises(UsageError):
        sample(tiny_backbone("sd1"), [job])
