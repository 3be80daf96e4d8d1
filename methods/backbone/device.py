"""Where modules lie while they work, and seeds that leave no trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass(eq=False)
class Placement:
    """The device of a backbone, and whether idle modules lie on the CPU instead."""

    device: torch.device
    offload: bool = False
    _visits: dict[nn.Module, int] = field(default_factory=dict)

    @contextmanager
    def resident(self, *modules: nn.Module) -> Iterator[None]:
        """Modules on the device for the duration; with `offload` they leave when the last user is done."""
        for module in modules:
            self._visits[module] = self._visits.get(module, 0) + 1
            if self.offload and self._visits[module] == 1:
                module.to(self.device)
        try:
            yield
        finally:
            for module in modules:
                self._visits[module] -= 1
                if not self._visits[module]:
                    del self._visits[module]
                    if self.offload:
                        module.to("cpu")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's global generator of the CPU under a seed, and afterwards as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
