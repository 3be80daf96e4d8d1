"""`--lora` on bench and train: merged into the backbone, part of fingerprint and description."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from command import Spid
from safetensors.torch import save_file
from tiny import tiny_backbone, tiny_folder

from methods.images import read_metadata
from methods.training.config import describe, read_config


def _lora(path: Path) -> Path:
    backbone = tiny_backbone("sd1")
    site = next(site for site in backbone.sites if site.kind == "cross")
    name = "lora_unet_" + f"{site.name}.to_q".replace(".", "_")
    generator = torch.Generator().manual_seed(1)
    save_file(
        {
            f"{name}.lora_down.weight": torch.randn(2, site.width, generator=generator),
            f"{name}.lora_up.weight": torch.randn(site.width, 2, generator=generator),
            f"{name}.alpha": torch.tensor(2.0),
        },
        path,
    )
    return path


def test_a_run_with_a_lora_says_so_and_its_pictures_are_made_again(
    spid: Spid, tmp_path: Path, suite_file: Path, pocket_weights: Path
) -> None:
    file = _lora(tmp_path / "style.safetensors")
    asked = ("bench", "--suite", suite_file, "--methods", "none", "--metrics", "attr_scene", "--limit", "1",
             "--backbone", tiny_folder("sd1"), "--face-encoder", "pocket")  # fmt: skip
    plain = spid(*asked, "--output", tmp_path / "plain")
    styled = spid(*asked, "--lora", f"{file}:0.8", "--output", tmp_path / "styled")
    assert plain.code in (0, 1) and styled.code in (0, 1), styled.err
    prints = set()
    for name in ("plain", "styled"):
        run = json.loads((tmp_path / name / "run.json").read_text())
        assert (f"{file}:0.8" in json.dumps(run)) == (name == "styled")
        [picture] = sorted((tmp_path / name / "pictures").rglob("*.png"))
        described = read_metadata(picture)["spid"]
        prints.add(described["backbone_fingerprint"])
        assert described.get("backbone_options", {}).get("lora") == (
            [f"{file}:0.8"] if name == "styled" else None
        )
    assert len(prints) == 2
    again = spid("generate", "--from", picture, "--output", tmp_path / "again", "--json")
    assert again.code == 0 and again.json["pictures"][0]["same_pixels"], again.err
    # a run that began without it is another one
    other = spid(*asked, "--lora", f"{file}:0.8", "--output", tmp_path / "plain")
    assert other.code == 2 and "--debug" not in other.err


def test_a_training_takes_loras_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("backbone: pocket\n")
    plain, _ = read_config(file)
    styled, _ = read_config(file, backbone={"lora": ["a.safetensors:0.5"], "lora_scale": None})
    assert "lora" not in describe(plain, {}) and styled.lora == ("a.safetensors:0.5",)
    assert list(describe(styled, {})["lora"]) == ["a.safetensors:0.5"]


def test_a_training_refuses_a_lora_that_is_not_there(
    spid: Spid, tmp_path: Path, pocket_weights: Path
) -> None:
    outcome = spid("train", "--method", "uniform", "--lora", tmp_path / "no.safetensors", "--set",
                   "data.people=2", "--output", tmp_path / "out")  # fmt: skip
    assert outcome.code in (1, 2) and "No LoRA at" in outcome.err and not (tmp_path / "out").exists()
