"""The options of `spid train`: what its YAML files hold. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from methods.config import (
    Batch,
    Count,
    Decay,
    Finite,
    Positive,
    Seed,
    Share,
    Side,
    Weight,
    Whole,
    build,
    load_yaml,
    options,
    read_setting,
)
from methods.errors import UsageError


@options
class DataConfig:
    """Where the pictures come from.

    source:      `pocket:` or an imagefolder with metadata.jsonl (file_name, identity, prompt)
    people:      of the pocket world
    pictures:    of each of them
    size:        side of the training pictures in pixels; null is the backbone's own
    max_skipped: share of pictures that may be unusable before the training refuses to start
    """

    source: str = "pocket:"
    people: Count = 1000
    pictures: Count = 10
    size: Side | None = None
    max_skipped: Share = 0.1


@options
class TrainConfig:
    """Everything about a training but the method's own options.

    backbone:      as for `spid generate`; frozen
    backbone_dtype: of its weights; what learns is float32 always
    lora, lora_scale: merged into its weights, as for `load_backbone`
    device:        `auto` is the accelerator that accelerate finds, else the CPU
    face_encoder:  null is the backbone's own (`pocket` for the pocket family)
    seed:          of everything random
    batch:         samples per process and pass
    accumulation:  passes per optimizer step; a step sees batch x accumulation x processes samples
    rate:          peak of the learning rate; warm-up over `warmup` steps, then a cosine down to
                   `final_rate` x peak at the end of the stage
    optimizer:     `adamw`, or `muon` for weight matrices beside AdamW for the rest (torch 2.9 or newer)
    betas, weight_decay: of AdamW; Muon has the same weight decay
    clip:          largest norm of the gradient
    average:       decay of the exponential moving average that previews and the adapter are taken from
    precision:     `float32`, or autocast to `bfloat16` or `float16` (CUDA only, with loss scaling)
    gradient_checkpointing: recompute the U-Net's blocks in backward: less memory, a third more time
    checkpoint_every, keep: steps between checkpoints, and how many stay
    preview_every: steps between sample sheets, 0 for none
    preview_people: rows of the sheet
    tensorboard:   also write TensorBoard events
    """

    backbone: str = "pocket"
    backbone_dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    lora: str | tuple[str, ...] | None = None
    lora_scale: Finite | None = None
    device: str = "auto"
    face_encoder: str | None = None
    seed: Seed = 0
    batch: Batch = 32
    accumulation: Count = 1
    rate: Positive = 1e-4
    warmup: Count = 200
    final_rate: Share = 0.02
    optimizer: Literal["adamw", "muon"] = "adamw"
    betas: tuple[Decay, Decay] = (0.9, 0.98)
    weight_decay: Weight = 0.01
    clip: Positive = 1.0
    average: Decay = 0.998
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    gradient_checkpointing: bool = False
    checkpoint_every: Count = 500
    keep: Count = 2
    preview_every: Whole = 1000
    preview_people: Whole = 4
    tensorboard: bool = False
    data: DataConfig = DataConfig()

    def learning_rate(self, step: int, steps: int) -> float:
        """Factor on the peak at step 0 .. steps - 1 of a stage: linear warm-up times a cosine.

        The warm-up takes at most a tenth of a short stage.
        """
        from math import cos, pi

        warmup = max(1, min(self.warmup, steps // 10))
        cosine = self.final_rate + (1 - self.final_rate) * 0.5 * (1 + cos(pi * step / steps))
        return min(1.0, (step + 1) / warmup) * cosine


_LORA = ("lora", "lora_scale")

FREE = (
    "device",
    "batch",
    "accumulation",
    "checkpoint_every",
    "keep",
    "preview_every",
    "preview_people",
    "tensorboard",
    "gradient_checkpointing",
)
"""Options that a resumed training may change: the samples of a step are counted, not how they are split."""


def read_config(
    path: str | Path,
    settings: Sequence[str] = (),
    *,
    source: str | None = None,
    backbone: Mapping[str, Any] | None = None,
) -> tuple[TrainConfig, dict[str, Any]]:
    """Options of a training and of its method from a YAML file and `key=value` settings.

    Keys of the sections `data` and `options` are reached by dots (`data.people=100`). source: replaces
    `data.source`. backbone: replaces keys of its own that are not None (`lora`). Raises UsageError naming
    file or setting, with the nearest known key for an unknown one.
    """
    content = load_yaml(path)
    for setting in settings:
        _set(content, setting)
    where = str(path)
    own = _section(content, "options", where)
    data = _section(content, "data", where)
    if source is not None:
        data["source"] = source
    content |= {key: value for key, value in (backbone or {}).items() if value is not None}
    config = build(TrainConfig, {**content, "data": data}, where=where)
    return config, own


def describe(config: TrainConfig, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as JSON-able values, in the layout of the YAML file."""
    described = {**asdict(config), "options": dict(options)}
    described["betas"] = list(config.betas)
    # absent where there is none, as in trainings that began before there were any
    return {key: value for key, value in described.items() if value is not None or key not in _LORA}


def _section(options: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    section = options.pop(name, None)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise UsageError(
            f"{where}: {name} is {section!r}, not a section.", hint=f"Indent its keys below {name}:"
        )
    return dict(section)


def _set(options: dict[str, Any], setting: str) -> None:
    key, value = read_setting(setting, where=f"--set {setting!r}", example="--set data.people=100")
    section, dot, name = key.partition(".")
    if not dot:
        options[key] = value
        return
    inner = options.get(section)
    if inner is not None and not isinstance(inner, dict):
        raise UsageError(f"--set {setting!r}: {section} is no section.", hint="Write the key without a dot.")
    options[section] = {**(inner or {}), name: value}
