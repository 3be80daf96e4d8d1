"""Convolutions on a CPU whose weights are laid out once a batch, or a training, instead of once a step.

torch convolves on x86 with oneDNN, whose kernels read weights in blocks. Every call of `F.conv2d` rearranges
them anew: up to half of its time where channels are many and pixels few. Packed weights give the same kernel
the same blocks, so the result has the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

MOST_BYTES = 2**29
"""Of weights that are kept a second time; a network with more in its convolutions keeps none."""


@contextmanager
def packed_convolutions(network: nn.Module) -> Iterator[None]:
    """Within, convolutions of a frozen network keep their weights packed, where that changes no bit.

    Those are of float32 on a CPU, more than a pixel wide, and torch's choice for them is oneDNN. With
    gradients all of them are as before. Weights must not change within.
    """
    layers = _candidates(network)
    for layer in layers:
        layer.forward = _Packed(layer).forward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # what the class has is seen again


@contextmanager
def channels_last(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Within, networks lie channels last, which convolutions of bfloat16 need not reorder."""
    try:
        for network in networks:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        yield
    finally:
        for network in networks:
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _candidates(network: nn.Module) -> list[nn.Conv2d]:
    """What can be packed: empty on other processors than x86, for large networks and under autocast."""
    known = torch.backends.cpu.get_cpu_capability().startswith("AVX") and hasattr(
        torch.ops.mkldnn_prepacked, "conv2d_run"
    )
    if not known or torch.is_autocast_enabled("cpu"):
        return []
    found = [layer for layer in network.modules() if type(layer) is nn.Conv2d and _can_be_packed(layer)]
    return found if sum(layer.weight.nbytes for layer in found) <= MOST_BYTES else []


def _can_be_packed(layer: nn.Conv2d) -> bool:
    weight = layer.weight
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.is_contiguous()
        and max(layer.kernel_size) > 1
        and not isinstance(layer.padding, str)
        and layer.padding_mode == "zeros"
        and "forward" not in vars(layer)  # somebody else's, or the session's around this one
    )


class _Packed:
    """The forward of one convolution: packed weights by the shape of what comes, None where torch takes
    another way than oneDNN's."""

    def __init__(self, layer: nn.Conv2d) -> None:
        self._layer = layer
        self._of_shape: dict[torch.Size, Any] = {}

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled() and _in_rows(x):
            if x.shape not in self._of_shape:
                self._of_shape[x.shape] = self._pack(x)
            packed = self._of_shape[x.shape]
            if packed is not None:
                run: Tensor = torch.ops.mkldnn_prepacked.conv2d_run(x, packed)
                return run
        return self._layer._conv_forward(x, self._layer.weight, self._layer.bias)

    def _pack(self, x: Tensor) -> Any:
        layer = self._layer
        stride, padding, dilation = (list(one) for one in (layer.stride, layer.padding, layer.dilation))
        backend = torch._C._select_conv_backend(
            x, layer.weight, layer.bias, stride, padding, dilation, False, [0, 0], layer.groups, None
        )
        if backend != torch._C._ConvBackend.Mkldnn:  # type: ignore[attr-defined]
            return None
        return torch.ops.mkldnn_prepacked.conv2d_prepack(
            layer.weight, layer.bias, stride, padding, dilation, layer.groups, list(x.shape), "none"
        )


def _in_rows(x: Tensor) -> bool:
    """Whether float32 [R, C, h, w] lies as that and not channels last, which takes another kernel."""
    return (
        x.dtype == torch.float32
        and x.is_contiguous()
        and not x.is_contiguous(memory_format=torch.channels_last)
    )
