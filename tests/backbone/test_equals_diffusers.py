"""The loop gives what diffusers' own pipelines give, from the same noise, within float32 rounding."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from tiny import FAMILIES, faceid_state_with_lora, tiny_backbone, tiny_folder

from methods.backbone.load import load_backbone
from methods.backbone.noise import SCHEDULERS, make_scheduler
from methods.hooks import Identity, Job
from methods.paths import pocket_dir
from methods.sampling import initial_noise, sample
from methods.uniform.method import Uniform

ULPS = 16
"""Allowed difference in units of float32's last place at the largest latent; kernels sum in other orders."""


def assert_equal_to_rounding(actual: torch.Tensor, expected: torch.Tensor) -> None:
    allowed = ULPS * torch.finfo(torch.float32).eps * expected.abs().max().item()
    torch.testing.assert_close(actual, expected, rtol=0.0, atol=allowed)


def reference_pipeline(folder, family, scheduler, config):
    pipeline_class = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    pipeline = pipeline_class.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = make_scheduler(scheduler, config)
    return pipeline


def reference_latents(pipeline, backbone, job, **options):
    return pipeline(
        job.prompt,
        negative_prompt=job.negative_prompt or None,
        width=job.width,
        height=job.height,
        guidance_scale=job.guidance,
        num_inference_steps=job.steps,
        latents=initial_noise(job, backbone)[None],
        output_type="latent",
        **options,
    ).images[0]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_none(family, scheduler):
    backbone = tiny_backbone(family)
    jobs = [
        Job("photo of the person", 64, 64, guidance=5.0, seed=3, steps=6),
        Job("the red beach", 64, 64, guidance=2.5, seed=4, steps=6, negative_prompt="photo"),
        Job("the red beach", 48, 72, guidance=7.5, seed=5, steps=4),
        Job("person on the beach", 64, 64, guidance=1.0, seed=6, steps=6),
    ]
    pipeline = reference_pipeline(tiny_folder(family), family, scheduler, backbone.noise.config)
    expected = [reference_latents(pipeline, backbone, job) for job in jobs]
    for result, reference in zip(sample(backbone, jobs, scheduler=scheduler), expected, strict=True):
        assert torch.equal(result.latents, reference)  # one job at a time, even the rounding is the same
        assert result.status == "ok"
    for result, reference in zip(
        sample(backbone, jobs, scheduler=scheduler, batch_size=2), expected, strict=True
    ):
        assert_equal_to_rounding(result.latents, reference)


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures(family):
    backbone = tiny_backbone(family)
    job = Job("photo of the person", 64, 48, guidance=5.0, seed=3, steps=4)
    pipeline = reference_pipeline(tiny_folder(family), family, "ddim", backbone.noise.config)
    [result] = sample(backbone, [job], scheduler="ddim")
    expected = pipeline(
        job.prompt,
        width=64,
        height=48,
        guidance_scale=5.0,
        num_inference_steps=4,
        latents=initial_noise(job, backbone)[None],
    ).images[0]
    assert result.picture.size == (64, 48)
    difference = torch.tensor(list(result.picture.tobytes())) - torch.tensor(list(expected.tobytes()))
    assert difference.abs().max() <= 1


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_uniform(family, scheduler):
    backbone = tiny_backbone(family)
    method = Uniform.untrained(backbone, seed=7)
    generator = torch.Generator().manual_seed(1)
    identities = [
        Identity(name, torch.nn.functional.normalize(torch.randn(512, generator=generator), dim=0))
        for name in ("a", "b")
    ]
    jobs = [
        Job("photo of the person", 64, 64, 5.0, seed=3, steps=5, identity=identities[0]),
        Job("the red beach", 64, 64, 3.0, seed=4, steps=5, identity=identities[1], id_weight=0.6),
    ]
    pipeline = reference_pipeline(tiny_folder(family), family, scheduler, backbone.noise.config)
    load_faceid(pipeline, method.adapter.state_dict())
    plain = sample(backbone, jobs, scheduler=scheduler)
    for result, without in zip(sample(backbone, jobs, method, scheduler=scheduler), plain, strict=True):
        embedding = result.job.identity.embedding
        pipeline.set_ip_adapter_scale(result.job.id_weight)
        both_rows = torch.stack([torch.zeros_like(embedding), embedding])[:, None, None]
        expected = reference_latents(pipeline, backbone, result.job, ip_adapter_image_embeds=[both_rows])
        assert_equal_to_rounding(result.latents, expected)
        assert (result.latents - without.latents).abs().max() > 1e-2


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_uniform_with_low_rank_additions(family):
    """Public FaceID checkpoints carry LoRA weights; diffusers applies them through peft, we merge them."""
    backbone = tiny_backbone(family)
    state = faceid_state_with_lora(backbone)
    method = Uniform.from_state(state, backbone)
    identity = Identity("a", torch.nn.functional.normalize(torch.randn(512), dim=0))
    job = Job("photo of the person", 64, 64, 5.0, seed=3, steps=4, identity=identity)
    pipeline = reference_pipeline(tiny_folder(family), family, "ddim", backbone.noise.config)
    load_faceid(pipeline, state)
    both_rows = torch.stack([torch.zeros(512), identity.embedding])[:, None, None]
    expected = reference_latents(pipeline, backbone, job, ip_adapter_image_embeds=[both_rows])
    [result] = sample(backbone, [job], method, scheduler="ddim")
    assert_equal_to_rounding(result.latents, expected)


def test_the_shipped_adapter():
    """The pocket `uniform`, whose identity has more tokens than public adapters give it."""
    backbone = load_backbone("pocket")
    method = Uniform.load(None, backbone)
    state = {name: value.float() for name, value in method.adapter.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    identity = Identity("a", torch.nn.functional.normalize(torch.randn(512, generator=generator), dim=0))
    job = Job("a photo of a person on a beach", 128, 128, 4.0, seed=3, steps=3, identity=identity)
    pipeline = reference_pipeline(pocket_dir() / "sd", "pocket", "ddim", backbone.noise.config)
    load_faceid(pipeline, state)
    both_rows = torch.stack([torch.zeros(512), identity.embedding])[:, None, None]
    expected = reference_latents(pipeline, backbone, job, ip_adapter_image_embeds=[both_rows])
    [result] = sample(backbone, [job], method, scheduler="ddim")
    assert_equal_to_rounding(result.latents, expected)


def load_faceid(pipeline, flat):
    nested = {"image_proj": {}, "ip_adapter": {}}
    for key, value in flat.items():
        part, _, rest = key.partition(".")
        nested[part][rest] = value
    pipeline.load_ip_adapter(nested, subfolder="", weight_name="", image_encoder_folder=None)
