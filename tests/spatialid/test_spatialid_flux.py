"""SpatialID where its paper has it: over `pulid`, after FLUX's blocks, against a direct transcription."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from people import somebody
from pulid_parts import SITES, SIZES, random_adapter
from tiny import tiny_backbone
from tiny_flux import flux_backbone
from torch import Tensor

from methods.hooks import Attachment, Job, RowLayout, StepInfo
from methods.pulid.adapter import injection_sites
from methods.pulid.method import Pulid
from methods.sampling import denoise, sample
from methods.spatialid.attention import SpatialBlocks
from methods.spatialid.config import Config
from methods.spatialid.masks_io import load_masks, save_masks
from methods.spatialid.method import SpatialID
from methods.spatialid.schedule import PRESETS
from methods.uniform.method import Uniform

WIDTH, HEIGHT = 896, 1152
GRID = (72, 56)
LATENTS = (144, 112)
"""The paper's setting: 4032 image tokens."""


def job(**changes: object) -> Job:
    settings = {"prompt": "photo of the person", "width": 64, "height": 48, "guidance": 3.5}
    settings |= {"steps": 8, "seed": 5, "identity": somebody(1)}
    return Job(**{**settings, **changes})


# --- the published code as methods.md 1.2 describes it, once more: one row at a time -------------------


def cross_attention(adapter, number: int, tokens: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """(projected output [N, C], un-projected output [N, 2048]) of one row."""
    ca, heads = adapter.pulid_ca[number], SIZES.ca_heads
    query = ca.to_q(ca.norm2(hidden)).unflatten(-1, (heads, -1)).transpose(0, 1)
    key, value = (
        x.unflatten(-1, (heads, -1)).transpose(0, 1) for x in ca.to_kv(ca.norm1(tokens)).chunk(2, dim=-1)
    )
    scale = query.shape[-1] ** -0.25
    weights = torch.softmax((query * scale) @ (key * scale).transpose(1, 2), dim=-1)
    out = (weights @ value).transpose(0, 1).flatten(1)
    return ca.to_out(out), out


def attention_mask(response: Tensor) -> Tensor:
    """[N, 2048] -> M [72, 56]"""
    norm = response.float().norm(dim=-1)
    m = ((norm - norm.min()) / max(float(norm.max() - norm.min()), 1e-6)).view(1, 1, *GRID)
    x = torch.arange(5, dtype=torch.float32) - 2
    taps = torch.exp(-(x**2) / (2 * 1.5**2))
    taps = taps / taps.sum()
    b = F.conv2d(F.pad(m, (2, 2, 0, 0), mode="reflect"), taps.view(1, 1, 1, 5))
    b = F.conv2d(F.pad(b, (0, 0, 2, 2), mode="reflect"), taps.view(1, 1, 5, 1))
    hard = (b > b.mean() + 0.5 * b.std()).float()
    hard = F.max_pool2d(hard, 3, stride=1, padding=1)
    return (0.7 * b + 0.3 * hard).clamp(0, 1)[0, 0]


def published_mask(
    t: float, response: Tensor, late_floor: float, sigma: float, global_floor: float
) -> Tensor:
    if t > 0.7:
        y, x = torch.meshgrid(torch.linspace(-1, 1, 72), torch.linspace(-1, 1, 56), indexing="ij")
        mask = torch.exp(-(x**2 + y**2) / (2 * sigma**2))
        mask = mask / mask.max()
    elif t > 0.3:
        mask = attention_mask(response)
    else:
        mask = late_floor + (1 - late_floor) * attention_mask(response)
    return mask.clamp(min=global_floor) if global_floor > 0 else mask


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("preset", ["B", "C", "D", "E", "F"])
@torch.inference_mode()
def test_the_papers_setting(preset: str, guided: bool) -> None:
    """h + alpha * M_t * CA on the grid of 896 x 1152, at every site, in every phase, each row by itself."""
    torch.manual_seed(0)
    adapter = random_adapter()
    people = torch.randn(2, 6, SIZES.output)  # the person, and nobody
    keys, values = adapter.keys_values(people)
    known = [(keys[:, place], values[:, place]) for place in range(2)]
    hooks = SpatialBlocks(adapter, [job(id_weight=0.8)], known[:1], known[1], config=Config(preset=preset))
    rows = RowLayout(1, guided=guided)
    schedule = PRESETS[preset]
    numbers = (schedule.late_floor, schedule.center_sigma, schedule.global_floor)
    sites = injection_sites(SITES, 2, 4)
    for index, t in enumerate((0.95, 0.7000001, 0.7, 0.31, 0.3, 0.02)):
        step = StepInfo(rows=rows, latent_size=LATENTS, index=index, count=6, time=t, noise_level=t)
        hooks.on_step(step)
        number = index % len(sites)
        hidden = torch.randn(rows.total, 72 * 56, SIZES.hidden)
        added = hooks.after_block(sites[number], step, hidden)
        for row, person in enumerate([1, 0] if guided else [0]):
            projected, response = cross_attention(adapter, number, people[person], hidden[row])
            mask = published_mask(t, response, *numbers).flatten()[:, None]
            torch.testing.assert_close(added[row], 0.8 * mask * projected, rtol=1e-4, atol=2e-5)


# --- on a tiny FLUX ------------------------------------------------------------------------------------


def latents(method, *jobs: Job, **options: object) -> list[Tensor]:
    return [result.latents for result in sample(flux_backbone("dev"), list(jobs), method, **options)]


def loud(method):
    with torch.no_grad():
        for attention in method.adapter.pulid_ca:
            attention.to_out.weight *= 50
    return method


@pytest.mark.parametrize("true_cfg", [1.0, 3.0])
def test_preset_a_is_pulid_bit_for_bit(true_cfg: float) -> None:
    backbone = flux_backbone("dev")
    jobs = [job(true_cfg=true_cfg), job(identity=somebody(2), id_weight=0.5, true_cfg=true_cfg)]
    pulid = latents(loud(Pulid.untrained(backbone)), *jobs, batch_size=2)
    ungated = latents(loud(SpatialID.untrained(backbone, Config(preset="A"))), *jobs, batch_size=2)
    ones = latents(loud(SpatialID.untrained(backbone, Config(global_floor=1.0))), *jobs, batch_size=2)
    gated = latents(loud(SpatialID.untrained(backbone)), *jobs, batch_size=2)
    for one, two, three, four in zip(pulid, ungated, ones, gated, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
        assert (one - four).abs().max() > 1e-2


def test_preset_a_is_pulid_on_the_papers_grid() -> None:
    """896 x 1152 pixels, 4,032 image tokens: one step, bit for bit."""
    backbone = flux_backbone("dev")
    one = [job(width=896, height=1152, steps=1)]
    methods = (Pulid.untrained(backbone), SpatialID.untrained(backbone, Config(preset="A")))
    pulid, ungated = (denoise(backbone, one, loud(each).attach(backbone, one), "euler") for each in methods)
    plain = denoise(backbone, one, Attachment(), "euler")
    assert pulid.shape[-2:] == (144, 112) and torch.equal(pulid, ungated) and not torch.equal(pulid, plain)


def test_the_host_follows_the_backbone() -> None:
    assert isinstance(SpatialID.untrained(flux_backbone("dev")).host, Pulid)
    assert isinstance(SpatialID.untrained(tiny_backbone("sd1")).host, Uniform)


def test_every_site_has_masks_on_the_packed_grid(tmp_path: Path) -> None:
    """Latents of 6 x 8 cells are 3 x 4 tokens; phases follow the flow's own, shifted t."""
    backbone = flux_backbone("dev")
    method = loud(SpatialID.untrained(backbone))
    [result] = sample(backbone, [job(true_cfg=2.0)], method, record=True)
    recording = result.records["masks"]
    sites = injection_sites(backbone.denoiser.sites, 2, 4)
    assert list(recording.masks) == [site.name for site in sites]
    assert all(masks.shape == (8, 3, 4) for masks in recording.masks.values())
    sigmas = torch.linspace(1, 1 / 8, 8)
    shift = torch.tensor(backbone.noise.mu(12, 8)).exp()
    expected = shift / (shift + 1 / sigmas - 1)
    np.testing.assert_allclose(recording.noise_levels, expected, rtol=1e-5)
    phases = ["early" if t > 0.7 else "mid" if t > 0.3 else "late" for t in expected.tolist()]
    assert list(recording.phases) == phases and len(set(phases)) == 3
    numbers, sheet = save_masks(tmp_path, recording, result.picture)
    assert load_masks(numbers).masks.keys() == recording.masks.keys() and sheet.is_file()


def test_start_step_and_weights_act_as_for_the_host() -> None:
    backbone = flux_backbone("dev")
    plain = latents(None, job(identity=None))[0]
    late = SpatialID.untrained(backbone, Config(start_step=8))
    assert torch.equal(latents(late, job())[0], plain)
    assert torch.equal(latents(SpatialID.untrained(backbone), job(id_weight=0.0))[0], plain)
