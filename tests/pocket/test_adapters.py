"""The adapter stage: what `spid train` makes becomes the weights, in as many steps as the clock allows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from methods.backbone.load import load_backbone
from methods.paths import pocket_dir
from methods.pocket.face_reader import FaceReader
from methods.registry import get_method
from methods.uniform.config import TaskConfig
from methods.uniform.task import UniformTask
from methods.weights import save_weights
from scripts.pocket import adapters

SMALL = ("data.people=2", "data.pictures=2", "batch=2", "preview_every=0", "options.tokens=2")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder with backbone, face pack and an older adapter."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("sd", "face"):
        (folder / name).symlink_to(pocket_dir() / name)
    shutil.copytree(pocket_dir() / "uniform", folder / "uniform")
    (folder / "uniform" / "stale.txt").touch()
    torch.manual_seed(0)
    save_weights(tmp_path / "reader.safetensors", FaceReader(16).state_dict())
    return folder


def test_the_adapter_of_the_recipe_replaces_the_old_one(weights: Path, tmp_path: Path) -> None:
    figures = adapters.train(
        "uniform", weights, tmp_path / "reader.safetensors", tmp_path / "work", minutes=0.02, settings=SMALL
    )
    assert figures["steps"] >= 1 and figures["face"] > 0  # the reader had its say
    assert int((tmp_path / "work" / "steps.txt").read_text()) == figures["steps"]
    assert not (weights / "uniform" / "stale.txt").exists()
    backbone = load_backbone(str(weights / "sd"))
    method = get_method("uniform").load(weights / "uniform", backbone)
    assert method.adapter.image_proj.count == 2

    task = UniformTask(backbone, TaskConfig(initial=str(weights / "uniform")))
    mine, theirs = task.module.state_dict(), method.adapter.state_dict()
    assert all(torch.equal(mine[name], theirs[name].float()) for name in theirs)  # a snapshot is gone on from
    assert all(parameter.requires_grad for parameter in task.module.parameters())


def test_stages_of_a_method_share_the_steps() -> None:
    assert adapters._lengths("pidiff", 10) == ["options.aligned_steps=3", "options.wild_steps=7"]
    assert adapters._lengths("uniform", 10) == ["options.steps=10"]
