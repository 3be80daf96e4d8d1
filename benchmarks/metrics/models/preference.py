"""PickScore: which of two pictures people would pick for a prompt, by a CLIP trained on their choices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.metrics.models.base import Extractor, loading
from methods.paths import hub_folder, in_hub_cache, user_path

_PROCESSOR = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
"""Its authors take tokenizer and transform from here; used where the model's folder holds none."""


class PickScore:
    """The dual encoder, loaded on first use through transformers.

    spec: a folder with config.json and safetensors, or a hub id that is in the local cache
    (`yuvalkirstain/PickScore_v1`).
    """

    def __init__(self, spec: str, device: str) -> None:
        self.spec, self.device = spec, device
        self.tag = f"transformers, {Path(spec).name}"

    def missing(self) -> str | None:
        folder = user_path(self.spec)
        if folder.is_dir():
            absent = [name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()]
            return f"No PickScore model: {folder / absent[0]} is missing." if absent else None
        if self.spec.count("/") != 1 or self.spec.startswith((".", "~", os.sep)):
            return f"No PickScore model at {folder}. Give preference=FOLDER."
        if not in_hub_cache(self.spec, "model.safetensors"):
            return (
                f"No PickScore model in {hub_folder(self.spec)}. Fetch {self.spec} into the hub's cache, "
                "or give preference=FOLDER."
            )
        return None

    def files(self) -> tuple[Path, ...]:
        folder = user_path(self.spec)
        return tuple(path for path in folder.glob("*") if path.is_file()) if folder.is_dir() else ()

    @cached_property
    def loaded(self) -> tuple[Any, Any, Any]:
        """Model, tokenizer, picture transform."""
        from methods.compat import ensure_torchvision

        ensure_torchvision()
        from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

        folder = user_path(self.spec)
        name = str(folder) if folder.is_dir() else self.spec
        own = not folder.is_dir() or (folder / "preprocessor_config.json").is_file()
        with loading(name, "PickScore", "Give preference=FOLDER."):
            model = CLIPModel.from_pretrained(name, local_files_only=True, use_safetensors=True)
            source = name if own else _PROCESSOR
            tokenizer = CLIPTokenizerFast.from_pretrained(source, local_files_only=True)
            transform = CLIPImageProcessor.from_pretrained(source, local_files_only=True)
        return model.eval().to(self.device), tokenizer, transform


class _Pick(Extractor):
    licence = "MIT (PickScore); its training data: Pick-a-Pic"

    def __init__(self, model: PickScore) -> None:
        self.model, self.tag = model, model.tag

    def missing(self) -> str | None:
        return self.model.missing()

    def files(self) -> tuple[Path, ...]:
        return self.model.files()


class PickImage(_Pick):
    """float32 [D], L2-normalised."""

    preprocessing = "the model's own transform (shorter side 224 bicubic, centre crop, CLIP's mean and std)"

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        import torch

        model, _, transform = self.model.loaded
        pixels = transform(images=[picture for _, picture in items], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            hidden = model.vision_model(pixel_values=pixels.to(self.model.device)).pooler_output
            return _unit(model.visual_projection(hidden))


class PickText(_Pick):
    """float32 [D]: the L2-normalised feature times exp(logit_scale)."""

    preprocessing = "the model's own tokenizer, cut at its context length"

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        import torch

        model, tokenizer, _ = self.model.loaded
        length = model.config.text_config.max_position_embeddings
        tokens = tokenizer(
            [text for _, text in items],
            padding="max_length",
            truncation=True,
            max_length=length,
            return_tensors="pt",
        ).to(self.model.device)
        with torch.inference_mode():
            hidden = model.text_model(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            ).pooler_output
            scale = float(model.logit_scale.exp())
            return [row * scale for row in _unit(model.text_projection(hidden))]


def _unit(rows: Any) -> list[Any]:
    features = rows.float().cpu().numpy()
    return list((features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32))
