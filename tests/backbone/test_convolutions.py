"""Packed convolutions: the bits of torch's own, whoever chooses the kernel, and nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import tiny_backbone
from torch import Tensor, nn

from methods.backbone import convolutions
from methods.backbone.convolutions import packed_convolutions
from methods.hooks import Job
from methods.sampling import sample

SHAPES = [
    dict(channels=(8, 64), side=16),
    dict(channels=(64, 8), side=16),
    dict(channels=(256, 256), side=4),
    dict(channels=(96, 32), side=9, stride=2),
    dict(channels=(32, 32), side=8, groups=4),
    dict(channels=(32, 48), side=8, kernel_size=1),
    dict(channels=(5, 7), side=6, kernel_size=5, padding=2, dilation=2, bias=False),
]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def layer_of(channels: tuple[int, int], **options: Any) -> nn.Conv2d:
    return nn.Conv2d(*channels, **{"kernel_size": 3, "padding": 1, **options}).requires_grad_(False)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_same_bits(shape: dict[str, Any], rows: int, count: int, threads: None) -> None:
    torch.set_num_threads(count)
    torch.manual_seed(0)
    side, options = shape["side"], {key: value for key, value in shape.items() if key != "side"}
    layer = layer_of(**options)
    inputs = [torch.randn(rows, layer.in_channels, side, side) for _ in range(2)]
    inputs.append(inputs[0].to(memory_format=torch.channels_last))
    inputs.append(torch.randn(rows, layer.in_channels, side, 2 * side)[..., ::2])
    inputs.append(torch.randn(rows + 1, layer.in_channels, side + 2, side))
    with torch.no_grad():
        expected = [layer(x) for x in inputs]
        with packed_convolutions(layer):
            found = [layer(x) for x in inputs]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other) and one.stride() == other.stride()


def packs(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What is convolved by packed weights from now on."""
    seen: list[Tensor] = []
    pack = convolutions._Packed._pack

    def watched(self: Any, x: Tensor) -> Any:
        seen.append(x)
        return pack(self, x)

    monkeypatch.setattr(convolutions._Packed, "_pack", watched)
    return seen


@pytest.mark.skipif(not torch.backends.cpu.get_cpu_capability().startswith("AVX"), reason="not x86")
def test_weights_are_packed_once_a_batch_and_left_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = packs(monkeypatch)
    backbone = tiny_backbone("sd1")
    layers = [layer for layer in backbone.denoiser.unet.modules() if type(layer) is nn.Conv2d]
    wide = [layer for layer in layers if max(layer.kernel_size) > 1]
    sample(backbone, [Job("photo of the person", 64, 64, 5.0, seed=1, steps=3)])
    assert len(seen) == len(wide) > 0
    assert all("forward" not in vars(layer) for layer in layers)


def test_what_learns_or_is_large_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = packs(monkeypatch)
    layer = layer_of((8, 8)).requires_grad_()
    x = torch.randn(2, 8, 6, 6, requires_grad=True)
    with packed_convolutions(layer):
        layer(x).sum().backward()
    assert x.grad is not None and layer.weight.grad is not None and not seen
    for other in (layer.to(torch.float64), layer_of((8, 8), padding_mode="circular")):
        with packed_convolutions(other):
            assert "forward" not in vars(other)
    monkeypatch.setattr(convolutions, "MOST_BYTES", 100)
    with packed_convolutions(large := layer_of((8, 8))):
        assert "forward" not in vars(large)


def test_one_within_another_ends_before_it() -> None:
    layer = layer_of((8, 8))
    with packed_convolutions(layer):
        kept = vars(layer).get("forward")
        with packed_convolutions(layer):
            assert vars(layer).get("forward") is kept
        assert vars(layer).get("forward") is kept
    assert "forward" not in vars(layer)
