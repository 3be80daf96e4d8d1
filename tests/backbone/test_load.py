"""Finding and loading pipelines, and saying clearly what is missing."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from single_file import write_single_file
from tiny import FAMILIES, tiny_backbone, tiny_folder
from tiny_flux import flux_folder

from methods.backbone.load import load_backbone
from methods.backbone.source import locate, own_face_encoder
from methods.errors import UsageError, WeightsError
from methods.hooks import Job
from methods.sampling import sample

JOB = Job("photo of the person", 64, 64, guidance=4.0, seed=1, steps=2)


@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_recognised(family):
    backbone = tiny_backbone(family)
    assert backbone.family == family
    assert backbone.default_size == (64, 64) and backbone.latent_factor == 8
    assert not any(parameter.requires_grad for parameter in backbone.denoiser.unet.parameters())


def test_fingerprint_follows_content(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_folder("sd1"), copy)
    original = tiny_backbone("sd1").fingerprint
    assert load_backbone(copy, device="cpu").fingerprint == original
    config = copy / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("epsilon", "v_prediction"))
    assert load_backbone(copy, device="cpu").fingerprint != original


def test_spid_json_makes_a_pocket(tmp_path):
    copy = tmp_path / "pocket"
    shutil.copytree(tiny_folder("sd1"), copy)
    with pytest.raises(UsageError, match="no face encoder of its own"):
        own_face_encoder(str(copy))
    (copy / "spid.json").write_text(
        json.dumps({"spid_family": "pocket", "guidance": 3.5, "steps": 12, "scheduler": "euler"})
    )
    backbone = load_backbone(copy, device="cpu")
    assert backbone.family == "pocket"
    assert own_face_encoder(str(copy)) == own_face_encoder(backbone) == "pocket"
    assert (backbone.defaults.guidance, backbone.defaults.steps, backbone.defaults.scheduler) == (
        3.5,
        12,
        "euler",
    )


def test_half_precision_files_are_found_by_variant(tmp_path):
    copy = tmp_path / "half"
    shutil.copytree(tiny_folder("sd1"), copy)
    for path in list(copy.rglob("*.safetensors")):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    assert locate(str(copy)).variant == "fp16"
    [one], [two] = sample(load_backbone(copy, device="cpu"), [JOB]), sample(tiny_backbone("sd1"), [JOB])
    assert torch.equal(one.latents, two.latents)


@pytest.mark.parametrize("option", [{"vae_slicing": True}, {"vae_tiling": True}, {"cpu_offload": True}])
def test_memory_options_keep_the_picture(option):
    backbone = load_backbone(tiny_folder("sdxl"), device="cpu", **option)
    [one], [two] = sample(backbone, [JOB]), sample(tiny_backbone("sdxl"), [JOB])
    assert torch.equal(one.latents, two.latents)
    assert one.picture.tobytes() == two.picture.tobytes()


def test_attention_backends():
    backbone = load_backbone(tiny_folder("sd1"), device="cpu", attention_backend="_native_math")
    [one], [two] = sample(backbone, [JOB]), sample(tiny_backbone("sd1"), [JOB])
    torch.testing.assert_close(one.latents, two.latents, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dtype": "floaty16"}, "float16"),
        ({"attention_backend": "native_flash"}, "_native_flash"),
        ({"device": "nonsense"}, "nonsense"),
    ],
)
def test_unknown_options_are_usage_errors(options, said):
    with pytest.raises(UsageError, match=said):
        load_backbone(tiny_folder("sd1"), **{"device": "cpu", **options})


@pytest.mark.parametrize("family", ["sd1", "flux"])
def test_hub_snapshots_are_used_offline_and_their_commit_is_recorded(tmp_path, monkeypatch, family):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--tiny"
    folder = flux_folder("dev") if family == "flux" else tiny_folder(family)
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for revision in (None, "main", commit):
        backbone = load_backbone("someone/tiny", device="cpu", revision=revision)
        assert backbone.origin["revision"] == commit
        assert backbone.fingerprint == load_backbone(folder, device="cpu").fingerprint
    with pytest.raises(WeightsError, match="snapshots/absent"):
        load_backbone("someone/tiny", revision="absent")


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match=str(tmp_path / "nowhere")):
        load_backbone(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match="models--someone--something"):
        load_backbone("someone/something")
    with pytest.raises(WeightsError, match="model_index.json"):
        load_backbone(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(tiny_folder("sd1"), copy)
    next((copy / "vae").glob("*.safetensors")).unlink()
    with pytest.raises(WeightsError, match="copy is incomplete"):
        load_backbone(copy)
    next((copy / "unet").glob("*.safetensors")).unlink()
    with pytest.raises(WeightsError, match="unet"):
        load_backbone(copy)


def test_damaged_weights_are_named(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_folder("sd1"), copy)
    path = next((copy / "unet").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="copy"):
        load_backbone(copy)


def test_single_file(tmp_path):
    """The original layout converts to the same pipeline; without the hub it needs a folder of configs."""
    path = write_single_file(tiny_folder("sd1"), tmp_path / "sd.safetensors")
    backbone = load_backbone(path, device="cpu", config=tiny_folder("sd1"))
    assert backbone.family == "sd1" and backbone.origin["config"] == str(tiny_folder("sd1"))
    [one], [two] = sample(backbone, [JOB]), sample(tiny_backbone("sd1"), [JOB])
    assert torch.equal(one.latents, two.latents)
    assert one.picture.tobytes() == two.picture.tobytes()
    with pytest.raises(WeightsError, match="sd.safetensors.*`config`"):
        load_backbone(path, device="cpu")


def test_a_file_that_is_no_checkpoint(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="model.safetensors"):
        load_backbone(path)
    (tmp_path / "model.ckpt").write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="model.ckpt"):
        load_backbone(tmp_path / "model.ckpt")
