"""Where a module lies while it works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def resident(module: nn.Module, device: torch.device, offload: bool) -> Iterator[None]:
    """Bring a module to the device for the duration, back to the CPU afterwards, if it is offloaded."""
    if offload:
        module.to(device)
    try:
        yield
    finally:
        if offload:
            module.to("cpu")
