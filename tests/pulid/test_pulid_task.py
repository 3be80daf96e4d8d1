"""Training a pulid-layout adapter on a frozen FLUX: what it reads, what learns, what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from people import face_of, portrait, somebody
from PIL import Image
from tiny_flux import flux_backbone

from methods.errors import UsageError
from methods.hooks import Job
from methods.learning.draws import SampleRng
from methods.learning.task import Batch, Example
from methods.pocket.face_reader import GRID
from methods.pulid.method import Pulid
from methods.pulid.task import PulidTask
from methods.sampling import sample
from methods.weights import load_weights

SMALL = {"width": 32, "ff": 64, "heads": 4, "depth": 1, "queries": 8, "output": 32, "ca_width": 32}


def task_of(**options: object) -> PulidTask:
    task = Pulid.training_task(flux_backbone("dev"), {"steps": 5, "ca_heads": 4, **SMALL, **options})
    assert isinstance(task, PulidTask)
    return task


def example(number: int) -> Example:
    shown, who = portrait(number, 64), somebody(number)
    assert who.embedding is not None
    face = face_of(shown, who.embedding)
    return Example(Image.fromarray(shown.pixels), f"person {number}", "photo", face, shown.face_mask)


@pytest.fixture(scope="module")
def batch() -> Batch:
    task = task_of()
    rows = [task.features(example(number)) for number in (1, 2, 3, 4)]
    stacked = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    return Batch(stacked, stacked, ["photo of the person"] * 4, torch.ones(4, dtype=torch.bool))


def test_what_it_reads(batch: Batch) -> None:
    shapes = {name: tuple(value.shape[1:]) for name, value in batch.target.items()}
    assert shapes == {
        "latents": (4, 8, 8),
        "embedding": (768,),
        "states_0": (64, 320),
        "grid": (GRID, GRID, 2),
        "states_1": (16, 640),
    }
    assert batch.target["embedding"][:, :512].norm(dim=1).tolist() == pytest.approx([20.0] * 4, rel=1e-4)


def test_only_the_adapter_learns_and_all_of_it(batch: Batch) -> None:
    task = task_of(drop=0.0)
    with task.attached():
        task.losses(batch, SampleRng(0, range(4)))["loss"].backward()
    assert all(parameter.grad is None for parameter in flux_backbone("dev").denoiser.transformer.parameters())
    for name, parameter in task.module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_it_learns_who_is_to_be_seen(batch: Batch) -> None:
    """On one batch, noise and all, the loss falls, and falls for the right faces more than for others'."""
    task = task_of(drop=0.0)
    optimizer = torch.optim.Adam(task.module.parameters(), lr=3e-3)

    def loss(faces: Batch) -> torch.Tensor:
        return task.losses(faces, SampleRng(0, range(4)))["loss"]

    with task.attached():
        before = loss(batch).item()
        for _ in range(40):
            optimizer.zero_grad()
            loss(batch).backward()
            optimizer.step()
        with torch.no_grad():
            after = loss(batch).item()
            others = {name: value.roll(1, 0) for name, value in batch.reference.items()}
            exchanged = loss(Batch(batch.target, others, batch.prompts, batch.same)).item()
    assert after < 0.9 * before and after < 0.97 * exchanged


def test_a_dropped_face_is_the_unconditional_identity(batch: Batch) -> None:
    task = task_of(drop=1 / 3)
    rng = SampleRng(1, range(4))
    faceless, _ = rng.drops(1 / 3)
    assert faceless.any() and not faceless.all()
    with task.attached(), torch.no_grad():
        task.losses(batch, SampleRng(1, range(4)))
        nobody = task.reader.nobody(768, torch.device("cpu"))
        keys, _ = task.module.keys_values(task.module.tokens(nobody.embeddings, nobody.states))
    for row, dropped in enumerate(faceless.tolist()):
        same = torch.allclose(task.hooks.keys[:, row], keys[:, 0], atol=1e-5)
        assert same == dropped


def test_what_it_writes_is_a_public_layout_that_loads(batch: Batch, tmp_path: Path) -> None:
    task = task_of(single_interval=2)
    task.export(tmp_path)
    state = load_weights(tmp_path / "adapter.safetensors")
    assert {name.partition(".")[0] for name in state} == {"pulid_encoder", "pulid_ca"}
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    backbone = flux_backbone("dev")
    method = Pulid.load(tmp_path, backbone)
    assert method.adapter.intervals == (2, 2) and len(method.adapter.pulid_ca) == 5
    assert method.adapter.sizes.heads == 4 and not method.reader.grey
    job = Job("photo of the person", 64, 64, 3.5, steps=2, identity=somebody(1))
    [result] = sample(backbone, [job], method)
    assert result.status == "ok"


def test_another_recogniser_is_named() -> None:
    with pytest.raises(UsageError, match="length 512, not 128"):
        task_of(embedding_dim=128).features(example(1))
