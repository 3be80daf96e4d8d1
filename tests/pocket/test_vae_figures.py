"""The instrument that says what a VAE keeps of people, and the reader of small things that it uses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from methods.images import load_picture
from methods.pocket.models import PocketModels
from methods.pocket.probes import IDENTITY, attribute
from methods.pocket.world import render, sample_context, sample_person
from methods.pocket.world.names import NAMED
from scripts.pocket.common import to_pixels
from scripts.pocket.critic import detail_loss
from scripts.pocket.dataset import build
from scripts.pocket.details import (
    READ,
    DetailReader,
    aligned_crops,
    legible,
    load_details,
    read,
    train,
)
from scripts.pocket.quality import known_names
from scripts.pocket.vae_figures import vae_figures


@pytest.fixture(scope="module")
def models() -> PocketModels:
    return PocketModels()


def test_the_shipped_vae_keeps_most_of_a_person(models: PocketModels, tmp_path: Path) -> None:
    """0 is a stranger, 1 the person's own render: .83 over 48 people."""
    torch.manual_seed(0)
    found = vae_figures(
        models.folder / "sd" / "vae", models.scorer, DetailReader().eval(), people=6, sheet=tmp_path / "s.png"
    )
    assert 0.55 < found["position"]["value"] < 0.98
    low, high = found["position"]["interval"]
    assert low <= found["position"]["value"] <= high
    assert 0.02 < found["l1"]["value"] < 0.09 and found["l1"]["n"] == 12
    assert {"iris", "mark"} < set(found)
    assert load_picture(tmp_path / "s.png").size == (12 * 128, 128)


def test_details_are_learned_from_crops_and_read_back(tmp_path: Path) -> None:
    build(tmp_path / "set", per_name=0, people=20, per_person=3, seed=2, workers=1)
    figures = train(
        tmp_path / "set", tmp_path / "probes", tmp_path / "work", minutes=1e9, steps=3, batch_size=4
    )
    assert figures["steps"] == 3 and set(READ) < set(figures)
    reader = load_details(tmp_path / "probes" / "details.safetensors")
    portrait = render(sample_person(3), sample_context(np.random.default_rng(0), style="photo"))
    crops = aligned_crops(portrait.pixels[None], portrait.landmarks[None])
    assert crops.shape == (1, 112, 112, 3)
    found = read(reader, crops)
    assert all(0 <= found[name][0] < len(IDENTITY[name]) for name in READ)


def test_what_hides_a_face_is_not_legible() -> None:
    rng = np.random.default_rng(0)
    assert legible(sample_context(rng, style="photo", accessory="hat"))
    assert not legible(sample_context(rng, style="photo", accessory="sunglasses"))
    assert not legible(sample_context(rng, style="sketch", accessory="none"))


def test_attributes_are_values_of_their_heads() -> None:
    for seed in range(60):
        assert all(attribute(sample_person(seed), name) in values for name, values in IDENTITY.items())


def test_the_shipped_text_encoder_knows_everybody_who_has_a_name(models: PocketModels) -> None:
    assert list(known_names(models.folder / "sd" / "tokenizer")) == list(NAMED)


def test_the_loss_of_details_is_nothing_for_equal_pictures_and_sees_an_eye(models: PocketModels) -> None:
    reader = load_details(models.folder / "probes" / "details.safetensors").requires_grad_(False)
    context = sample_context(np.random.default_rng(4), style="photo", accessory="none")
    portrait = render(sample_person(3), context)
    other = render(replace(sample_person(3), iris="violet"), context)
    places = portrait.landmarks[None]
    true, changed = to_pixels(portrait.pixels[None]), to_pixels(other.pixels[None]).requires_grad_()
    assert [float(term) for term in detail_loss(reader, true, true, places)] == [0.0, 0.0]
    read, fine = detail_loss(reader, changed, true, places)
    assert float(read) > 1.0 and float(fine) > 0.0
    (read + fine).backward()
    assert changed.grad is not None and float(changed.grad.abs().sum()) > 0.0
