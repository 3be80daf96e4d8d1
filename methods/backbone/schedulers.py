"""The samplers, made from a pipeline's own scheduler configuration."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from methods.errors import unknown_name

SCHEDULERS = {
    "ddim": ("diffusers.schedulers.scheduling_ddim", "DDIMScheduler"),
    "euler": ("diffusers.schedulers.scheduling_euler_discrete", "EulerDiscreteScheduler"),
    "dpmpp": ("diffusers.schedulers.scheduling_dpmsolver_multistep", "DPMSolverMultistepScheduler"),
}
"""Deterministic samplers only: the one random draw of a job is its initial noise."""


def make_scheduler(name: str, config: Mapping[str, Any]) -> Any:
    """A fresh scheduler; DPM-Solver++ is its deterministic multistep form, whatever the config says.

    Raises UsageError for an unknown name.
    """
    if name not in SCHEDULERS:
        raise unknown_name("scheduler", name, SCHEDULERS)
    module, class_name = SCHEDULERS[name]
    scheduler_class = getattr(importlib.import_module(module), class_name)
    overrides = {"algorithm_type": "dpmsolver++"} if name == "dpmpp" else {}
    return scheduler_class.from_config(dict(config), **overrides)


def default_scheduler(config: Mapping[str, Any]) -> str:
    """The sampler that a pipeline was shipped with; DDIM where it is none of ours (such as PNDM)."""
    shipped = config.get("_class_name")
    return next((name for name, (_, known) in SCHEDULERS.items() if known == shipped), "ddim")


def noise_sigma(scheduler: Any, index: int, timestep: Tensor) -> float:
    """k-diffusion noise level sqrt((1 - abar) / abar) at one step; inf where no signal is left."""
    if getattr(scheduler, "sigmas", None) is not None:
        return float(scheduler.sigmas[index])
    abar = float(scheduler.alphas_cumprod[int(timestep)])
    return ((1 - abar) / abar) ** 0.5 if abar > 0 else float("inf")
