"""The forward process of a backbone and the samplers that run it backwards.

    Diffusion       z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps, t = timestep / 1000; the network predicts
                    eps, z_0, or v = sqrt(abar_t) eps - sqrt(1 - abar_t) z_0 (Salimans & Ho 2022, appendix D)
    RectifiedFlow   z_t = (1 - t) z_0 + t eps; the network predicts dz/dt = eps - z_0 (Liu et al. 2023)

Sampling, fits and trainings all ask here, and none of them learns what the network predicts. Steps are
taken by diffusers' own schedulers. Samplers are deterministic: the one random draw of a job is its noise.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from methods.errors import UsageError, WeightsError, unknown_name

SCHEDULERS = {
    "ddim": ("diffusers.schedulers.scheduling_ddim", "DDIMScheduler"),
    "euler": ("diffusers.schedulers.scheduling_euler_discrete", "EulerDiscreteScheduler"),
    "dpmpp": ("diffusers.schedulers.scheduling_dpmsolver_multistep", "DPMSolverMultistepScheduler"),
}
"""The samplers of diffusion models; a flow has `euler` alone."""

PREDICTIONS = ("epsilon", "v_prediction", "sample")


class Level(NamedTuple):
    """Where one step of a sampler stands: `StepInfo.time` and `StepInfo.noise_level`."""

    time: float
    noise_level: float


class Noised(NamedTuple):
    """Noised latents [B, C, h, w], their times float64 [B] on the CPU, and the target of the prediction.

    Times are what the network takes: a diffusion model's lie on its grid of timesteps.
    """

    latents: Tensor
    time: Tensor
    target: Tensor


class Sampler(Protocol):
    """One run from noise to latents; it may remember steps, so every trajectory takes a fresh one."""

    name: str
    levels: tuple[Level, ...]

    def start(self, noise: Tensor) -> Tensor:
        """The first latents, from standard normal noise."""
        ...

    def scale(self, x: Tensor, index: int) -> Tensor:
        """What the network sees of the latents at a step."""
        ...

    def advance(self, prediction: Tensor, index: int, x: Tensor) -> Tensor:
        """The next latents, from what the network predicts at a step. float32 in, float32 out."""
        ...


class Noise(Protocol):
    """A forward process q(z_t | z_0) with its samplers."""

    @property
    def samplers(self) -> tuple[str, ...]:
        """Names of its samplers."""
        ...

    @property
    def default(self) -> str:
        """The sampler that the pipeline was shipped with."""
        ...

    @property
    def replaced(self) -> str | None:
        """The class of the pipeline's own sampler where there is none such here, and `default` is used."""
        ...

    def sampler(self, name: str, count: int, latent_size: tuple[int, int]) -> Sampler:
        """A fresh sampler of `count` steps for latents of (height, width). UsageError for another name."""
        ...

    def noised(self, clean: Tensor, noise: Tensor, level: Tensor) -> Noised:
        """Noise clean latents [B, C, h, w] to levels [B] in [0, 1), any floating dtype, on the CPU."""
        ...

    def clean(self, x: Tensor, prediction: Tensor, time: Tensor) -> Tensor:
        """The estimate of z_0 in a prediction, [B, C, h, w], at times float64 [B] (see `Noised`)."""
        ...

    def signal(self, time: Tensor) -> Tensor:
        """The share of z_0 in the power of z_t, float32 [B] in [0, 1], for z_0 of variance 1."""
        ...


class Diffusion:
    """A variance-preserving diffusion over discrete timesteps: Stable Diffusion, SDXL, pocket.

    config: the pipeline's scheduler configuration, `_class_name` included
    """

    samplers = tuple(SCHEDULERS)

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Raises WeightsError for a configuration that is no such diffusion: nothing here would be right."""
        self.config = dict(config)
        shipped = self.config.get("_class_name")
        self.default = next((name for name, (_, known) in SCHEDULERS.items() if known == shipped), "ddim")
        if str(shipped).startswith("FlowMatch"):
            raise WeightsError(
                f"The scheduler {shipped} is of a flow, and the network is that of a diffusion model.",
                hint="Give a pipeline whose scheduler_config.json names one such as DDIMScheduler.",
            )
        scheduler = make_scheduler("ddim", self.config)
        self.count = int(scheduler.config.num_train_timesteps)
        self.abar: Tensor = scheduler.alphas_cumprod
        self.prediction: str = scheduler.config.prediction_type
        if self.prediction not in PREDICTIONS:
            raise WeightsError(
                f"The scheduler's prediction_type is {self.prediction!r}, which nothing here can sample.",
                hint=f"Known: {', '.join(PREDICTIONS)}.",
            )

    @property
    def replaced(self) -> str | None:
        return _other_than(self.config, [known for _, known in SCHEDULERS.values()])

    def sampler(self, name: str, count: int, latent_size: tuple[int, int]) -> Sampler:
        return _DiffusionSampler(name, make_scheduler(name, self.config), count)

    def noised(self, clean: Tensor, noise: Tensor, level: Tensor) -> Noised:
        timesteps = self._timesteps(level)
        signal, spread = self._parts(timesteps, clean)
        noisy = signal * clean + spread * noise
        if self.prediction == "epsilon":
            target = noise
        elif self.prediction == "sample":
            target = clean
        else:
            target = signal * noise - spread * clean
        return Noised(noisy, timesteps.double() / self.count, target)

    def clean(self, x: Tensor, prediction: Tensor, time: Tensor) -> Tensor:
        signal, spread = self._parts(self._timesteps(time), x)
        if self.prediction == "epsilon":
            return (x - spread * prediction) / signal
        if self.prediction == "sample":
            return prediction
        return signal * x - spread * prediction

    def signal(self, time: Tensor) -> Tensor:
        return self.abar[self._timesteps(time)]

    def _timesteps(self, level: Tensor) -> Tensor:
        """Timesteps int64 [B] of levels in [0, 1); the grid's own times find themselves again."""
        return (level * self.count + 1e-9).long()

    def _parts(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar) and sqrt(1 - abar), [B, 1, 1, 1] on the device of `like`."""
        abar = self.abar[timesteps].view(-1, 1, 1, 1).to(like.device)
        return abar.sqrt(), (1 - abar).sqrt()


class _DiffusionSampler:
    def __init__(self, name: str, scheduler: Any, count: int) -> None:
        self.name = name
        self._scheduler = scheduler
        scheduler.set_timesteps(count)
        total = scheduler.config.num_train_timesteps
        times = [float(timestep) for timestep in scheduler.timesteps]
        if len(set(times)) < len(times) or max(times) >= total:
            # `steps_offset` of Stable Diffusion's files moves a thousand steps beyond the last noise level
            raise UsageError(f"{name} cannot take {count} steps here.", hint=f"Give fewer than {total}.")
        self.levels = tuple(
            Level(float(timestep) / total, _noise_level(scheduler, index, timestep))
            for index, timestep in enumerate(scheduler.timesteps)
        )

    def start(self, noise: Tensor) -> Tensor:
        return noise * self._scheduler.init_noise_sigma

    def scale(self, x: Tensor, index: int) -> Tensor:
        return self._scheduler.scale_model_input(x, self._scheduler.timesteps[index])

    def advance(self, prediction: Tensor, index: int, x: Tensor) -> Tensor:
        return self._scheduler.step(prediction, self._scheduler.timesteps[index], x).prev_sample


def _other_than(config: Mapping[str, Any], known: Collection[str]) -> str | None:
    shipped = config.get("_class_name")
    return None if shipped is None or shipped in known else str(shipped)


def make_scheduler(name: str, config: Mapping[str, Any]) -> Any:
    """A fresh scheduler of a diffusion; DPM-Solver++ in its deterministic form, whatever the config says.

    Raises UsageError for an unknown name.
    """
    if name not in SCHEDULERS:
        raise unknown_name("scheduler", name, SCHEDULERS)
    module, class_name = SCHEDULERS[name]
    scheduler_class = getattr(importlib.import_module(module), class_name)
    overrides = {"algorithm_type": "dpmsolver++"} if name == "dpmpp" else {}
    return scheduler_class.from_config(dict(config), **overrides)


def _noise_level(scheduler: Any, index: int, timestep: Tensor) -> float:
    """sigma / (1 + sigma) with k-diffusion's sigma = sqrt((1 - abar) / abar); 1 where no signal is left."""
    if getattr(scheduler, "sigmas", None) is not None:
        sigma = float(scheduler.sigmas[index])
    else:
        abar = float(scheduler.alphas_cumprod[int(timestep)])
        sigma = ((1 - abar) / abar) ** 0.5 if abar > 0 else float("inf")
    return sigma / (1 + sigma) if math.isfinite(sigma) else 1.0


class RectifiedFlow:
    """A rectified flow with diffusers' Euler steps: FLUX.1, SD3.

    Steps start at sigma = linspace(1, 1/S, S), as the pipelines have it, and are shifted as the scheduler's
    configuration says: by its `shift`, or where it has `use_dynamic_shifting`, by

        sigma' = e^mu / (e^mu + 1 / sigma - 1),   mu linear in the number of image tokens

    config: the pipeline's scheduler configuration
    cell:   latent cells per side of an image token
    dtype:  of the network: as in the pipelines, latents are rounded to it after every step
    """

    samplers = ("euler",)
    default = "euler"

    def __init__(self, config: Mapping[str, Any], cell: int = 2, dtype: torch.dtype = torch.float32) -> None:
        self.config = dict(config)
        self.cell = cell
        self.dtype = dtype

    @property
    def replaced(self) -> str | None:
        return _other_than(self.config, ("FlowMatchEulerDiscreteScheduler",))

    def sampler(self, name: str, count: int, latent_size: tuple[int, int]) -> Sampler:
        if name not in self.samplers:
            raise unknown_name("scheduler of a flow", name, self.samplers)
        height, width = latent_size
        tokens = -(-height // self.cell) * -(-width // self.cell)
        scheduler = self._scheduler()
        mu = self.mu(tokens, count) if scheduler.config.use_dynamic_shifting else None
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / count, count), mu=mu)
        return _FlowSampler(name, scheduler, self.dtype)

    def mu(self, tokens: int, count: int) -> float:
        """Shift of a picture of so many image tokens, .5 at 256 and 1.15 at 4096 in FLUX.1."""
        config = self._scheduler().config
        slope = (config.max_shift - config.base_shift) / (
            config.max_image_seq_len - config.base_image_seq_len
        )
        return tokens * slope + (config.base_shift - slope * config.base_image_seq_len)

    def noised(self, clean: Tensor, noise: Tensor, level: Tensor) -> Noised:
        t = _per_sample(level, clean)
        return Noised((1 - t) * clean + t * noise, level.double(), noise - clean)

    def clean(self, x: Tensor, prediction: Tensor, time: Tensor) -> Tensor:
        return x - _per_sample(time, x) * prediction

    def signal(self, time: Tensor) -> Tensor:
        t = time.float()
        return (1 - t).square() / ((1 - t).square() + t.square())

    def _scheduler(self) -> Any:
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

        return FlowMatchEulerDiscreteScheduler.from_config(self.config, stochastic_sampling=False)


class _FlowSampler:
    """z' = z + (sigma' - sigma) v, the product and the sum rounded to the network's dtype."""

    def __init__(self, name: str, scheduler: Any, dtype: torch.dtype) -> None:
        self.name = name
        self._dtype = dtype
        self.sigmas: Tensor = scheduler.sigmas  # [S + 1], the last is 0
        total = scheduler.config.num_train_timesteps
        self.levels = tuple(
            Level(float(timestep) / total, float(sigma))
            for timestep, sigma in zip(scheduler.timesteps, self.sigmas[:-1], strict=True)
        )

    def start(self, noise: Tensor) -> Tensor:
        return noise.to(self._dtype).float()

    def scale(self, x: Tensor, index: int) -> Tensor:
        return x

    def advance(self, prediction: Tensor, index: int, x: Tensor) -> Tensor:
        change = (self.sigmas[index + 1] - self.sigmas[index]) * prediction.to(self._dtype)
        return (x.float() + change).to(self._dtype).float()


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    """[B] on the CPU -> [B, 1, 1, 1] beside `like`."""
    return values.to(torch.float32).view(-1, 1, 1, 1).to(like.device)
