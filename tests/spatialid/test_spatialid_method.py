"""SpatialID at work on tiny pipelines: a gate over `uniform`, and its recorded masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import FAMILIES, tiny_backbone

from methods.errors import UsageError
from methods.hooks import Identity, Job, RowLayout, StepInfo
from methods.sampling import sample
from methods.spatialid.masks import gaussian_prior, norm_response, refine, scaled_kernels
from methods.spatialid.masks_io import load_masks, save_masks
from methods.spatialid.method import Config, SpatialID
from methods.uniform.method import Uniform


def person(name="a", seed=1):
    embedding = torch.randn(512, generator=torch.Generator().manual_seed(seed))
    return Identity(name, torch.nn.functional.normalize(embedding, dim=0))


def job(**changes):
    fixed = {"width": 64, "height": 64, "guidance": 4.0, "seed": 3, "steps": 8, "identity": person()}
    return Job("photo of the person", **(fixed | changes))


def at(t, jobs, latent_size=(8, 8), guided=True, index=0, count=8):
    rows = RowLayout(jobs, guided)
    return StepInfo(rows, latent_size, index=index, count=count, time=t, noise_level=t)


def latents(method, *jobs, family="sd1", **options):
    return [result.latents for result in sample(tiny_backbone(family), jobs, method, **options)]


@pytest.mark.parametrize("family", FAMILIES)
def test_preset_a_is_uniform_bit_for_bit(family):
    backbone = tiny_backbone(family)
    [uniform] = latents(Uniform.untrained(backbone), job(), family=family)
    [ungated] = latents(SpatialID.untrained(backbone, Config(preset="A")), job(), family=family)
    [gated] = latents(SpatialID.untrained(backbone), job(), family=family)
    assert torch.equal(uniform, ungated)
    assert (uniform - gated).abs().max() > 1e-3


def test_a_mask_of_ones_is_uniform():
    backbone = tiny_backbone("sd1")
    [uniform] = latents(Uniform.untrained(backbone), job())
    [gated] = latents(SpatialID.untrained(backbone, Config(global_floor=1.0)), job())
    assert torch.equal(uniform, gated)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("guided", [True, False])
@torch.inference_mode()
def test_the_gate_at_every_site(dtype, guided):
    """alpha * M * R in every row; the unconditional row with the mask of its conditional one."""
    backbone = tiny_backbone("sd1")
    method = SpatialID.untrained(backbone)
    method.adapter.to(dtype)
    jobs = [job(id_weight=0.6), job(identity=person("b", 2))]
    step = at(0.5, 2, guided=guided, latent_size=(6, 9))
    with method.attach(backbone, jobs) as hooks:
        hooks.on_step(step)
        for site in backbone.cross_sites:
            h, w = site.grid(6, 9)
            generator = torch.Generator().manual_seed(site.index)
            shape = (step.rows.total, site.heads, h * w, site.head_dim)
            query = torch.randn(shape, generator=generator).to(dtype)
            added = hooks.image_attention(site, step, query, query.new_zeros(()))
            attention = hooks.response(site, step, query)
            m = norm_response(attention[step.rows.cond]).view(2, h, w)
            mask = refine(m, scaled_kernels(h, w)).flatten(1)[..., None]
            weight = torch.tensor([0.6, 1.0]).view(2, 1, 1)
            assert added.dtype == dtype
            for half in range(step.rows.halves):
                rows = slice(2 * half, 2 * half + 2)
                expected = weight * mask * attention[rows].float()
                tolerance = 1e-6 if dtype is torch.float32 else 2e-2
                torch.testing.assert_close(added[rows].float(), expected, rtol=tolerance, atol=tolerance)


@torch.inference_mode()
def test_masks_do_not_depend_on_the_company():
    backbone = tiny_backbone("sd1")
    method = SpatialID.untrained(backbone)
    jobs = [job(), job(identity=person("b", 2)), job(identity=None)]
    site = backbone.cross_sites[0]
    query = torch.randn(3, site.heads, 64, site.head_dim, generator=torch.Generator().manual_seed(0))

    def added(jobs, query):
        step = at(0.2, len(jobs), guided=False)
        with method.attach(backbone, jobs) as hooks:
            hooks.on_step(step)
            return hooks.image_attention(site, step, query, query.new_zeros(()))

    together = added(jobs, query)
    for place in (0, 1):
        alone = added(jobs[place : place + 1], query[place : place + 1])
        torch.testing.assert_close(together[place : place + 1], alone, rtol=1e-5, atol=1e-6)
    assert together[2].eq(0).all()


def test_the_entropy_response_is_another_mask():
    backbone = tiny_backbone("sd1")
    [norm] = latents(SpatialID.untrained(backbone), job())
    [entropy] = latents(SpatialID.untrained(backbone, Config(response="entropy")), job())
    assert torch.isfinite(entropy).all() and (norm - entropy).abs().max() > 1e-4


# --- recorded masks ----------------------------------------------------------------------------------


def recorded(config=None, family="sd1", scheduler=None, **changes):
    backbone = tiny_backbone(family)
    [result] = sample(
        backbone, [job(**changes)], SpatialID.untrained(backbone, config), scheduler=scheduler, record=True
    )
    return result.records["masks"], result.picture


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpmpp"])
def test_phases_follow_the_noise_level(scheduler):
    """t of each step from the family's own noise schedule, not from timestep / 1000."""
    recording, _ = recorded(scheduler=scheduler, steps=25)
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    abar = np.cumprod(1 - betas)
    sigma = np.sqrt((1 - abar) / abar)
    if scheduler != "dpmpp":  # whose last steps lie elsewhere
        t = (sigma / (1 + sigma))[40 * np.arange(25)[::-1] + 1]
        np.testing.assert_allclose(recording.noise_levels, t, rtol=2e-3)
    assert list(recording.steps) == list(range(25))
    assert (np.diff(recording.noise_levels) < 0).all()
    bounds = {"early": (0.7, 1.0), "mid": (0.3, 0.7), "late": (0.0, 0.3)}
    for phase, t in zip(recording.phases, recording.noise_levels, strict=True):
        low, high = bounds[phase]
        assert low < t <= high
    assert [phase for phase in ("early", "mid", "late") if phase in recording.phases] == list(bounds)


def test_what_rules_in_each_phase():
    backbone = tiny_backbone("sd1")
    recording, _ = recorded(Config(preset="B"))
    assert recording.masks.keys() == {site.name for site in backbone.cross_sites}
    for masks in recording.masks.values():
        steps, h, w = masks.shape
        assert steps == 8
        prior = gaussian_prior(h, w, 0.3).half().numpy()
        for phase, mask in zip(recording.phases, masks, strict=True):
            if phase == "early":
                np.testing.assert_array_equal(mask, prior)
            else:
                assert mask.min() >= (0.5 if phase == "late" else 0) and mask.max() <= 1
                if phase == "mid":
                    assert mask.min() < 0.5


def test_global_floor_holds_in_every_phase():
    recording, _ = recorded(Config(preset="E"))
    assert set(recording.phases) == {"early", "mid", "late"}
    assert all(masks.min() == 0.5 for masks in recording.masks.values())


def test_only_steps_with_an_identity_are_recorded():
    recording, _ = recorded(id_start=0.25, id_end=0.75)
    assert list(recording.steps) == [2, 3, 4, 5]
    assert all(len(masks) == 4 for masks in recording.masks.values())


@pytest.mark.parametrize(
    "silent", [{"id_weight": 0.0}, {"identity": None}, {"config": Config(preset="A")}], ids=str
)
def test_nothing_to_record(silent):
    config = silent.pop("config", None)
    backbone = tiny_backbone("sd1")
    [result] = sample(backbone, [job(**silent)], SpatialID.untrained(backbone, config), record=True)
    assert result.records == {}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("width", "height"), [(64, 64), (48, 72)])
def test_saved_masks(tmp_path, family, width, height):
    recording, picture = recorded(family=family, width=width, height=height, steps=4)
    numbers, sheet = save_masks(tmp_path / "new", recording, picture)
    again = load_masks(numbers)
    assert again.phases == recording.phases and list(again.steps) == [0, 1, 2, 3]
    assert again.masks.keys() == recording.masks.keys()
    for name, masks in recording.masks.items():
        np.testing.assert_array_equal(again.masks[name], masks)
    with Image.open(sheet) as drawn:
        assert drawn.mode == "RGB" and drawn.width > 4 * 96 and drawn.height > 144
    assert save_masks(tmp_path, recording, None) == [tmp_path / "masks.npz"]
    assert (tmp_path / "masks.npz").read_bytes() == numbers.read_bytes()


def test_not_a_recording(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npz").write_text("no")
    for name in ("other.npz", "objects.npy", "text.npz", "missing.npz"):
        with pytest.raises(UsageError, match=name):
            load_masks(tmp_path / name)
