"""A pipeline's own sampler that is not among ours is replaced, and people are told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command import Spid
from tiny import tiny_folder

from methods.backbone.backbone import replaced_sampler
from methods.backbone.load import load_backbone
from methods.backbone.noise import Diffusion, RectifiedFlow
from methods.errors import UsageError
from methods.generate import generate


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A tiny pipeline with the sampler that Stable Diffusion 1.5 is shipped with."""
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_folder("sd1"), folder)
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "_class_name": "PNDMScheduler"}))
    return folder


def test_it_is_told_unless_one_was_chosen(shipped: Path) -> None:
    backbone = load_backbone(str(shipped), device="cpu")
    said: list[str] = []
    settings = {"prompts": "a dog", "methods": "none", "steps": 1, "width": 64, "height": 64}
    generate(backbone=backbone, note=said.append, **settings)
    assert said == [replaced_sampler(backbone)] and "PNDMScheduler" in said[0] and "ddim" in said[0]
    generate(backbone=backbone, note=said.append, scheduler="ddim", **settings)
    assert len(said) == 1
    assert replaced_sampler(load_backbone(str(tiny_folder("sd1")), device="cpu")) is None
    assert RectifiedFlow({"_class_name": "FlowMatchEulerDiscreteScheduler"}).replaced is None


@pytest.mark.parametrize("name", ["ddim", "euler", "dpmpp"])
def test_as_many_steps_as_noise_levels_are_refused_where_the_last_is_missed(name: str) -> None:
    """Stable Diffusion's `steps_offset` of 1: the thousandth step would be beyond the last noise level."""
    noise = Diffusion({"_class_name": "PNDMScheduler", "num_train_timesteps": 1000, "steps_offset": 1})
    for count in (999, 501, 1):
        assert len(noise.sampler(name, count, (8, 8)).levels) == count
    if name == "euler":
        assert len(noise.sampler(name, 1000, (8, 8)).levels) == 1000
    else:
        with pytest.raises(UsageError, match=f"{name} cannot take 1000 steps"):
            noise.sampler(name, 1000, (8, 8))


def test_steps_are_checked_before_anything_is_sampled(shipped: Path, spid: Spid, tmp_path: Path) -> None:
    file = shipped / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "steps_offset": 1}))
    flags = ["--backbone", shipped, "--steps", "1000"]
    for command in (
        ["generate", "--prompt", "x", "--method", "none", "--output", tmp_path / "out"],
        ["bench", "--suite", "smoke", "--methods", "none", "--face-encoder", "pocket", "--metrics",
         "face_found", "--output", tmp_path / "run"],
    ):  # fmt: skip
        outcome = spid(*command, *flags)
        assert outcome.code == 2 and "cannot take 1000 steps" in outcome.err
    assert not (tmp_path / "out").exists() and not list((tmp_path / "run").glob("pictures"))


def test_commands_tell_it_and_of_weights_in_prompts(shipped: Path, spid: Spid, tmp_path: Path) -> None:
    suite = tmp_path / "mini.yaml"
    suite.write_text(
        "name: mini\ndescription: x\nsteps: 1\nsize: [64, 64]\nmethods: [none]\nmetrics: [clip_t]\n"
        "identities: {one: [{pocket: 10000300}]}\nprompts: {some: ['a (red:1.3) dog']}\n"
    )
    made = spid("bench", "--suite", suite, "--backbone", shipped, "--output", tmp_path / "run")
    again = spid(
        "generate", "--backbone", shipped, "--prompt", "a (red:1.3) dog", "--method", "none",
        "--steps", "1", "--output", tmp_path / "out",
    )  # fmt: skip
    for outcome in (made, again):
        assert outcome.code == 0, outcome.err
        assert "PNDMScheduler" in outcome.out + outcome.err
        assert "(red:1.3) is taken as it stands: weights of words" in outcome.out + outcome.err
