"""The forward processes against their equations and against diffusers' own schedulers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from tiny import tiny_scheduler

from methods.backbone.noise import PREDICTIONS, SCHEDULERS, Diffusion, RectifiedFlow
from methods.errors import UsageError, WeightsError

DEV = {"shift": 3.0, "use_dynamic_shifting": True}
"""FLUX.1-dev; the other values are the scheduler's own defaults."""


def latents(seed: int, count: int = 4) -> torch.Tensor:
    return torch.randn(count, 4, 6, 5, generator=torch.Generator().manual_seed(seed))


def diffusion(prediction: str) -> Diffusion:
    return Diffusion(dict(tiny_scheduler(prediction).config))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_noise_and_target_are_those_of_diffusers(prediction: str) -> None:
    noise, levels = diffusion(prediction), torch.tensor([0.0, 0.0299, 0.5, 0.9999])
    clean, eps, timesteps = latents(1), latents(2), torch.tensor([0, 29, 500, 999])
    noised = noise.noised(clean, eps, levels)
    scheduler = tiny_scheduler(prediction)
    assert noised.time.dtype == torch.float64
    assert noised.time.tolist() == [0.0, 0.029, 0.5, 0.999]
    torch.testing.assert_close(noised.latents, scheduler.add_noise(clean, eps, timesteps))
    velocity = scheduler.get_velocity(clean, eps, timesteps)
    targets = {"epsilon": eps, "sample": clean, "v_prediction": velocity}
    torch.testing.assert_close(noised.target, targets[prediction])


@pytest.mark.parametrize("noise", [*map(diffusion, PREDICTIONS), RectifiedFlow(DEV)])
def test_a_true_prediction_gives_the_clean_latents_back(noise: Diffusion | RectifiedFlow) -> None:
    clean = latents(1)
    noised = noise.noised(clean, latents(2), torch.tensor([0.1, 0.3, 0.6, 0.8]))
    found = noise.clean(noised.latents, noised.target, noised.time)
    torch.testing.assert_close(found, clean, rtol=1e-4, atol=1e-4)


def test_every_time_of_the_grid_finds_its_timestep_again() -> None:
    noise, times = diffusion("epsilon"), torch.arange(1000).double() / 1000
    zeros = torch.zeros(1000, 1, 1, 1)
    assert noise.noised(zeros, zeros, times).time.equal(times)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_perfect_network_is_followed_to_the_clean_latents(name: str) -> None:
    """With a prediction that always names the same z_0, every sampler must end near it."""
    noise, clean = diffusion("sample"), latents(1, 1)
    sampler = noise.sampler(name, 20, (6, 5))
    x = sampler.start(latents(2, 1))
    for index in range(20):
        x = sampler.advance(clean, index, x)
    assert len(sampler.levels) == 20 and sampler.name == name
    assert (x - clean).abs().max() < 0.15


@pytest.mark.parametrize("size", [(16, 16), (32, 32), (33, 64), (128, 128), (144, 112)])
@pytest.mark.parametrize("config", [DEV, {"shift": 1.0}, {"shift": 3.0}])
def test_flow_steps_are_those_of_the_flux_pipeline(size: tuple[int, int], config: dict) -> None:
    flow = RectifiedFlow(config)
    sampler = flow.sampler("euler", 7, size)
    reference = FlowMatchEulerDiscreteScheduler(**config)
    tokens = math.ceil(size[0] / 2) * math.ceil(size[1] / 2)
    mu = calculate_shift(tokens, 256, 4096, 0.5, 1.15)
    reference.set_timesteps(sigmas=np.linspace(1.0, 1 / 7, 7), mu=mu)
    x = expected = latents(1)
    assert torch.equal(sampler.start(x), x) and torch.equal(sampler.scale(x, 0), x)
    for index, timestep in enumerate(reference.timesteps):
        level = sampler.levels[index]
        assert level.noise_level == float(reference.sigmas[index])
        assert torch.tensor(level.time * 1000, dtype=torch.float32) == timestep
        velocity = latents(10 + index)
        expected = reference.step(velocity, timestep, expected).prev_sample
        x = sampler.advance(velocity, index, x)
        assert torch.equal(x, expected)


def test_the_shift_of_flux_at_known_sizes() -> None:
    """Token counts of 128, 256, 512 and 1024 pixels, and of 896 x 1152."""
    flow = RectifiedFlow(DEV)
    found = [flow.mu(tokens, 28) for tokens in (64, 256, 1024, 4032, 4096)]
    assert found == pytest.approx([0.4675, 0.5, 0.63, 1.13917, 1.15], abs=1e-4)
    level = flow.sampler("euler", 2, (128, 128)).levels[1].noise_level
    assert level == pytest.approx(math.exp(1.15) / (math.exp(1.15) + 1))


def test_a_flow_is_no_diffusion() -> None:
    with pytest.raises(WeightsError, match="of a flow"):
        Diffusion({"_class_name": "FlowMatchEulerDiscreteScheduler"})
    with pytest.raises(WeightsError, match="prediction_type"):
        Diffusion({"_class_name": "DDIMScheduler", "prediction_type": "score"})
    with pytest.raises(UsageError, match="ddim"):
        RectifiedFlow(DEV).sampler("ddim", 4, (8, 8))
    with pytest.raises(UsageError, match="Unknown scheduler"):
        diffusion("epsilon").sampler("dpmp", 4, (8, 8))
