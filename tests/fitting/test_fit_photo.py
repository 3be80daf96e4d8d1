"""Reference pictures as latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fitted import person
from PIL import Image
from tiny import tiny_backbone

from methods.backbone.vae import encode_pixels
from methods.errors import UsageError
from methods.fitting.denoising import Noising
from methods.fitting.photo import crop, photo_latents
from methods.hooks import Identity


def test_the_crop_follows_the_face_as_far_as_the_picture_goes() -> None:
    """A picture of 100 x 40 whose column number is its red value."""
    ramp = np.zeros((40, 100, 3), dtype=np.uint8)
    ramp[..., 0] = np.arange(100)
    picture = Image.fromarray(ramp)

    def columns(box: list[float] | None) -> tuple[int, int]:
        red = np.asarray(crop(picture, (40, 40), None if box is None else np.array(box)))[..., 0]
        return int(red[0, 0]), int(red[0, -1])

    assert columns(None) == (30, 69)
    assert columns([60, 5, 80, 35]) == (50, 89)
    assert columns([90, 5, 100, 35]) == (60, 99)
    assert crop(picture, (80, 40), None).size == (80, 40)


def test_latents_are_the_most_likely_ones_in_the_u_nets_scale() -> None:
    backbone = tiny_backbone("sd1")
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected = backbone.vae.encode(pixels).latent_dist.mean * backbone.vae.config.scaling_factor
    torch.testing.assert_close(encode_pixels(backbone, pixels), expected, rtol=1e-4, atol=1e-4)


def test_mirrored_pictures_come_after_the_others(tmp_path: Path) -> None:
    backbone = tiny_backbone("sd1")
    anna = person(tmp_path)
    latents = photo_latents(backbone, anna, flipped=True)
    assert latents.shape == (2, 4, 8, 8)
    assert torch.equal(latents[:1], photo_latents(backbone, anna))


def test_no_picture_no_fit() -> None:
    with pytest.raises(UsageError, match="nobody has no reference picture"):
        photo_latents(tiny_backbone("sd1"), Identity("nobody"))


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_the_target_is_what_the_u_net_predicts(family: str) -> None:
    """z_t = a z + s e and the target (e, or v = a e - s z) give back the clean latents."""
    backbone = tiny_backbone(family)
    clean = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    noising = Noising(backbone, clean, torch.Generator().manual_seed(1))
    noisy, time, target = noising.draw(8)
    assert time.tolist() == sorted(time.tolist()) and len(set((time // 0.125).tolist())) == 8
    abar = backbone.noise.abar[(time * 1000).round().long()].view(-1, 1, 1, 1)
    a, s = abar.sqrt(), (1 - abar).sqrt()
    found = (noisy - s * target) / a if family == "sd1" else a * noisy - s * target
    torch.testing.assert_close(found, clean.expand_as(found), rtol=1e-3, atol=1e-3)
