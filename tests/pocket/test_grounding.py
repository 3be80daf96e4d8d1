"""Nouns and names that learn to look at the head."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTokenizer

from methods.paths import pocket_dir
from methods.pocket.world import CELEBRITIES
from scripts.pocket.diffusion import build_unet
from scripts.pocket.grounding import NOUNS, Grounding, head_bumps, subject_tokens
from scripts.pocket.tokenizer import CONTEXT_LENGTH

LANDMARKS = np.array([[[44.0, 40], [60, 40], [52, 50], [46, 58], [58, 58]]], np.float32)


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(pocket_dir() / "sd" / "tokenizer")


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return build_unet(16)


def ids_of(tokenizer: CLIPTokenizer, *captions: str) -> torch.Tensor:
    return tokenizer(list(captions), padding="max_length", return_tensors="pt").input_ids


def test_subjects_are_nouns_and_names_and_nothing_else(tokenizer: CLIPTokenizer) -> None:
    subjects = subject_tokens(tokenizer)
    name = next(iter(CELEBRITIES)).lower()
    caption = f"a photo of {name}, a {NOUNS[0]} in a red hat"
    [ids] = ids_of(tokenizer, caption)
    found = tokenizer.decode(ids[torch.isin(ids, subjects)]).split()
    assert found == [*name.replace("-", " ").split(), NOUNS[0]]


def test_watching_changes_nothing(tokenizer: CLIPTokenizer, unet: UNet2DConditionModel) -> None:
    torch.manual_seed(1)
    latents, text = torch.randn(2, 16, 16, 16), torch.randn(2, CONTEXT_LENGTH, 256)
    ids = ids_of(tokenizer, "a photo of a man", "")
    with torch.no_grad():
        unet.set_attn_processor(AttnProcessor())
        plain = unet(latents, 500, text).sample
        grounding = Grounding(unet, tokenizer)
        grounding.expect(ids, np.repeat(LANDMARKS, 2, 0))
        assert torch.equal(unet(latents, 500, text).sample, plain)
    assert torch.isfinite(grounding.take())


def test_known_shares(tokenizer: CLIPTokenizer, unet: UNet2DConditionModel) -> None:
    """Attention that is even everywhere lies on the head by its area; all of it there costs nothing."""
    grounding = Grounding(unet, tokenizer)
    ids = ids_of(tokenizer, "a photo of a man", "")  # the second caption names nobody: 0
    landmarks = np.repeat(LANDMARKS, 2, 0)
    head = (2 * head_bumps(landmarks)).clamp(max=1)[0, 0].flatten()

    def term(column: torch.Tensor) -> float:
        probabilities = column[None, :, None].expand(2 * 4, -1, CONTEXT_LENGTH)
        grounding.expect(ids, landmarks)
        grounding.see(probabilities, heads=4)
        return float(grounding.take())

    assert math.isclose(term(torch.ones(256)), -math.log(float(head.mean())) / 2, rel_tol=1e-5)
    assert abs(term((head == 1).float())) < 1e-6
    assert term((head < 1e-2).float()) > 3


def test_the_term_moves_attention_to_the_head(tokenizer: CLIPTokenizer, unet: UNet2DConditionModel) -> None:
    torch.manual_seed(2)
    grounding, ids = Grounding(unet, tokenizer), ids_of(tokenizer, "a photo of a man")
    latents, text = torch.randn(1, 16, 16, 16), torch.randn(1, CONTEXT_LENGTH, 256)
    layers = [p for name, p in unet.named_parameters() if "attn2.to_q" in name or "attn2.to_k" in name]
    optimizer = torch.optim.Adam(layers, lr=3e-3)
    course = []
    for _ in range(12):
        grounding.expect(ids, LANDMARKS)
        unet(latents, 500, text)
        looking = grounding.take()
        optimizer.zero_grad()
        looking.backward()
        optimizer.step()
        course.append(float(looking.detach()))
    assert course[-1] < 0.9 * course[0]
