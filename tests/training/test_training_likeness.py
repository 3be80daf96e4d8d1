"""The loss on who is seen: whom it accepts, and what it adds to the tasks that take it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from people import face_of, portrait, somebody
from PIL import Image
from tiny import tiny_backbone

from methods.backbone.backbone import Backbone
from methods.backbone.load import load_backbone
from methods.errors import UsageError, WeightsError
from methods.infinite_id.config import TaskConfig as InfiniteConfig
from methods.infinite_id.task import InfiniteTask
from methods.learning.draws import SampleRng
from methods.learning.likeness import face_loss
from methods.learning.task import Batch, Example, TrainingTask
from methods.pidiff.config import TaskConfig as PIDiffConfig
from methods.pidiff.task import PIDiffTask
from methods.pocket.face_reader import FaceReader
from methods.uniform.config import TaskConfig as UniformConfig
from methods.uniform.task import UniformTask
from methods.weights import save_weights


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained reader: it tells estimates apart as well as any."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("reader") / "reader.safetensors"
    save_weights(path, FaceReader(16).state_dict())
    return str(path)


@pytest.fixture(scope="module")
def pocket() -> Backbone:
    return load_backbone("pocket")


def batch_of(task: TrainingTask) -> Batch:
    shown, who = portrait(1, 128), somebody(1)
    assert who.embedding is not None
    face = face_of(shown, who.embedding)
    example = Example(Image.fromarray(shown.pixels), "p1", "a photo of a person", face, shown.face_mask)
    features = {name: torch.stack([value] * 2) for name, value in task.features(example).items()}
    return Batch(features, features, [example.prompt] * 2, torch.ones(2, dtype=torch.bool))


def test_a_file_for_another_backbone_or_none_is_refused(reader: str, pocket: Backbone) -> None:
    assert face_loss(None, pocket) is None
    with pytest.raises(UsageError, match="latents of the pocket VAE"):
        face_loss(reader, tiny_backbone("sd1"))
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors") as missing:
        face_loss("nowhere.safetensors", pocket)
    assert "train_pocket.py face-reader" in str(missing.value.hint)
    for config in (InfiniteConfig, PIDiffConfig, UniformConfig):
        with pytest.raises(UsageError, match="likeness is -1.0; it must be at least 0"):
            config(likeness=-1.0)


@pytest.mark.parametrize("kind", ["infinite-id", "pidiff", "uniform"])
def test_the_term_is_logged_weighed_and_learned_from(kind: str, reader: str, pocket: Backbone) -> None:
    """loss with the reader = loss without it + likeness * face, and its gradient reaches the adapter."""

    def task(**options: object) -> TrainingTask:
        if kind == "infinite-id":
            return InfiniteTask(pocket, InfiniteConfig(drop=0.0, **options))  # type: ignore[arg-type]
        if kind == "uniform":
            return UniformTask(pocket, UniformConfig(drop=0.0, **options))  # type: ignore[arg-type]
        made = PIDiffTask(pocket, PIDiffConfig(aligned_steps=0, drop=0.0, **options))  # type: ignore[arg-type]
        made.begin(made.stages[0])
        return made

    def terms_of(task: TrainingTask, batch: Batch) -> dict[str, torch.Tensor]:
        with task.attached():
            terms = task.losses(batch, SampleRng(0, [0, 1]))
            terms["loss"].backward()
        return terms

    plain = task()
    batch = batch_of(plain)
    without, with_it = terms_of(plain, batch), terms_of(read := task(face_reader=reader, likeness=0.5), batch)
    assert "face" not in without and with_it["face"] > 0
    torch.testing.assert_close(with_it["loss"], without["loss"] + 0.5 * with_it["face"])
    moved = [
        not np.allclose(one.grad, other.grad)
        for one, other in zip(plain.module.parameters(), read.module.parameters(), strict=True)
        if one.grad is not None and other.grad is not None
    ]
    assert any(moved)


def test_pidiff_reads_faces_in_its_second_stage_only(reader: str, pocket: Backbone) -> None:
    task = PIDiffTask(pocket, PIDiffConfig(face_reader=reader))
    task.begin(task.stages[0])
    with task.attached():
        assert set(task.losses(batch_of(task), SampleRng(0, [0, 1]))) == {"loss"}
