"""The exponential moving average of what learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class Average:
    """theta' <- d theta' + (1 - d) theta after every step, with d = min(decay, (1 + n) / (10 + n)).

    The warm-up of d lets the average forget the initial weights. Decay 0 keeps it equal to the weights.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay, self.count = module, decay, 0
        self._shadow = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the present weights."""
        self.count += 1
        weight = 1.0 - min(self.decay, (1 + self.count) / (10 + self.count))
        present = [p.detach() for _, p in self.module.named_parameters()]
        torch._foreach_lerp_(list(self._shadow.values()), present, weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the module holds the average."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Any]:
        """`tensors`: the averaged parameters by name; `count`: of updates."""
        return {"tensors": dict(self._shadow), "count": self.count}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave, wherever its tensors are."""
        for name, mine in self._shadow.items():
            mine.copy_(state["tensors"][name])
        self.count = state["count"]

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self.module.named_parameters():
            kept = parameter.detach().clone()
            parameter.copy_(self._shadow[name])
            self._shadow[name] = kept
