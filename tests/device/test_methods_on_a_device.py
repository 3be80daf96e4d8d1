"""Every method on a device that is not the CPU, with its weights there and visiting: the CPU's pictures."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from device.pretend import PretendTensor, move, pretend_device
from own import own_methods
from people import somebody
from tiny import tiny_backbone, tiny_folder
from tiny_flux import flux_backbone, flux_folder

from methods.backbone.backbone import Backbone
from methods.backbone.load import load_backbone
from methods.errors import UsageError
from methods.hooks import Job
from methods.registry import check_backbone, get_method
from methods.sampling import Result, sample


@cache
def moved(family: str, offload: bool) -> Backbone:
    """A tiny backbone on the device, once per test process."""
    folder = flux_folder("dev") if family == "flux" else tiny_folder(family)
    backbone = load_backbone(folder, device="cpu")
    with pretend_device():
        return move(backbone, offload)


def pictures(backbone: Backbone, name: str) -> list[Result]:
    """Two people under one prompt in a batch, by a method with random weights."""
    chosen = get_method(name)
    try:
        check_backbone(chosen.info, backbone)
    except UsageError as error:
        pytest.skip(str(error))
    method = chosen.untrained(backbone)
    width, height = backbone.default_size
    people = (somebody(1), somebody(2, "anybody"))
    width, height = min(width, 64), min(height, 64)
    extra = {"true_cfg": 2.0, "negative_prompt": "the beach"} if backbone.family == "flux" else {}
    jobs = [
        Job("photo of the person", width, height, 3.0, identity=one, seed=seed, steps=3, **extra)
        for seed, one in enumerate(people)
    ]
    return sample(backbone, jobs, method, batch_size=2)


@pytest.mark.parametrize("name", own_methods())
@pytest.mark.parametrize(
    ("family", "offload"), [("sd1", False), ("sd1", True), ("sdxl", False), ("flux", False), ("flux", True)]
)
def test_the_pictures_are_those_of_the_cpu(family: str, name: str, offload: bool) -> None:
    expected = pictures(flux_backbone("dev") if family == "flux" else tiny_backbone(family), name)
    backbone = moved(family, offload)
    with pretend_device():
        found = pictures(backbone, name)
        lying = {type(one.data) for module in backbone.modules for one in module.parameters()}
    assert lying == ({torch.Tensor} if offload else {PretendTensor})
    for one, other in zip(found, expected, strict=True):
        assert one.latents.device.type == "cpu" and one.status == "ok"
        torch.testing.assert_close(
            one.latents, other.latents, rtol=1e-3, atol=1e-3
        )  # another attention kernel
        assert one.picture is not None and one.picture.size == (64, 64)
