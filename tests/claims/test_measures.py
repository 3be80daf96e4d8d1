"""Where a word looks: shares with known answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_flux import flux_backbone

from benchmarks.claims.measures import _pairs
from benchmarks.claims.study import Settings, Study
from benchmarks.claims.types import Experiment
from benchmarks.studies.attention import grids_of, share_inside
from benchmarks.suites import load_suite
from methods.hooks import Job
from methods.sampling import latent_size, sample


def test_attention_inside_a_mask() -> None:
    mask = np.zeros((64, 64), bool)
    mask[:, :32] = True
    even, left = torch.ones(64, 1), torch.zeros(4, 4)
    left[:, 0] = 3.0
    right = torch.zeros(4, 4)
    right[:, 3] = 1.0
    grids = {"fine": (8, 8), "coarse": (4, 4)}
    assert share_inside({"fine": even}, grids, mask) == pytest.approx(0.5)
    assert share_inside({"coarse": left.reshape(16, 1)}, grids, mask) == pytest.approx(1.0)
    assert share_inside({"coarse": right.reshape(16, 1)}, grids, mask) == pytest.approx(0.0)
    both = torch.stack([left.flatten(), right.flatten()], dim=1)  # two tokens, their mean
    assert share_inside({"coarse": both}, grids, mask) == pytest.approx(0.75)
    assert share_inside({"fine": even, "coarse": left.reshape(16, 1)}, grids, mask) == pytest.approx(0.75)


def test_a_token_half_inside_counts_half() -> None:
    mask = np.zeros((8, 8), bool)
    mask[:4, :2] = True  # half of the first token of a 2 x 2 grid
    first = torch.tensor([1.0, 0.0, 0.0, 0.0])[:, None]
    assert share_inside({"site": first}, {"site": (2, 2)}, mask) == pytest.approx(0.5)


def test_attention_is_measured_in_joint_attention_too() -> None:
    """FLUX has no cross-attention: its double and single blocks see text and picture together."""
    backbone = flux_backbone("dev")
    job = Job("a photo of the person", 64, 48, guidance=3.5, steps=1, seed=3)
    (result,) = sample(backbone, [job], capture=[[1, 2]])
    left = np.zeros((48, 64), bool)
    left[:, :32] = True
    grids = grids_of(backbone, *latent_size(job, backbone))
    inside, outside = (share_inside(result.attention, grids, mask) for mask in (left, ~left))
    assert result.attention and inside + outside == pytest.approx(1.0, abs=1e-5) and 0 < inside < 1


def test_few_pairs_meet_many_people_and_many_prompts(
    settings: Callable[..., Settings], tmp_path: Path
) -> None:
    study, suite = Study(settings(limit=5), tmp_path), load_suite("smoke")
    found = _pairs(study, suite, tmp_path / "run", Experiment("mine", "Mine", (), kind="attention"))
    assert len({pair.person.name for pair in found}) == len(found) == 5
    assert len({pair.prompt.id for pair in found}) == 3
