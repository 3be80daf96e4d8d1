"""Fits and a step of a training on a device that is not the CPU, with the losses that they have there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from device.pretend import DEVICE, move, pretend_device
from fitted import FITS, names_file
from people import somebody
from tiny import tiny_folder
from tiny_flux import flux_folder
from training.small_training import config, curve

from methods.backbone.load import load_backbone
from methods.registry import get_method
from methods.training.engine import train

SMALL = {"width": 32, "ff": 32, "heads": 4, "depth": 1, "output": 32, "queries": 4}
SMALL |= {"ca_width": 32, "ca_heads": 2}


@pytest.mark.parametrize(
    ("family", "method", "options"),
    [
        ("sd1", "uniform", {"tokens": 2}),
        ("sd1", "infinite-id", {"clip": "pocket"}),
        ("flux", "uniform", {"tokens": 2}),
        ("flux", "pulid", SMALL),
    ],
)
def test_a_step_of_a_training(
    family: str, method: str, options: dict[str, Any], pocket_weights: Path, tmp_path: Path
) -> None:
    folder = flux_folder("dev") if family == "flux" else tiny_folder(family)

    def step(where: str) -> float:
        backbone = load_backbone(folder, device="cpu")
        if where != "cpu":
            move(backbone)
        output = tmp_path / where.partition(":")[0]
        train(method, config(device=where), {"steps": 1, **options}, output=output, backbone=backbone)
        [loss] = curve(output)
        return loss

    expected = step("cpu")
    with pretend_device():
        assert step(str(DEVICE)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("family", "name", "offload"),
    [
        *(("sd1", name, False) for name in FITS),
        ("sd1", "facewise", True),
        ("flux", "textual-inversion", True),
    ],
)
def test_a_fit(family: str, name: str, offload: bool, tmp_path: Path) -> None:
    folder = flux_folder("dev") if family == "flux" else tiny_folder(family)
    kind = get_method(name)
    options = {"celebrities": str(names_file(tmp_path))} if name == "id-ea" else {}

    def fit(on_device: bool) -> dict[str, torch.Tensor]:
        backbone = load_backbone(folder, device="cpu")
        if family == "flux":
            backbone.default_size = (64, 64)  # a photograph is fitted at 1024 x 1024 there: a minute here
        if on_device:
            move(backbone, offload)
        method = kind.load(None, backbone, kind.Config(steps=2, batch=2, **options))
        method.refit = True
        fitted: dict[str, torch.Tensor] = method.tokens(somebody(1), backbone)
        return fitted

    expected = fit(on_device=False)
    with pretend_device():
        found = fit(on_device=True)
    assert found.keys() == expected.keys() and any(key.startswith("log.") for key in found)
    for key, value in expected.items():
        assert found[key].device == DEVICE and found[key].shape == value.shape
        if key.startswith("log."):
            torch.testing.assert_close(found[key].cpu(), value, rtol=1e-3, atol=1e-5)
