"""A step of a training on a device that is not the CPU, with the loss that it has there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from device.pretend import DEVICE, move, pretend_device
from tiny import tiny_folder
from tiny_flux import flux_folder
from training.small_training import config, curve

from methods.backbone.load import load_backbone
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
