"""Text encoders leave the memory once all prompts are encoded, and come back for another one."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_folder
from tiny_flux import flux_folder

from methods.backbone.backbone import Backbone
from methods.backbone.load import load_backbone
from methods.errors import WeightsError
from methods.hooks import Job
from methods.sampling import iterate_samples

PROMPTS = ("a photo of a person", "the red beach", "")


def held(models: tuple[torch.nn.Module, ...]) -> tuple[list[Any], int]:
    """Weak references to the weights of modules, and their bytes."""
    tensors = [tensor for model in models for tensor in model.parameters()]
    return [weakref.ref(tensor) for tensor in tensors], sum(tensor.nbytes for tensor in tensors)


def grown(backbone: Backbone) -> None:
    """Encoders of a real one outweigh the features of its prompts; those of a miniature do not."""
    for model in backbone.text.loaded:
        model.register_buffer("ballast", torch.zeros(2**20))


@pytest.mark.parametrize("folder", ["dev", "sd1", "sdxl"])
def test_the_features_are_the_same_and_the_weights_are_gone(folder: str) -> None:
    place = flux_folder(folder) if folder == "dev" else tiny_folder(folder)
    kept, freed = (load_backbone(str(place), device="cpu") for _ in range(2))
    grown(freed)
    weights, size = held(freed.text.loaded)
    assert freed.text.let_go(PROMPTS) and freed.text.loaded == ()
    assert size > 0 and not any(one() is not None for one in weights), "something still holds them"
    assert freed.modules == (*freed.denoiser.modules(), freed.vae)

    for prompt in PROMPTS:
        ours, theirs = freed.text.encode(prompt), kept.text.encode(prompt)
        assert torch.equal(ours.hidden, theirs.hidden) and ours.truncated == theirs.truncated
        pooled = [one.pooled for one in (ours, theirs) if one.pooled is not None]
        assert not pooled or torch.equal(*pooled)
    assert not freed.text.loaded, "what is remembered needs no encoder"
    assert freed.text.let_go(PROMPTS)

    other = "another sentence"
    assert torch.equal(freed.text.encode(other).hidden, kept.text.encode(other).hidden)
    assert len(freed.text.loaded) == len(kept.text.models)
    assert not any(one.requires_grad for model in freed.text.models for one in model.parameters())


def test_pictures_have_the_same_bits() -> None:
    jobs = [Job(prompt, width=32, height=32, steps=2, guidance=3.5, seed=4) for prompt in PROMPTS[:2]]
    backbone = load_backbone(str(flux_folder("dev")), device="cpu")
    before = [result.latents for _, result in iterate_samples(backbone, jobs, None, batch_size=2)]
    grown(backbone)
    assert backbone.text.let_go(PROMPTS)
    after = [result.latents for _, result in iterate_samples(backbone, jobs, None, batch_size=2)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not backbone.text.loaded


def test_they_stay_where_that_saves_nothing_or_cannot_be_undone() -> None:
    backbone = load_backbone(str(flux_folder("dev")), device="cpu")
    size = sum(tensor.nbytes for model in backbone.text.models for tensor in model.state_dict().values())
    each = sum(one.nbytes for one in backbone.text.encode("")[:2] if one is not None)
    many = ["", *(f"prompt {number}" for number in range(size // each))]
    assert not backbone.text.let_go(many) and backbone.text.loaded
    assert len(backbone.text._known) == 1, "nothing is encoded in vain"
    backbone.text._again = None  # as with a LoRA merged into it
    assert not backbone.text.let_go(PROMPTS) and backbone.text.loaded


def test_a_missing_file_is_named_when_they_come_back(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(flux_folder("dev"), tmp_path / "flux"))
    backbone = load_backbone(str(folder), device="cpu")
    grown(backbone)
    assert backbone.text.let_go(PROMPTS)
    shutil.rmtree(folder / "text_encoder_2")
    with pytest.raises(WeightsError, match="flux is incomplete or damaged"):
        backbone.text.encode("something else")
