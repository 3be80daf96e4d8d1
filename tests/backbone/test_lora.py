"""LoRAs on U-Nets: merged as diffusers fuses them, several at their weights, told in the description."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command import Spid
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from tiny import tiny_backbone, tiny_folder

from methods.backbone.load import load_backbone
from methods.backbone.lora import Lora, read_loras
from methods.errors import MissingWeightsError, UsageError, WeightsError
from methods.images import read_metadata


def lora_file(path: Path, family: str, seed: int) -> Path:
    """A random LoRA of rank 2 on a query of the U-Net and a layer of the text encoder, in kohya's names."""
    backbone = tiny_backbone(family)
    generator = torch.Generator().manual_seed(seed)
    site = next(site for site in backbone.sites if site.kind == "cross")
    text = "lora_te_" if family == "sd1" else "lora_te1_"
    parts = {
        "lora_unet_" + f"{site.name}.to_q".replace(".", "_"): (site.width, site.width),
    }
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        parts[f"{text}text_model_encoder_layers_0_self_attn_{name}"] = (32, 32)
    state = {}
    for name, (rows, columns) in parts.items():
        state[f"{name}.lora_down.weight"] = 0.3 * torch.randn(2, columns, generator=generator)
        state[f"{name}.lora_up.weight"] = 0.3 * torch.randn(rows, 2, generator=generator)
        state[f"{name}.alpha"] = torch.tensor(2.0)
    save_file(state, path)
    return path


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_loras_are_merged_as_diffusers_fuses_them(tmp_path: Path, family: str) -> None:
    one, two = (lora_file(tmp_path / f"{seed}.safetensors", family, seed) for seed in (1, 2))
    backbone = load_backbone(tiny_folder(family), device="cpu", lora=[f"{one}:0.7", two], lora_scale=0.5)
    pipeline_class = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    pipeline = pipeline_class.from_pretrained(tiny_folder(family), dtype=torch.float32)
    for path, weight in ((one, 0.7), (two, 0.5)):
        pipeline.load_lora_weights(str(tmp_path), weight_name=path.name)
        pipeline.fuse_lora(lora_scale=weight, components=list(pipeline.get_list_adapters()))
        pipeline.unload_lora_weights()
    plain = tiny_backbone(family)
    for own, theirs, before, changed in (
        (backbone.denoiser.unet, pipeline.unet, plain.denoiser.unet, 1),
        (backbone.text.models[0], pipeline.text_encoder, plain.text.models[0], 4),
    ):
        state, wanted, old = own.state_dict(), theirs.state_dict(), before.state_dict()
        assert state.keys() == wanted.keys() == old.keys()
        assert all(torch.equal(state[name], wanted[name]) for name in state)
        assert sum(not torch.equal(state[name], old[name]) for name in state) == changed
    fingerprints = {
        load_backbone(tiny_folder(family), device="cpu", lora=asked).fingerprint
        for asked in (None, one, f"{one}:0.7", [one, two], [two, one])
    }
    assert len(fingerprints) == 5 and plain.fingerprint in fingerprints


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_kohya_file_without_output_maps_changes_the_others(tmp_path: Path, family: str) -> None:
    whole = load_file(lora_file(tmp_path / "whole.safetensors", family, 1))
    save_file(
        {name: tensor for name, tensor in whole.items() if "out_proj" not in name},
        tmp_path / "part.safetensors",
    )
    found, wanted, plain = (
        load_backbone(tiny_folder(family), device="cpu", lora=lora).text.models[0].state_dict()
        for lora in (tmp_path / "part.safetensors", tmp_path / "whole.safetensors", None)
    )
    for name, tensor in found.items():
        assert torch.equal(tensor, plain[name] if "out_proj" in name else wanted[name]), name
    assert sum(not torch.equal(found[name], plain[name]) for name in found) == 3


def test_weights_stand_behind_the_last_colon(tmp_path: Path) -> None:
    odd = tmp_path / "a:1.safetensors"
    for path in (odd, tmp_path / "b.safetensors"):
        path.touch()
    assert read_loras(None) == ()
    assert read_loras([odd, f"{odd}:0.5", f"{tmp_path}/b.safetensors:-1"]) == (
        Lora(odd), Lora(odd, 0.5), Lora(tmp_path / "b.safetensors", -1.0),
    )  # fmt: skip
    for named, error, message in (
        (tmp_path / "c.safetensors", MissingWeightsError, "No LoRA at"),
        (f"{odd}:nan", UsageError, "weighted by nan"),
        (f"{odd}:1e9", UsageError, "weighted by"),
        (f"{tmp_path}", MissingWeightsError, "No LoRA at"),
    ):
        with pytest.raises(error, match=message):
            read_loras(named)
    with pytest.raises(UsageError, match="no LoRA to scale"):
        read_loras(None, 0.5)
    with pytest.raises(WeightsError, match="could not be read as a LoRA of this Stable Diffusion"):
        load_backbone(tiny_folder("sd1"), device="cpu", lora=odd)


def test_a_picture_with_a_lora_is_made_again(spid: Spid, tmp_path: Path) -> None:
    file = lora_file(tmp_path / "style.safetensors", "sd1", 1)
    asked = ("--backbone", tiny_folder("sd1"), "--method", "none", "--prompt", "photo", "--steps", "2")
    made = spid("generate", *asked, "--lora", f"{file}:0.8", "--output", tmp_path / "out", "--json")
    assert made.code == 0, made.err
    picture = tmp_path / "out" / made.json["pictures"][0]["file"]
    assert read_metadata(picture)["spid"]["backbone_options"]["lora"] == [f"{file}:0.8"]
    again = spid("generate", "--from", picture, "--output", tmp_path / "again", "--json")
    assert again.code == 0 and json.loads(again.out)["pictures"][0]["same_pixels"], again.err
    lora_file(file, "sd1", 2)
    other = spid("generate", "--from", picture, "--output", tmp_path / "other")
    assert other.code == 1 and "backbone_fingerprint" in other.err
