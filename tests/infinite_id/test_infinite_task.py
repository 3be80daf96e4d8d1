"""Identity-enhanced training: what it reads, what it learns, what it writes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from people import face_of, portrait, somebody
from PIL import Image
from tiny import tiny_backbone

from methods.backbone.backbone import Backbone
from methods.errors import UsageError
from methods.hooks import Job
from methods.infinite_id.config import TaskConfig
from methods.infinite_id.method import InfiniteID
from methods.infinite_id.task import InfiniteTask
from methods.learning.draws import SampleRng
from methods.learning.task import Batch, Example
from methods.sampling import sample
from methods.training.preview import exported_sheet
from methods.weights import load_weights


def task_of(backbone: Backbone, **options: object) -> InfiniteTask:
    task = InfiniteID.training_task(backbone, {"clip": "pocket", "steps": 5, **options})
    assert isinstance(task, InfiniteTask)
    return task


def example(number: int) -> Example:
    shown, who = portrait(number, 64), somebody(number)
    assert who.embedding is not None
    face = face_of(shown, who.embedding)
    picture, prompt = Image.fromarray(shown.pixels), "photo of the person"
    return Example(picture, f"person {number}", prompt, face, shown.face_mask)


def batch_of(task: InfiniteTask) -> Batch:
    """Two samples; the reference is another picture than the target."""
    one, two = (task.features(example(number)) for number in (1, 2))
    target = {name: torch.stack([one[name], two[name]]) for name in one}
    reference = {name: torch.stack([two[name], one[name]]) for name in one}
    return Batch(
        target, reference, ["photo of the person", "the red beach"], torch.zeros(2, dtype=torch.bool)
    )


def loss(task: InfiniteTask, batch: Batch) -> torch.Tensor:
    with task.attached():
        return task.losses(batch, SampleRng(0, [0, 1]))["loss"]


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_only_mappers_and_image_attention_learn(family):
    backbone = tiny_backbone(family)
    task, before = task_of(backbone, drop=0.0), dict(backbone.denoiser.unet.attn_processors)
    with task.attached():
        task.losses(batch_of(task), SampleRng(0, [0, 1]))["loss"].backward()
    assert all(one is before[name] for name, one in backbone.denoiser.unet.attn_processors.items())
    assert not any(parameter.grad is not None for parameter in backbone.denoiser.unet.parameters())
    names = {name.split(".")[0] for name, _ in task.module.named_parameters()}
    assert names == {"clip_mapper", "face_mapper", "image_attention"}
    for name, parameter in task.module.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_the_text_is_switched_off():
    backbone = tiny_backbone("sd2")
    for enhanced in (True, False):
        task = task_of(backbone, identity_enhanced=enhanced)
        batch = batch_of(task)
        with torch.no_grad():
            one, other = (loss(task, replace(batch, prompts=[word] * 2)) for word in ("red", "beach"))
        assert torch.equal(one, other) == enhanced


def test_the_face_can_weigh_more():
    """loss = sum w e / sum w per sample, with w = 1 + face_weight * share of the face in a cell."""
    task = task_of(tiny_backbone("sd1"), face_weight=2.0)
    batch = batch_of(task)
    face = batch.target["face"]
    assert face.shape == (2, 8, 8) and 0 < face.mean() < 1 and face.max() <= 1
    everywhere = replace(batch, target={**batch.target, "face": torch.ones_like(face)})
    with torch.no_grad(), task.attached():
        there, even = (task.losses(one, SampleRng(0, [0, 1])) for one in (batch, everywhere))
    assert torch.equal(there["mse"], even["mse"]) and not torch.equal(there["loss"], there["mse"])
    torch.testing.assert_close(even["loss"], even["mse"])


def test_dropped_identities_are_unknown():
    task = task_of(tiny_backbone("sd1"), drop=1.0)
    batch = batch_of(task)
    stranger = replace(batch, reference={name: value + 1 for name, value in batch.reference.items()})
    with torch.no_grad():
        assert torch.equal(loss(task, batch), loss(task, stranger))
        known = task_of(tiny_backbone("sd1"), drop=0.0)
        assert not torch.equal(loss(known, batch), loss(known, stranger))


def test_a_few_steps_lower_the_loss_and_the_adapter_generates(tmp_path):
    backbone = tiny_backbone("sd1")
    task = task_of(backbone, drop=0.0)
    batch = batch_of(task)
    optimizer = torch.optim.AdamW(task.module.parameters(), lr=3e-3)
    course = []
    for _ in range(8):
        with task.attached():
            error = task.losses(batch, SampleRng(0, [0, 1]))["loss"]
            optimizer.zero_grad()
            error.backward()
        optimizer.step()
        course.append(float(error.detach()))
    assert course[-1] < course[0]

    task.export(tmp_path)
    method = InfiniteID.load(tmp_path, backbone)
    exported_sheet(backbone, InfiniteID, task, [example(1)], tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").is_file()
    job = Job("photo of the person", 64, 64, guidance=4.0, steps=2, identity=somebody(1))
    [result] = sample(backbone, [job], method)
    assert result.status == "ok"
    stored = method.adapter.state_dict()
    for name, value in task.module.state_dict().items():
        torch.testing.assert_close(stored[name], value, rtol=1e-2, atol=1e-3)


def test_what_cannot_be_trained_is_refused():
    backbone = tiny_backbone("sd1")
    with pytest.raises(UsageError, match="needs a CLIP image encoder"):
        InfiniteID.training_task(backbone, {})
    with pytest.raises(UsageError, match="Did you mean 'steps'"):
        InfiniteID.training_task(backbone, {"step": 3})
    task = task_of(backbone, embedding_dim=128)
    with pytest.raises(UsageError, match="length 512"):
        task.features(example(1))
    for wrong in ({"drop": 2.0}, {"steps": 0}, {"same_share": -1.0}, {"face_weight": -1.0}):
        with pytest.raises(UsageError, match="it must be"):
            TaskConfig(**wrong)


def test_a_training_goes_on_from_weights_of_its_own_kind(tmp_path):
    backbone = tiny_backbone("sd1")
    InfiniteID.untrained(backbone, seed=3).save(tmp_path / "earlier")
    task = task_of(backbone, initial=str(tmp_path / "earlier"))
    earlier = load_weights(tmp_path / "earlier" / "adapter.safetensors")
    state = task.module.state_dict()
    assert earlier.keys() == state.keys()
    assert all(torch.equal(value.float(), state[name]) for name, value in earlier.items())
    assert all(value.dtype == torch.float32 for value in state.values())
    loss(task, batch_of(task)).backward()  # a loaded method is frozen
    assert all(parameter.grad is not None for parameter in task.module.parameters())
