"""The parts of the pocket trainings: schedule, averaging, checkpoints, tokenizer, losses, pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from methods.pocket.world import VOCABULARY, render, sample_context, sample_person
from methods.pocket.world.looks import described_caption
from methods.pocket.world.names import NAMED
from scripts.pocket.autoencoder import (
    CROP,
    FEATURE_WEIGHT,
    crop_windows,
    feature_weights,
    reconstruction_loss,
)
from scripts.pocket.common import Budget, Checkpoint, to_pictures, to_pixels
from scripts.pocket.dataset import PERSON_OFFSET, Dataset, build, person_of
from scripts.pocket.diffusion import build_scheduler, velocity_batch
from scripts.pocket.tokenizer import CONTEXT_LENGTH, WORDS, build_tokenizer


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("set")
    build(folder, per_name=0, people=6, per_person=4, seed=5, workers=1)
    return Dataset(folder)


def test_step_budget_drives_the_learning_rate() -> None:
    budget = Budget(minutes=1e9, steps=1000)
    assert budget.learning_rate(1.0, warmup=200) == pytest.approx(1 / 200)
    budget.step = 500
    assert budget.learning_rate(1.0, warmup=200, final=0.0) == pytest.approx(0.5)
    budget.step = 1000
    assert budget.finished and budget.learning_rate(1.0, final=0.02) == pytest.approx(0.02)


def _train(steps: int, folder: Path, stop_at: int | None = None) -> torch.Tensor:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    layer = nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    budget = Budget(minutes=1e9, steps=steps)
    checkpoint = Checkpoint(folder, budget, layer=layer, optimizer=optimizer)
    checkpoint.resume(rng)
    while not budget.finished and budget.step != stop_at:
        inputs = torch.from_numpy(rng.normal(size=(4, 3))).float() + torch.rand(4, 3)
        loss = (layer(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        budget.step += 1
    checkpoint.save(rng, force=True)
    return layer.weight.detach()


def test_resumed_training_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole = _train(20, tmp_path / "whole")
    _train(20, tmp_path / "parts", stop_at=7)
    assert torch.equal(_train(20, tmp_path / "parts"), whole)


def test_pixels_round_trip() -> None:
    pictures = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    assert np.array_equal(to_pictures(to_pixels(pictures)), pictures)


def test_every_word_is_one_token_and_captions_fit(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(tmp_path)
    assert set(VOCABULARY) < set(WORDS)
    for word in WORDS:
        assert len(tokenizer(word).input_ids) - 2 == 1 + 2 * word.count("-")
    rng = np.random.default_rng(0)
    for name, person in NAMED.items():
        text = described_caption(person, sample_context(rng), rng, name=name, share=0.9)
        ids = tokenizer(text).input_ids
        assert len(ids) <= CONTEXT_LENGTH
        assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")


def test_feature_weights_peak_at_the_landmarks() -> None:
    portrait = render(sample_person(3), sample_context(np.random.default_rng(0), framing="portrait"))
    weight = feature_weights(portrait.landmarks[None])[0, 0]
    for x, y in portrait.landmarks:
        assert weight[round(float(y)), round(float(x))] > 0.9 * (1 + FEATURE_WEIGHT)
    assert weight[0, 0] == pytest.approx(1.0, abs=0.01)


def test_reconstruction_loss_of_a_constant_offset_has_no_edges() -> None:
    target = torch.zeros(2, 3, 8, 8)
    l1, edges = reconstruction_loss(target + 0.25, target, torch.ones(2, 1, 8, 8))
    assert l1 == pytest.approx(0.25) and edges == 0.0


def test_crop_windows_stay_inside() -> None:
    landmarks = np.random.default_rng(0).uniform(0, 128, (200, 5, 2)).astype(np.float32)
    windows = crop_windows(landmarks, np.random.default_rng(1))
    assert windows.min() >= 0 and windows.max() <= 128 - CROP


def test_velocity_target_recovers_the_clean_latents() -> None:
    scheduler = build_scheduler()
    clean = torch.randn(4, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    noisy, timesteps, velocity = velocity_batch(scheduler, clean, torch.Generator().manual_seed(1))
    signal = scheduler.alphas_cumprod[timesteps].sqrt()[:, None, None, None]
    noise = (1 - scheduler.alphas_cumprod[timesteps]).sqrt()[:, None, None, None]
    assert torch.allclose(signal * noisy - noise * velocity, clean, atol=1e-5)
    assert sorted(timesteps.tolist()) == timesteps.tolist()  # one level per quarter of the schedule


def test_data_set_is_reproducible_and_consistent(small_set: Dataset, tmp_path: Path) -> None:
    build(tmp_path, per_name=0, people=6, per_person=4, seed=5, workers=1)
    assert np.array_equal(Dataset(tmp_path).pictures, small_set.pictures)
    assert len(small_set) == 24 and sorted(np.unique(small_set.meta["person"])) == list(range(1000, 1006))
    number = int(small_set.meta["person"][7])
    again = render(person_of(number), small_set.context(7))
    assert np.array_equal(again.pixels, small_set.pictures[7])
    assert person_of(PERSON_OFFSET + 3) == sample_person(3)
