"""The number format of the frozen network in fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fitted import FITS, fit_method, person
from tiny import tiny_backbone
from tiny_flux import flux_backbone

from methods.fitting.denoising import denoising
from methods.fitting.precision import in_force
from methods.hooks import Attachment

MULTIPLIES = "_is_avx512_bf16_supported"


@pytest.mark.parametrize(
    ("family", "dtype", "processor", "expected"),
    [
        ("sd1", torch.float32, True, "bfloat16"),
        ("sd1", torch.float32, False, "float32"),
        ("sd1", torch.float16, True, "float32"),
        ("flux", torch.float32, True, "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_gains(
    monkeypatch: pytest.MonkeyPatch, family: str, dtype: torch.dtype, processor: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, MULTIPLIES, lambda: processor)
    backbone = replace(flux_backbone("dev") if family == "flux" else tiny_backbone(family), dtype=dtype)
    assert in_force("auto", backbone) == expected
    assert in_force("float32", backbone) == "float32" and in_force("bfloat16", backbone) == "bfloat16"


@pytest.mark.parametrize("name", FITS)
def test_bfloat16_learns_what_float32_learns(tmp_path: Path, name: str) -> None:
    """Losses agree to bfloat16's three digits, the network is as before, and each has a key of its own."""
    identity, backbone = person(tmp_path), tiny_backbone("sd1")
    layouts = [p.is_contiguous() for net in backbone.denoiser.modules() for p in net.parameters()]
    fitted, keys = {}, set()
    for precision in ("float32", "bfloat16"):
        method = fit_method(name, tmp_path, precision=precision)
        fitted[precision] = method.tokens(identity, backbone)
        keys.add(str(method.describe_fit(identity, backbone)))
    assert len(keys) == 2
    losses = [fitted[one]["log.denoising"] for one in ("float32", "bfloat16")]
    assert not torch.equal(*losses)
    torch.testing.assert_close(*losses, rtol=0.02, atol=0)
    assert layouts == [p.is_contiguous() for net in backbone.denoiser.modules() for p in net.parameters()]


def test_what_is_predicted_is_float32_of_bfloat16s_digits() -> None:
    backbone = tiny_backbone("sd1")
    generator = torch.Generator().manual_seed(0)
    channels = next(iter(backbone.denoiser.modules())).config.in_channels  # type: ignore[union-attr]
    noisy = torch.randn(1, channels, 8, 8, generator=generator)
    text = torch.randn(1, 77, backbone.context_width, generator=generator)
    made = {}
    for precision in ("float32", "bfloat16"):
        with denoising(backbone, Attachment(), precision) as denoise, torch.no_grad():  # type: ignore[arg-type]
            made[precision] = denoise(noisy, torch.tensor([0.5], dtype=torch.float64), text, text, None)
    assert {one.dtype for one in made.values()} == {torch.float32}
    off = (made["bfloat16"] - made["float32"]).norm() / made["float32"].norm()
    assert 1e-4 < off < 0.03
