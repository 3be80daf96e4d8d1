"""A learned word in the rows of a batch."""

from __future__ import annotations

from typing import Any

import torch

from methods.fitting.attachment import Spoken, WordAttachment
from methods.hooks import Conditioning, Identity, Job, RowLayout, StepInfo

ANNA = Identity("anna")
ROWS = RowLayout(jobs=2, guided=True)


def step(index: int, timestep: float = 500.0) -> StepInfo:
    return StepInfo(ROWS, (8, 8), index=index, count=4, time=timestep / 1000, noise_level=0.5)


def job(identity: Identity | None, **changes: Any) -> Job:
    return Job("a person", 64, 64, guidance=3.0, identity=identity, steps=4, **changes)


def features(*values: float) -> torch.Tensor:
    """One number per place: [1, T, 1]."""
    return torch.tensor(values).view(1, -1, 1)


def test_only_conditional_rows_of_people_change_and_places_follow_their_source() -> None:
    """Rows: uncond 0, uncond 1, cond 0, cond 1. The word takes two places, so place 2 came from place 1."""
    text = features(10.0, 20.0, 30.0).repeat(4, 1, 1)
    learned = features(10.0, 40.0, 60.0)
    spoken = Spoken(learned, learned, None, torch.tensor([0, 1, 1]))
    attachment = WordAttachment([job(ANNA, id_weight=0.5), job(None)], [spoken, None])
    attachment.on_step(step(0))
    found = attachment.conditioning(step(0), Conditioning(text, text))
    assert found.key is found.value
    assert found.key[..., 0].tolist() == [
        [10.0, 20.0, 30.0],
        [10.0, 20.0, 30.0],
        [10.0, 30.0, 40.0],
        [10.0, 20.0, 30.0],
    ]


def test_one_object_for_each_stage_and_set_of_weights() -> None:
    text = Conditioning(features(1.0).repeat(4, 1, 1), features(1.0).repeat(4, 1, 1))
    stages = features(0.0, 1.0, 2.0, 3.0, 4.0).transpose(0, 1)
    spoken = Spoken(stages, stages + 10, None, torch.tensor([0]))
    late = WordAttachment([job(ANNA), job(ANNA, id_start=0.5)], [spoken, spoken])

    def at(index: int, timestep: float) -> Conditioning:
        late.on_step(step(index, timestep))
        return late.conditioning(step(index, timestep), text)

    first, second, third, again = at(0, 999), at(1, 850), at(2, 850), at(3, 801)
    assert first is second and third is again and second is not third
    assert first.key[2:].flatten().tolist() == [4.0, 1.0] and first.value[2:].flatten().tolist() == [
        14.0,
        1.0,
    ]
    assert third.key[2:].flatten().tolist() == [4.0, 4.0]
    assert at(3, 1.0).key[2:].flatten().tolist() == [0.0, 0.0]


def test_without_weight_the_text_itself_comes_back() -> None:
    text = Conditioning(features(1.0).repeat(4, 1, 1), features(1.0).repeat(4, 1, 1))
    spoken = Spoken(features(5.0), features(5.0), None, torch.tensor([0]))
    attachment = WordAttachment([job(ANNA, id_end=0.5), job(ANNA, id_weight=0.0)], [spoken, spoken])
    attachment.on_step(step(3))
    assert attachment.conditioning(step(3), text) is text
