"""The number format in which a fit runs the frozen network.

`float32` is the network's own, `bfloat16` autocast to it, and `auto` means bfloat16 for a U-Net in float32 on
a CPU that multiplies matrices in it, else the network's own. What is learned, its text features and losses
stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch

from methods.backbone.convolutions import channels_last
from methods.config import Precision

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone


def in_force(precision: Precision, backbone: Backbone) -> Literal["float32", "bfloat16"]:
    """What `precision` means for a backbone on its device.

    FLUX stays in float32: in bfloat16 the gradients of its text side are off by their own length.
    """
    if precision != "auto":
        return precision
    gains = backbone.device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    joint = any(site.kind == "joint" for site in backbone.sites)
    return "bfloat16" if gains and backbone.dtype == torch.float32 and not joint else "float32"


@contextmanager
def computing(precision: Precision, backbone: Backbone) -> Iterator[None]:
    """Within, what the network computes is of that precision; `prepared` must be around it."""
    chosen = in_force(precision, backbone)
    with torch.autocast(backbone.device.type, torch.bfloat16, enabled=chosen == "bfloat16"):
        yield


@contextmanager
def prepared(precision: Precision, backbone: Backbone) -> Iterator[None]:
    """The network laid out for many passes of that precision, and afterwards as it was."""
    if in_force(precision, backbone) == "float32" or backbone.device.type != "cpu":
        yield
        return
    with channels_last(backbone.denoiser.modules()):
        yield
