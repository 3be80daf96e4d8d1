"""The loop against diffusers' own pipeline on the same weights: plain, and with an identity adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from methods.backbone.load import load_backbone
from methods.hooks import Identity, Job
from methods.paths import pocket_dir
from methods.sampling import sample
from methods.shipped import SHIPPED
from methods.uniform.method import Uniform
from scripts.costs.turns import clock_of, ratio, take_turns
from scripts.costs.twin import twin_where_missing

LIMITS = {"none": 1.0, "none, true guidance": 1.0, "uniform": 0.9}
PROMPT = "a photo of a person at the beach"
TRUE_CFG = 2.0
"""Scale of guidance by a second pass, where the network reads a scale already (FLUX)."""


def run(name: str, *, rounds: int, steps: int) -> dict[str, Any]:
    """What results/diffusers.json holds. name: the backbone, as `load_backbone` takes it."""
    with twin_where_missing(name) as random:
        folder = pocket_dir() / SHIPPED[name].folder if name in SHIPPED else Path(name)
        return {"random weights": random, **measure(name, folder, rounds=rounds, steps=steps)}


def measure(name: str, folder: Path, *, rounds: int, steps: int) -> dict[str, Any]:
    """Our seconds over those of diffusers for one guided picture, by the rows of `LIMITS`.

    name, folder: the backbone as `load_backbone` takes it, and its folder in diffusers layout
    """
    from diffusers import DiffusionPipeline

    backbone = load_backbone(name)
    plain, adapted = (
        DiffusionPipeline.from_pretrained(folder, dtype=backbone.dtype).to(backbone.device) for _ in range(2)
    )
    for pipeline in (plain, adapted):
        pipeline.set_progress_bar_config(disable=True)
    by_rows = backbone.denoiser.guidance == "rows"
    width, height = backbone.default_size
    embedding = torch.nn.functional.normalize(torch.ones(512), dim=0)
    method = Uniform.untrained(backbone)
    load_adapter(adapted, method, by_rows)
    common = {
        "num_inference_steps": steps,
        "guidance_scale": backbone.defaults.guidance,
        "width": width,
        "height": height,
    }
    common |= {} if by_rows else {"max_sequence_length": backbone.text.encode(PROMPT).hidden.shape[0]}

    def ours(turn: int, chosen: Uniform | None = None, **more: Any) -> None:
        job = Job(PROMPT, width, height, backbone.defaults.guidance, seed=turn, steps=steps, **more)
        sample(backbone, [job], chosen)

    def theirs(turn: int, pipeline: Any = plain, **more: Any) -> None:
        with torch.inference_mode():
            pipeline(PROMPT, generator=torch.Generator().manual_seed(turn), **common, **more)

    person = {"identity": Identity("somebody", embedding)}
    runs: dict[str, tuple[Callable[[int], object], ...]] = {
        "none": (ours, theirs),
        "uniform": (
            lambda turn: ours(turn, method, **person),
            lambda turn: theirs(turn, adapted, **image_embeds(embedding.to(backbone.dtype), by_rows)),
        ),
    }
    if not by_rows:
        runs["none, true guidance"] = (
            lambda turn: ours(turn, true_cfg=TRUE_CFG),
            lambda turn: theirs(turn, negative_prompt="", true_cfg_scale=TRUE_CFG),
        )
    calls = {row: own for row, (own, _) in runs.items()}
    calls |= {f"{row}, theirs": other for row, (_, other) in runs.items()}
    seconds = take_turns(calls, rounds=rounds, clock=clock_of(backbone.device))
    return {
        "definition": "processor (CPU) or wall seconds of one guided picture, text to pixels, over those of "
        "diffusers' own pipeline of the same weights, `uniform` over its IP-Adapter; medians of rounds that "
        "take turns",
        "backbone": backbone.name,
        "steps": steps,
        "rounds": rounds,
        **{row: ratio(seconds[row], seconds[f"{row}, theirs"], LIMITS[row]) for row in runs},
    }


def image_embeds(embedding: Tensor, by_rows: bool) -> dict[str, Any]:
    """A face embedding [D], and nobody's zeros, as the pipelines take them."""
    nobody = torch.zeros_like(embedding)
    if by_rows:
        return {"ip_adapter_image_embeds": [torch.stack([nobody, embedding])[:, None, None]]}
    return {
        "ip_adapter_image_embeds": [embedding[None, None]],
        "negative_ip_adapter_image_embeds": [nobody[None, None]],
    }


def load_adapter(pipeline: Any, method: Uniform, by_rows: bool) -> None:
    """The same adapter in diffusers."""
    nested: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in method.adapter.state_dict().items():
        part, _, rest = key.partition(".")
        nested[part][rest] = value
    encoder = "image_encoder_folder" if by_rows else "image_encoder_pretrained_model_name_or_path"
    pipeline.load_ip_adapter(nested, subfolder="", weight_name="", **{encoder: None})
