"""The loop gives what diffusers' `FluxPipeline` gives, from the same noise and bit for bit."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from diffusers import FluxPipeline
from tiny_flux import KINDS, flux_backbone, flux_folder, flux_pipeline

from methods.backbone.load import load_backbone
from methods.backbone.vae import decode, encode_pixels
from methods.hooks import Job
from methods.sampling import initial_noise, sample

GUIDANCE = {"dev": 3.5, "schnell": 0.0}


@cache
def pipeline_of(kind: str, dtype: torch.dtype = torch.float32) -> FluxPipeline:
    return flux_pipeline(kind, dtype)


def job_of(kind: str, prompt: str = "photo of the red person", **changes) -> Job:
    return Job(
        **{"prompt": prompt, "width": 64, "height": 64, "guidance": GUIDANCE[kind], "seed": 3, "steps": 4}
        | changes
    )


def reference(pipeline, backbone, jobs, **options):
    """Latents [J, C, h, w] of the pipeline; jobs of one size and one guidance scale."""
    first, count = jobs[0], len(jobs)
    noise = torch.stack([initial_noise(job, backbone) for job in jobs]).to(pipeline.transformer.dtype)
    height, width = noise.shape[-2:]
    latents = pipeline(
        [job.prompt for job in jobs],
        width=first.width,
        height=first.height,
        guidance_scale=first.guidance,
        num_inference_steps=first.steps,
        latents=pipeline._pack_latents(noise, count, noise.shape[1], height, width),
        output_type="latent",
        **{"max_sequence_length": 512} | options,
    ).images
    return pipeline._unpack_latents(latents, first.height, first.width, 8)


@pytest.mark.parametrize("size, steps", [((64, 64), 1), ((32, 96), 2), ((112, 48), 3), ((64, 64), 8)])
@pytest.mark.parametrize("kind", KINDS)
def test_none(kind, size, steps):
    backbone = flux_backbone(kind)
    job = job_of(kind, width=size[0], height=size[1], steps=steps)
    [result] = sample(backbone, [job])
    assert torch.equal(result.latents, reference(pipeline_of(kind), backbone, [job])[0])
    assert result.status == "ok" and result.latents.std() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_several_prompts_in_a_batch(kind):
    backbone = flux_backbone(kind)
    prompts = ("photo", "the red beach", "person")
    jobs = [job_of(kind, prompt, seed=seed) for seed, prompt in enumerate(prompts)]
    expected = reference(pipeline_of(kind), backbone, jobs)
    for result, wanted in zip(sample(backbone, jobs, batch_size=3), expected, strict=True):
        assert torch.equal(result.latents, wanted)


def test_every_job_has_its_own_guidance():
    backbone = flux_backbone("dev")
    jobs = [job_of("dev", guidance=scale) for scale in (1.0, 3.5, 7.0)]
    results = sample(backbone, jobs)
    for result, job in zip(results, jobs, strict=True):
        assert torch.equal(result.latents, reference(pipeline_of("dev"), backbone, [job])[0])
    assert not torch.equal(results[0].latents, results[1].latents)


@pytest.mark.parametrize("kind", KINDS)
def test_true_guidance_with_a_negative_prompt(kind):
    backbone = flux_backbone(kind)
    jobs = [job_of(kind, negative_prompt="the beach", true_cfg=scale) for scale in (2.5, 1.5)]
    plain = sample(backbone, [job_of(kind)])[0].latents
    for result, job in zip(sample(backbone, jobs), jobs, strict=True):
        options = {"negative_prompt": "the beach", "true_cfg_scale": job.true_cfg}
        assert torch.equal(result.latents, reference(pipeline_of(kind), backbone, [job], **options)[0])
        assert (result.latents - plain).abs().max() > 1e-2


def test_true_guidance_in_a_batch():
    backbone = flux_backbone("dev")
    jobs = [
        job_of("dev", prompt, negative_prompt="the beach", true_cfg=2.5, seed=5)
        for prompt in ("red", "person")
    ]
    options = {"negative_prompt": ["the beach"] * 2, "true_cfg_scale": 2.5}
    expected = reference(pipeline_of("dev"), backbone, jobs, **options)
    for result, wanted in zip(sample(backbone, jobs, batch_size=2), expected, strict=True):
        assert torch.equal(result.latents, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_has_the_pipelines_order_of_casts(kind):
    backbone = load_backbone(flux_folder(kind), device="cpu", dtype="bfloat16")
    pipeline = pipeline_of(kind, torch.bfloat16)
    job = job_of(kind, width=96, steps=8)
    [result] = sample(backbone, [job])
    assert torch.equal(result.latents, reference(pipeline, backbone, [job])[0].float())


def test_the_length_of_the_text_makes_another_picture():
    job = job_of("dev")
    latents = {}
    for length in (64, 128):
        backbone = load_backbone(flux_folder("dev"), device="cpu", text_length=length)
        [result] = sample(backbone, [job])
        assert backbone.sites[0].text == length
        wanted = reference(pipeline_of("dev"), backbone, [job], max_sequence_length=length)[0]
        assert torch.equal(result.latents, wanted)
        latents[length] = result.latents
    assert not torch.equal(latents[64], latents[128])


def test_what_t5_cuts_is_told():
    backbone = load_backbone(flux_folder("dev"), device="cpu", text_length=8)
    [result] = sample(backbone, [job_of("dev", "photo of the red person on the beach")])
    assert result.notes == {"prompt truncated": "beach"}
    assert sample(backbone, [job_of("dev", "photo of the red person")])[0].notes == {}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures(kind):
    """The autoencoder's shift and scale, to a level of 8 bits; and there and back in latents."""
    backbone = flux_backbone(kind)
    job = job_of(kind, width=96)
    [result] = sample(backbone, [job])
    pipeline = pipeline_of(kind)
    height, width = result.latents.shape[-2:]
    noise = pipeline._pack_latents(initial_noise(job, backbone)[None], 1, 4, height, width)
    expected = pipeline(
        job.prompt,
        width=96,
        height=64,
        guidance_scale=job.guidance,
        num_inference_steps=4,
        latents=noise,
    ).images[0]
    assert result.picture.size == expected.size == (96, 64)
    difference = torch.tensor(list(result.picture.tobytes())) - torch.tensor(list(expected.tobytes()))
    assert difference.abs().max() <= 1

    pixels, _ = decode(backbone, result.latents[None])
    config = backbone.vae.config
    with torch.inference_mode():
        mean = backbone.vae.encode(pixels).latent_dist.mean
    wanted = (mean - config.shift_factor) * config.scaling_factor
    torch.testing.assert_close(encode_pixels(backbone, pixels), wanted)


def test_t5_finds_words():
    text = flux_backbone("dev").text
    assert text.token_positions("photo of the red person", "person") == [4]
    assert text.token_positions("photo of the red person", "the red") == [2, 3]
    assert text.token_positions("photo", "person") == []
