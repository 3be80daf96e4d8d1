"""What pocket-flux learns from: the U-Net at points of a flow, and CLIP word by word."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from methods.paths import pocket_dir
from scripts.pocket.flux import build_t5_tokenizer
from scripts.pocket.flux_teacher import Teacher
from scripts.pocket.flux_words import pairs, shared_words


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return Teacher(pocket_dir() / "sd")


@pytest.fixture(scope="module")
def clip() -> CLIPTextModel:
    return CLIPTextModel.from_pretrained(pocket_dir() / "sd" / "text_encoder", dtype=torch.float32)


@pytest.fixture(scope="module")
def scheduler() -> DDIMScheduler:
    return DDIMScheduler.from_pretrained(pocket_dir() / "sd" / "scheduler")


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(pocket_dir() / "sd" / "tokenizer")


def flow_time(scheduler: DDIMScheduler, timestep: int) -> float:
    """The time of a flow that is as noisy as `timestep`."""
    signal = float(scheduler.alphas_cumprod[timestep]) ** 0.5
    noise = (1 - signal**2) ** 0.5
    return noise / (signal + noise)


def read(tokenizer: CLIPTokenizer, *texts: str) -> Tensor:
    return tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt").input_ids


@torch.no_grad()
def said_of(clip: CLIPTextModel, tokenizer: CLIPTokenizer, *texts: str) -> Tensor:
    return clip(read(tokenizer, *texts)).last_hidden_state


def test_times_of_a_flow_become_timesteps_of_equal_noise(teacher: Teacher, scheduler: DDIMScheduler) -> None:
    known = [0, 1, 100, 500, 998, 999]
    times = torch.tensor([flow_time(scheduler, step) for step in known], dtype=torch.float64)
    assert teacher.timesteps(times).tolist() == pytest.approx(known, abs=0.01)
    between = float(teacher.timesteps((times[2:3] + times[3:4]) / 2)[0])
    assert 100 < between < 500
    assert teacher.timesteps(torch.tensor([1e-4, 0.9999])).tolist() == [0.0, 999.0]


def test_a_velocity_leads_where_the_scheduler_sees_the_picture(
    teacher: Teacher, scheduler: DDIMScheduler, tokenizer: CLIPTokenizer, clip: CLIPTextModel
) -> None:
    rng = torch.Generator().manual_seed(0)
    states, empty = said_of(clip, tokenizer, "a photo of a smiling man on a beach", "").split(1)
    scheduler.set_timesteps(1000)
    for timestep in (200, 900):
        time = torch.tensor([flow_time(scheduler, timestep)])
        noisy = torch.randn(1, 16, 16, 16, generator=rng)
        velocity = teacher.velocity(noisy, time, states, empty, torch.ones(1))

        scaled = noisy / ((1 - time).square() + time.square()).sqrt()
        words = states.to(torch.bfloat16)
        asked = scaled.to(torch.bfloat16, memory_format=torch.channels_last)
        said = teacher.unet(asked, torch.tensor(float(timestep)), words, return_dict=False)[0].float()
        clean = scheduler.step(said, timestep, scaled).pred_original_sample
        expected = (noisy - clean) / time
        assert torch.allclose(velocity, expected, atol=0.03), (velocity - expected).abs().max()


def test_guidance_is_linear_and_without_it_the_empty_caption_counts_for_nothing(
    teacher: Teacher, tokenizer: CLIPTokenizer, clip: CLIPTextModel
) -> None:
    noisy = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(0)).repeat(3, 1, 1, 1)
    texts = "a photo of a man in a red sweater", "", "a woman"
    states, empty, woman = said_of(clip, tokenizer, *texts).split(1)
    states = states.repeat(3, 1, 1)
    time, scales = torch.full((3,), 0.7), torch.tensor([1.0, 2.0, 4.0])
    one, two, four = teacher.velocity(noisy, time, states, empty, scales)
    other = teacher.velocity(noisy, time, states, woman, scales)[0]
    assert torch.allclose(one, other, atol=1e-5) and not torch.allclose(one, two, atol=1e-2)
    assert torch.allclose(four - one, 3 * (two - one), atol=1e-4)


def test_words_are_found_in_both_tokenizers(tokenizer: CLIPTokenizer) -> None:
    t5 = build_t5_tokenizer()
    of_clip, of_t5 = shared_words(tokenizer, t5)
    texts = ["a photo of a man, smiling", "xyzzy", "a woman in a library"]
    ids = (
        read(tokenizer, *texts),
        t5(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids,
    )
    here, there = pairs(*ids, of_clip, of_t5)
    assert here[:, 0].tolist() == there[:, 0].tolist() == [0] * 6 + [2] * 5
    names = [
        [reader.convert_ids_to_tokens(int(found[row, place])) for row, place in places.tolist()]
        for reader, found, places in zip((tokenizer, t5), ids, (here, there), strict=True)
    ]
    assert [name.removesuffix("</w>") for name in names[0]] == [name.strip("▁,") for name in names[1]]
