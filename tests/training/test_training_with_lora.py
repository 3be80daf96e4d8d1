"""A LoRA rides on the backbone while an adapter is trained, and the training's record says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from backbone.test_lora import lora_file
from tiny import tiny_folder
from training.small_training import OPTIONS, config, curve

from methods.backbone.load import load_backbone
from methods.errors import UsageError
from methods.training.engine import train


def test_a_training_on_a_backbone_with_a_lora(tmp_path: Path) -> None:
    folder = str(tiny_folder("sd1"))
    lora = f"{lora_file(tmp_path / 'style.safetensors', 'sd1', 1)}:0.7"

    def trained(name: str, lora: str | None, *, resume: bool = False) -> dict[str, object]:
        made = train(
            "uniform",
            config(backbone=folder, lora=lora),
            {**OPTIONS, "steps": 2},
            output=tmp_path / name,
            resume=resume,
        )
        recipe: dict[str, object] = json.loads((made.adapter / "training.json").read_bytes())
        return recipe

    plain, ridden = trained("plain", None), trained("ridden", lora)
    assert curve(tmp_path / "plain") != curve(tmp_path / "ridden")
    with_lora = load_backbone(folder, device="cpu", lora=[lora]).fingerprint
    assert with_lora in json.dumps(ridden) and with_lora not in json.dumps(plain)
    assert "style.safetensors" in json.dumps(ridden) and "style.safetensors" not in json.dumps(plain)
    with pytest.raises(UsageError, match="lora|backbone"):
        trained("ridden", None, resume=True)
