"""Two-stage training of PIDiff on tiny backbones: where it starts, what its terms measure, what it moves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from people import portrait, somebody
from PIL import Image
from tiny import tiny_backbone

from methods.backbone.backbone import Backbone
from methods.errors import MissingWeightsError, UsageError
from methods.learning.draws import SampleRng
from methods.learning.task import Batch, Example
from methods.pidiff.config import TaskConfig
from methods.pidiff.method import PIDiff
from methods.pidiff.stylespace.load import random_style_space, save_style_space
from methods.pidiff.task import PIDiffTask, soft_mask, wild_losses
from methods.training.preview import exported_sheet
from methods.weights import load_weights, save_weights

OPTIONS = {"aligned_steps": 2, "wild_steps": 3, "drop": 0.0}


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    save_style_space(tmp_path / "style", random_style_space(seed=2))
    return str(tmp_path / "style")


def example(number: int) -> Example:
    """A person at the tiny backbones' size, with true landmarks and mask."""
    shown, face = portrait(number, 64), somebody(number).face
    assert face is not None
    from people import face_of

    own = face_of(shown, torch.from_numpy(face.embedding))
    return Example(Image.fromarray(shown.pixels), f"p{number}", "photo of the person", own, shown.face_mask)


def batch_of(task: PIDiffTask, *numbers: int) -> Batch:
    features = [task.features(example(number)) for number in numbers]
    stacked = {name: torch.stack([one[name] for one in features]) for name in features[0]}
    return Batch(
        stacked, stacked, ["photo of the person"] * len(numbers), torch.ones(len(numbers), dtype=torch.bool)
    )


def task_on(backbone: Backbone, encoder: str, **options: object) -> PIDiffTask:
    task = PIDiff.training_task(backbone, {**OPTIONS, "style_encoder": encoder, **options})
    assert isinstance(task, PIDiffTask)
    return task


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_both_stages_start_at_the_backbone_and_learn(family: str, encoder: str) -> None:
    """Closed gates: nothing leaks, the background is the backbone's, the first gradient goes to the gates."""
    backbone = tiny_backbone(family)
    task = task_on(backbone, encoder)
    assert [(stage.name, stage.steps) for stage in task.stages] == [("aligned", 2), ("wild", 3)]
    batch = batch_of(task, 1, 2)
    task.module.requires_grad_(True)
    with task.attached():
        for stage in task.stages:
            task.begin(stage)
            terms = task.losses(batch, SampleRng(0, (0, 1)))
            terms["loss"].backward()
            assert torch.isfinite(terms["loss"])
            if stage.name == "wild":
                assert terms["leak"] == terms["preservation"] == 0
    moved = [name for name, one in task.module.named_parameters() if one.grad is not None and one.grad.any()]
    assert moved and all(name.endswith("gate") for name in moved)
    assert all(parameter.grad is None for parameter in backbone.denoiser.unet.parameters())


def test_stage_one_denoises_aligned_heads_and_stage_two_whole_pictures(encoder: str) -> None:
    """With closed gates the loss is the backbone's own error on the stage's latents."""
    backbone = tiny_backbone("sd1")
    task = task_on(backbone, encoder, background=1.0)
    batch = batch_of(task, 1, 2)
    for stage, name in zip(task.stages, ("aligned", "latents"), strict=True):
        task.begin(stage)
        with torch.no_grad(), task.attached():
            found = task.losses(batch, SampleRng(0, (0, 1)))["loss"]
        rng = SampleRng(0, (0, 1))
        rng.uniform()
        prompts = batch.prompts
        if name == "aligned":
            from methods.pidiff.task import TEMPLATES

            prompts = [TEMPLATES[place] for place in rng.integers(len(TEMPLATES)).tolist()]
        noised = rng.noised(backbone.noise, batch.target[name])
        text = torch.stack([backbone.text.encode(prompt).hidden for prompt in prompts])
        with torch.no_grad():
            error = backbone.denoiser.unet(noised.latents, noised.time * 1000, text).sample - noised.target
        torch.testing.assert_close(found, error.square().mean(), rtol=1e-4, atol=1e-5)


def test_training_moves_only_what_is_new_and_lowers_the_loss(encoder: str) -> None:
    backbone = tiny_backbone("sd1")
    task = task_on(backbone, encoder)
    batch = batch_of(task, 1, 2)
    unet = backbone.denoiser.unet
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    optimizer = torch.optim.AdamW(task.module.parameters(), lr=2e-2)
    task.begin(task.stages[1])
    losses = []
    with task.attached():
        for _ in range(8):
            terms = task.losses(batch, SampleRng(0, (0, 1)))
            optimizer.zero_grad()
            terms["loss"].backward()
            optimizer.step()
            losses.append(terms["reconstruction"].item())
    assert losses[-1] < losses[0] and terms["leak"] > 0
    assert all(
        torch.equal(before[name], value) for name, value in backbone.denoiser.unet.state_dict().items()
    )


def test_terms_of_the_second_stage() -> None:
    config = TaskConfig(background=0.5, localisation=10.0, preservation=2.0)
    mask = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    target, plain = torch.zeros(1, 1, 1, 2), torch.full((1, 1, 1, 2), 1.0)
    predicted = torch.tensor([3.0, 2.0]).view(1, 1, 1, 2)
    terms = wild_losses(predicted, plain, target, mask, torch.tensor(0.1), config)
    assert terms["reconstruction"] == (9 + 0.5 * 4) / 2
    assert terms["preservation"] == (0 + 1) / 2
    torch.testing.assert_close(terms["loss"], torch.tensor(5.5 + 10 * 0.1 + 2 * 0.5))


def test_the_leak_is_what_blocks_add_outside_the_face(encoder: str) -> None:
    """A mask of ones leaves nothing outside; a mask of zeros counts every token."""
    task = task_on(tiny_backbone("sd1"), encoder)
    with torch.no_grad():
        for block in task.module.wplus_adapter.values():
            block.gate.fill_(1.0)
    batch = batch_of(task, 1, 2)
    task.begin(task.stages[1])
    leaks = []
    for share in (1.0, 0.0):
        batch.target["mask"] = torch.full_like(batch.target["mask"], share)
        with torch.no_grad(), task.attached():
            leaks.append(float(task.losses(batch, SampleRng(0, (0, 1)))["leak"]))
    assert leaks[0] == 0 and leaks[1] > 0


def test_a_dropped_identity_is_the_zero_code(encoder: str) -> None:
    """drop 1/3: identity alone, both, text alone; then the loss of a dropped sample ignores the codes."""
    task = task_on(tiny_backbone("sd1"), encoder, drop=1 / 3)
    with torch.no_grad():
        for block in task.module.wplus_adapter.values():
            block.gate.fill_(1.0)
    batch = batch_of(task, 1)
    task.begin(task.stages[0])
    ignored = []
    for number in range(6):
        losses = []
        for scale in (1.0, -1.0):
            batch.reference["codes"] = scale * batch.reference["codes"]
            with torch.no_grad(), task.attached():
                losses.append(task.losses(batch, SampleRng(0, (number,)))["loss"])
        dropped = float(SampleRng(0, (number,)).uniform()) < 2 / 3
        ignored.append(bool(losses[0] == losses[1]) is dropped)
    assert all(ignored)


def test_soft_mask() -> None:
    assert (soft_mask(np.ones((64, 64), bool), (8, 8)) == 1).all()
    mask = np.zeros((64, 64), bool)
    mask[24:40, 24:40] = True
    soft = soft_mask(mask, (8, 8))
    assert soft.shape == (1, 8, 8) and soft[0, 3, 3] == pytest.approx(4 / 9) and soft[0, 0, 0] == 0


def test_export_loads_where_it_belongs(encoder: str, tmp_path: Path) -> None:
    backbone = tiny_backbone("sd1")
    task = task_on(backbone, encoder)
    task.export(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["method"] == "pidiff" and config["backbone"] == "sd1"
    assert config["config"]["aligned_steps"] == 2
    loaded = PIDiff.load(tmp_path / "out", backbone)
    assert loaded.space.fingerprint == task.space.fingerprint
    exported_sheet(backbone, PIDiff, task, [example(1)], tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").is_file()


def test_wrong_options_are_refused(encoder: str) -> None:
    backbone = tiny_backbone("sd1")
    with pytest.raises(UsageError, match="aligned_steps"):
        PIDiff.training_task(backbone, {"style_encoder": encoder, "aligned_step": 3})
    with pytest.raises(UsageError, match="drop is 0.5; it must be at most 0.33"):
        PIDiff.training_task(backbone, {"style_encoder": encoder, "drop": 0.5})


def test_a_training_goes_on_from_weights_of_its_own_kind(encoder: str, tmp_path: Path) -> None:
    backbone = tiny_backbone("sd1")
    config = PIDiff.Config(style_encoder=encoder)
    PIDiff.untrained(backbone, config, seed=3).save(tmp_path / "earlier")
    task = task_on(backbone, encoder, initial=str(tmp_path / "earlier"))
    earlier = load_weights(tmp_path / "earlier" / "adapter.safetensors")
    state = task.module.state_dict()
    assert earlier.keys() == state.keys()
    assert all(torch.equal(value.float(), state[name]) for name, value in earlier.items())
    assert all(value.dtype == torch.float32 for value in state.values())
    assert all(parameter.requires_grad for parameter in task.module.parameters())  # a loaded method is frozen


def test_public_weights_ask_for_their_encoder(tmp_path: Path) -> None:
    save_weights(tmp_path / "wplus.safetensors", {"w_proj.proj_0.weight": torch.zeros(8, 16)})
    with pytest.raises(MissingWeightsError, match="e4e"):
        PIDiff.training_task(
            tiny_backbone("sd1"), {**OPTIONS, "initial": str(tmp_path / "wplus.safetensors")}
        )
