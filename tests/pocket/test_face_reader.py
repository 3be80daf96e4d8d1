"""The reader of faces that the pocket trainings compare estimates with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from methods.faces.geometry import TEMPLATE
from methods.paths import pocket_dir
from methods.pocket.face_reader import GRID, MARGIN, FaceReader, PerceptualLoss, aligned, face_grids
from scripts.pocket.dataset import Dataset, build
from scripts.pocket.diffusion import build_scheduler, velocity_batch
from scripts.pocket.face_reader import identity_centres


@pytest.fixture(scope="module")
def loss() -> PerceptualLoss:
    torch.manual_seed(0)
    return PerceptualLoss(FaceReader(8), build_scheduler())


def test_a_face_on_the_template_is_read_around_its_middle() -> None:
    size = 112
    grid = face_grids(TEMPLATE[None].astype(np.float32), size=size)[0].double().numpy()
    pixels = (grid + 1.0) * size / 2
    assert np.allclose(pixels.mean((0, 1)), TEMPLATE.mean(0), atol=1e-3)
    assert np.allclose(np.diff(pixels[0, :, 0]), 112 * MARGIN / GRID, atol=1e-3)


def test_a_turned_and_moved_face_comes_out_upright() -> None:
    """The value of a linear ramp at a landmark is found where the template has that landmark."""
    angle, scale, shift = 0.3, 0.5, np.array([40.0, 30.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (TEMPLATE @ turn.T + shift)[None].astype(np.float32)
    ramp = torch.linspace(-1 + 1 / 128, 1 - 1 / 128, 128)  # x in the coordinates of grid_sample
    picture = ramp[None, None, None, :].expand(1, 1, 128, 128)
    crop = aligned(picture, face_grids(landmarks))[0, 0].numpy()
    offset = ((np.arange(GRID) + 0.5) / GRID - 0.5) * 112 * MARGIN
    x, y = np.meshgrid(offset, offset)
    points = np.stack([x, y], -1) + TEMPLATE.mean(0)
    assert np.allclose(crop, (points @ turn.T + shift)[..., 0] / 64 - 1, atol=1e-3)


def test_the_true_velocity_costs_nothing_and_a_wrong_one_something(loss: PerceptualLoss) -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(4, 8, 16, 16, generator=generator)
    grids = face_grids(np.repeat(TEMPLATE[None] * 0.5 + 30, 4, axis=0).astype(np.float32))
    noisy, timesteps, velocity = velocity_batch(build_scheduler(), clean, generator)
    exact = loss(velocity, noisy, clean, timesteps, grids)
    wrong = (velocity + torch.randn(velocity.shape, generator=generator)).requires_grad_()
    far = loss(wrong, noisy, clean, timesteps, grids)
    far.backward()
    assert abs(float(exact)) < 1e-3 < float(far.detach())
    assert wrong.grad is not None and float(wrong.grad.abs().max()) > 0
    assert all(parameter.grad is None for parameter in loss.reader.parameters())


def test_what_lies_outside_the_face_does_not_count(loss: PerceptualLoss) -> None:
    generator = torch.Generator().manual_seed(1)
    clean = torch.randn(1, 8, 16, 16, generator=generator)
    small = face_grids((TEMPLATE[None] * 0.3 + 60).astype(np.float32))  # in the lower right
    noisy, timesteps, velocity = velocity_batch(build_scheduler(), clean, generator)
    velocity[..., :6, :6] += 3.0
    assert abs(float(loss(velocity, noisy, clean, timesteps, small))) < 1e-3


def test_everybody_is_nearest_to_their_own_centre(tmp_path: Path) -> None:
    build(tmp_path, per_name=0, people=5, per_person=6, seed=5, workers=1)
    data, count = Dataset(tmp_path), 24
    recogniser = pocket_dir() / "face" / "rec.onnx"
    label, centres = identity_centres(data, count, recogniser, tmp_path / "embeddings.npy")
    people = np.unique(data.meta["person"][:count])
    assert np.array_equal(people[label], data.meta["person"][:count])
    assert centres.shape == (len(people), 512)
    assert torch.allclose(centres.norm(dim=1), torch.ones(len(people)))
    embeddings = torch.from_numpy(np.load(tmp_path / "embeddings.npy")[:count])
    seen = embeddings.norm(dim=1) > 0
    nearest = (embeddings @ centres.T).argmax(1).numpy()
    assert seen.sum() > len(people) and (nearest == label)[seen.numpy()].all()
