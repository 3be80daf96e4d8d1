"""The moving average of weights."""

from __future__ import annotations

import torch
from torch import nn

from methods.training.average import Average


def _layer(value: float) -> nn.Linear:
    layer = nn.Linear(2, 2, bias=False)
    nn.init.constant_(layer.weight, value)
    return layer


def test_it_follows_the_weights_and_gives_them_back() -> None:
    layer = _layer(0.0)
    average = Average(layer, decay=0.5)
    nn.init.ones_(layer.weight)
    average.update()  # decay warms up from 2/11
    with average.applied():
        assert torch.allclose(layer.weight, torch.full((2, 2), 1 - 2 / 11))
    assert torch.equal(layer.weight, torch.ones(2, 2))


def test_it_goes_on_from_its_state() -> None:
    layer = _layer(0.0)
    first = Average(layer, decay=0.5)
    nn.init.ones_(layer.weight)
    first.update()
    second = Average(_layer(7.0), decay=0.5)
    second.load_state_dict(first.state_dict())
    assert second.count == 1
    assert torch.equal(second.state_dict()["tensors"]["weight"], first.state_dict()["tensors"]["weight"])
