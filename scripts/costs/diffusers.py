"""The loop against diffusers' own pipeline on the same weights: plain, and with an identity adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from methods.backbone.load import load_backbone
from methods.hooks import Identity, Job
from methods.sampling import sample
from methods.uniform.method import Uniform
from scripts.costs.turns import clock_of, ratio, take_turns

LIMITS = {"none": 1.0, "uniform": 0.9}
PROMPT = "a photo of a person at the beach"


def measure(name: str, folder: Path, *, rounds: int, steps: int) -> dict[str, Any]:
    """Rows `none` and `uniform`: the project's seconds over diffusers' for one guided picture.

    name, folder: the backbone as `load_backbone` takes it, and its folder in diffusers layout
    """
    from diffusers import DiffusionPipeline

    backbone = load_backbone(name)
    plain, adapted = (
        DiffusionPipeline.from_pretrained(folder, dtype=backbone.dtype).to(backbone.device) for _ in range(2)
    )
    for pipeline in (plain, adapted):
        pipeline.set_progress_bar_config(disable=True)
    width, height = backbone.default_size
    embedding = torch.nn.functional.normalize(torch.ones(512), dim=0)
    identity = Identity("somebody", embedding)
    method = Uniform.untrained(backbone)
    load_faceid(adapted, method)
    embeds = torch.stack([torch.zeros(512), embedding])[:, None, None].to(backbone.device)
    common = {
        "num_inference_steps": steps,
        "guidance_scale": backbone.defaults.guidance,
        "width": width,
        "height": height,
    }

    def ours(round_: int, chosen: Uniform | None) -> None:
        job = Job(PROMPT, width, height, backbone.defaults.guidance, seed=round_, steps=steps)
        if chosen is None:
            sample(backbone, [job])
        else:
            sample(backbone, [Job(**{**vars(job), "identity": identity})], chosen)

    def theirs(round_: int, pipeline: Any, **more: Any) -> None:
        with torch.inference_mode():
            pipeline(PROMPT, generator=torch.Generator().manual_seed(round_), **common, **more)

    seconds = take_turns(
        {
            "none": lambda turn: ours(turn, None),
            "diffusers": lambda turn: theirs(turn, plain),
            "uniform": lambda turn: ours(turn, method),
            "diffusers' IP-Adapter": lambda turn: theirs(
                turn, adapted, ip_adapter_image_embeds=[embeds.to(backbone.dtype)]
            ),
        },
        rounds=rounds,
        clock=clock_of(backbone.device),
    )
    return {
        "definition": "processor (CPU) or wall seconds of one guided picture, text to pixels, over "
        "diffusers' own pipeline of the same weights; medians of rounds that take turns",
        "backbone": backbone.name,
        "steps": steps,
        "rounds": rounds,
        "none over diffusers": ratio(seconds["none"], seconds["diffusers"], LIMITS["none"]),
        "uniform over diffusers' IP-Adapter": ratio(
            seconds["uniform"], seconds["diffusers' IP-Adapter"], LIMITS["uniform"]
        ),
    }


def load_faceid(pipeline: Any, method: Uniform) -> None:
    """The same adapter in diffusers."""
    nested: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in method.adapter.state_dict().items():
        part, _, rest = key.partition(".")
        nested[part][rest] = value
    pipeline.load_ip_adapter(nested, subfolder="", weight_name="", image_encoder_folder=None)
