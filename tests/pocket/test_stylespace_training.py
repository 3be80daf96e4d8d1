"""The stage that trains the pocket style space: losses, figures, and weights that load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from methods.paths import pocket_dir
from methods.pidiff.stylespace.decoder import StyleDecoder
from methods.pidiff.stylespace.encoder import POCKET
from methods.pidiff.stylespace.load import load_decoder, load_style_space, random_style_space
from scripts.pocket import stylespace
from scripts.pocket.dataset import Dataset, build


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(stylespace, "BATCH", 4)
    monkeypatch.setattr(stylespace, "HELD_BACK", 12)
    monkeypatch.setattr(stylespace, "STATISTICS", 1)
    build(tmp_path / "set", per_name=0, people=6, per_person=6, seed=5, workers=1)
    return tmp_path


def test_mixtures_owe_edges_to_one_and_colours_to_the_other() -> None:
    inside = torch.ones(1, 1, 32, 32)
    shape, colouring = torch.rand(2, 3, 32, 32) * 0.2, torch.full((2, 3, 32, 32), 0.7)
    form, tint = stylespace.mixing_loss(shape, shape, shape, inside)
    assert form == tint == 0
    brighter = shape + (colouring - shape).mean(dim=(2, 3), keepdim=True)  # the same edges, shifted
    form, _ = stylespace.mixing_loss(brighter, shape, colouring, inside)
    assert form < 1e-4
    assert stylespace.mixing_loss(brighter, shape, colouring, inside)[1] < 0.2 * (0.7 - 0.1)
    assert stylespace.mixing_loss(shape, colouring, colouring, inside)[0] > 0.1


def test_centring_moves_the_average_out_of_the_encoder() -> None:
    space = random_style_space(seed=1)
    pictures = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        before = space.encoder(pictures)
        average = before.mean(0)
        stylespace.centre(space.encoder, average)
        torch.testing.assert_close(space.encoder(pictures) + average, before, rtol=1e-4, atol=1e-5)


def test_stage_leaves_a_style_space_with_figures(small: Path) -> None:
    recogniser = pocket_dir() / "face" / "rec.onnx"
    figures = stylespace.train(small / "set", recogniser, small / "out", small / "work", minutes=1, steps=2)
    assert figures["steps"] == 2 and np.isfinite(figures["l1"])
    assert 0 <= figures["shape_kept"] <= 1 and 0 <= figures["colour_moved"] <= 1
    assert (small / "work" / "grid.png").is_file()
    space = load_style_space(small / "out")
    heads = stylespace.Heads(Dataset(small / "set")).cut(np.arange(3))
    codes = space.encode(list(heads))
    assert codes.shape == (3, 18, POCKET.dim)
    with torch.no_grad():
        assert load_decoder(small / "out")(codes).shape == (3, 3, 64, 64)
    assert sum(file.stat().st_size for file in (small / "out").iterdir()) < 8e6


def test_swap_sheet_has_reconstructions_on_its_diagonal() -> None:
    space, decoder = random_style_space(seed=1), StyleDecoder(POCKET.dim).eval()
    heads = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    sheet = stylespace.swap_sheet(space, decoder, heads)
    assert sheet.shape == (4 * 3, 64, 64, 3)
    cells = sheet.reshape(4, 3, 64, 64, 3)
    assert (cells[0, 1:] == heads).all() and (cells[2:, 0] == heads).all()
    np.testing.assert_allclose(cells[2, 1].astype(int), cells[1, 1].astype(int), atol=1)
    np.testing.assert_allclose(cells[3, 2].astype(int), cells[1, 2].astype(int), atol=1)
