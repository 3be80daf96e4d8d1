"""The pretend device itself: it refuses what a GPU refuses, and computes what the CPU computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from device.pretend import DEVICE, pretend_device
from torch import Tensor, nn


@pytest.mark.parametrize(
    "mix",
    [
        lambda here, cpu: here + cpu,
        lambda here, cpu: torch.cat([here, cpu]),
        lambda here, cpu: here.add_(cpu),
        lambda here, cpu: F.linear(cpu, here),
        lambda here, cpu: torch.where(here > 0, here, cpu),
        lambda here, cpu: F.scaled_dot_product_attention(here[None], here[None], cpu[None]),
        lambda here, cpu: F.embedding(torch.tensor([0]), here),
    ],
)
def test_what_lies_elsewhere_is_refused(mix: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pretend_device(), pytest.raises(RuntimeError, match="CPU|device"):
        mix(torch.ones(2, 2, device=DEVICE), torch.ones(2, 2))


def test_scalars_indices_and_copies_cross() -> None:
    with pretend_device():
        here = torch.arange(6.0, device=DEVICE).reshape(2, 3)
        assert here.device == DEVICE and (here * torch.tensor(2.0)).device == DEVICE
        assert here[torch.tensor([1])].device == DEVICE
        assert torch.equal(here.cpu(), torch.arange(6.0).reshape(2, 3))
        here[0] = torch.zeros(3, device=DEVICE)
        assert here.cpu()[0].sum() == 0 and here.cpu().device.type == "cpu"
        here.copy_(torch.ones(2, 3))
        assert here.cpu().sum() == 6


def test_a_network_learns_as_on_the_cpu() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.LayerNorm(8), nn.Linear(8, 1))
    inputs = torch.randn(5, 4)

    def gradients(device: torch.device) -> list[Tensor]:
        network.to(device).zero_grad()
        network(inputs.to(device)).square().mean().backward()
        return [parameter.grad.cpu() for parameter in network.parameters()]

    expected = gradients(torch.device("cpu"))
    with pretend_device():
        found = gradients(DEVICE)
        network.to("cpu")
    assert all(torch.allclose(one, other) for one, other in zip(expected, found, strict=True))
